//! The composition root: from settings to deps, in the command they need each other, and back out
//! again.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::config::{Config, DescriptorTables, Io};
use crate::log::Log;
use crate::log::history::Retention;
use crate::quota::Quota;
use crate::ring::{Mailbox, Registry, Watermark};
use crate::sequencer::{BatchLimits, Combiner, Deps, Queue};
use crate::shard::{Command, Options, Plan, Prepared, available, can_own_descriptors, reserve};

/// Descriptors that are not connections: standard streams, the shards' own, `/proc` while it is
/// read.
const DESCRIPTORS_RESERVED: usize = 64;

/// Descriptors each shard needs for itself: listener, epoll, eventfd, and tokio's share of them.
const DESCRIPTORS_PER_SHARD: usize = 8;

/// Of the connections descriptors allow, those that are not for streams, so that a full node can
/// still be published to and asked for its health.
const CONNECTIONS_RESERVED: usize = 256;

/// How much longer than the write timeout a batch stays in the rings: a stream is looked at a few
/// times per timeout, not at its very end.
const WINDOW_AGE_SLACK: Duration = Duration::from_secs(5);

/// What all shards share. Everything in it is safe to use from any thread.
pub struct Core {
    /// The settings.
    pub config: Config,
    /// The way in for events.
    pub queue: Arc<Queue>,
    /// Where they are kept.
    pub log: Arc<Log>,
    /// The rings.
    pub registry: Arc<Registry>,
    /// How far all rings are.
    pub watermark: Arc<Watermark>,
    /// Gives events their place.
    pub sequencer: Combiner,
    /// Open connections.
    pub connections: Arc<Quota>,
    /// Open streams.
    pub streams: Arc<Quota>,
    /// Connections one shard may have, whatever the others have: what its descriptor table has room
    /// for.
    pub shard_connections_max: usize,
    /// Of those, how many it may have and still open a stream.
    pub shard_streams_max: usize,
    /// How events get to sockets: what the setting comes to on this machine.
    pub io: Io,
    /// Whether each shard has a descriptor table of its own.
    pub own_descriptors: bool,
    /// When the node started.
    pub started: Instant,
}

/// Why a node could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address can't be listened on.
    #[error("can't listen on {addr} (FANFARE_ADDR): {source}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The way to the sockets that was asked for can't be had.
    #[error("can't use FANFARE_IO={io}: {source}; send and auto work everywhere")]
    Io {
        /// What was asked for.
        io: Io,
        /// What the system said.
        source: io::Error,
    },
    /// A thread or runtime could not be had.
    #[error("can't start {what}: {source}")]
    Thread {
        /// What for.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// A running node. Dropping it cuts everything off; [`Self::drain`] leaves in command.
pub struct Node {
    core: Arc<Core>,
    addr: SocketAddr,
    commands: watch::Sender<Command>,
    shards: Vec<JoinHandle<()>>,
    sequencer: Option<JoinHandle<()>>,
}

impl Node {
    /// Starts a node; when this returns, it can be connected to.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let wanted = config.addr;
        let thread = |what| move |source| StartError::Thread { what, source };
        let cant_listen = |source| StartError::Listen { addr: wanted, source };
        let io = available(config.io).map_err(|source| StartError::Io { io: config.io, source })?;
        let prepared = (0..config.shards).map(|_| Prepared::new()).collect::<io::Result<Vec<_>>>();
        let prepared = prepared.map_err(thread("a runtime"))?;
        let core = Arc::new(Core::new(config, io));
        let (commands, command) = watch::channel(Command::Serve);
        let mut starting = Vec::new();
        for (shard, index) in prepared.into_iter().zip(0..) {
            let plan = Plan {
                core: Arc::clone(&core),
                mailbox: Arc::new(Mailbox::new(index)),
                commands: command.clone(),
                own_descriptors: core.own_descriptors,
                options: listener_options(&core.config),
            };
            starting.push(shard.start(plan).map_err(thread("a shard"))?);
        }
        for shard in &starting {
            shard.own_table().map_err(thread("a shard with a descriptor table of its own"))?;
        }
        let (reserved, addr) = reserve(wanted).map_err(cant_listen)?;
        let sequencer = start_sequencer(Arc::clone(&core))?;
        let mut node =
            Self { core, addr, commands, shards: Vec::new(), sequencer: Some(sequencer) };
        for shard in starting {
            node.shards.push(shard.listen(addr).map_err(cant_listen)?);
        }
        drop(reserved);
        Ok(node)
    }

    /// The address it listens on, with the port the system chose if the setting left it open.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What the shards share.
    pub fn core(&self) -> &Core {
        &self.core
    }

    /// Leaves service within `FANFARE_DRAIN`: accepts nothing more, finishes publishes under way,
    /// sends streams away. Blocks until everything has ended.
    pub fn drain(mut self) {
        self.stop(Command::Drain(self.core.config.drain));
    }

    fn stop(&mut self, command: Command) {
        // No shard left to hear it is as good.
        let _ = self.commands.send(command);
        for shard in self.shards.drain(..) {
            if shard.join().is_err() {
                tracing::error!("a shard had panicked");
            }
        }
        // Only now: publishes that were under way have been handed over.
        self.core.queue.close();
        if self.sequencer.take().is_some_and(|sequencer| sequencer.join().is_err()) {
            tracing::error!("the sequencer had panicked");
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop(Command::End);
    }
}

impl Core {
    pub(crate) fn new(config: Config, io: Io) -> Self {
        let descriptors = descriptors();
        let own_descriptors = own_descriptors(&config, descriptors);
        let (connections, streams) = connection_limits(&config, descriptors, own_descriptors);
        let shard_connections_max = connections_of_a_table(&config, descriptors);
        let shard_streams_max =
            shard_connections_max - CONNECTIONS_RESERVED.min(shard_connections_max / 2);
        let retention = Retention {
            events_per_topic: config.history_events,
            age: config.history_age,
            bytes: config.history_bytes,
            topics_max: config.topics_max,
        };
        let window =
            NonZeroUsize::new(config.window).expect("config has FANFARE_WINDOW at 2 or more");
        let deps = Deps {
            queue: Arc::new(Queue::new(config.queue_events, config.queue_bytes)),
            log: Arc::new(Log::in_memory(retention)),
            registry: Arc::new(Registry::new(config.topics_max, window)),
            watermark: Arc::new(Watermark::new()),
        };
        let Deps { queue, log, registry, watermark } = deps.clone();
        Self {
            queue,
            log,
            registry,
            watermark,
            sequencer: Combiner::new(deps, batch_limits(&config)),
            connections: Quota::new(connections),
            streams: Quota::new(streams),
            shard_connections_max,
            shard_streams_max,
            io,
            own_descriptors,
            started: Instant::now(),
            config,
        }
    }
}

/// Whether each shard takes a descriptor table of its own.
fn own_descriptors(config: &Config, descriptors: usize) -> bool {
    match config.descriptor_tables {
        DescriptorTables::Auto => {
            config.connections_limit() > connections_of_a_table(config, descriptors)
                && can_own_descriptors()
        }
        DescriptorTables::Shared => false,
        DescriptorTables::Own => true,
    }
}

/// Connections one table has room for. A table of its own still has the descriptors that were there
/// when it was copied.
fn connections_of_a_table(config: &Config, descriptors: usize) -> usize {
    let own = DESCRIPTORS_RESERVED + config.shards * DESCRIPTORS_PER_SHARD;
    descriptors.saturating_sub(own).max(1)
}

/// How many connections and streams there may be: what the settings say, or what the descriptors
/// allow.
fn connection_limits(config: &Config, descriptors: usize, own_descriptors: bool) -> (usize, usize) {
    let tables = if own_descriptors { config.shards } else { 1 };
    let possible = connections_of_a_table(config, descriptors).saturating_mul(tables);
    let connections = config.connections_limit().min(possible);
    let reserved = CONNECTIONS_RESERVED.min(connections / 2);
    let streams = config.streams_max.min(connections - reserved);
    (connections, streams)
}

/// Descriptors this process may have.
fn descriptors() -> usize {
    let limit = rlimit::Resource::NOFILE.get().map_or(u64::MAX, |(soft, _)| soft);
    usize::try_from(limit).unwrap_or(usize::MAX)
}

fn listener_options(config: &Config) -> Options {
    Options {
        send_buffer_bytes: config.send_buffer_bytes,
        write_timeout: config.write_timeout,
        backlog: config.backlog,
    }
}

fn batch_limits(config: &Config) -> BatchLimits {
    BatchLimits {
        batch_events: config.batch_events,
        batch_bytes: config.batch_bytes,
        window_bytes: config.window_bytes,
        window_age: config.write_timeout + WINDOW_AGE_SLACK,
    }
}

fn start_sequencer(core: Arc<Core>) -> Result<JoinHandle<()>, StartError> {
    let thread = std::thread::Builder::new().name("sequencer".into());
    thread
        .spawn(move || core.sequencer.run())
        .map_err(|source| StartError::Thread { what: "the sequencer", source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_leave_descriptors_for_publishing_and_health_checks() {
        let config = Config { shards: 2, streams_max: 1_000_000, ..Config::default() };
        assert_eq!(connection_limits(&config, 20_000, false), (19_920, 19_664));
        assert_eq!(connection_limits(&config, 20_000, true), (39_840, 39_584));
        let config = Config { streams_max: 10, connections_max: Some(12), ..config };
        assert_eq!(connection_limits(&config, 20_000, false), (12, 6));
        assert_eq!(connection_limits(&config, 0, false), (1, 1));
    }

    #[test]
    fn where_descriptors_abound_the_settings_decide() {
        let config = Config { streams_max: 500, ..Config::default() };
        assert_eq!(connection_limits(&config, 1 << 30, false), (500 + 4096, 500));
    }

    #[test]
    fn shards_take_tables_of_their_own_when_one_is_too_small() {
        let config = |descriptor_tables| Config {
            streams_max: 10_000,
            shards: 2,
            descriptor_tables,
            ..Config::default()
        };
        for (tables, descriptors, own) in [
            (DescriptorTables::Auto, 20_000, false),
            (DescriptorTables::Auto, 10_000, true),
            (DescriptorTables::Shared, 10_000, false),
            (DescriptorTables::Own, 20_000, true),
        ] {
            assert_eq!(
                own_descriptors(&config(tables), descriptors),
                own,
                "{tables} {descriptors}"
            );
        }
    }
}
