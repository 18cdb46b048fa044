//! The composition root: builds the parts of a node from its settings, in the order they need each
//! other, and takes them down again.
#![forbid(unsafe_code)]

use std::cell::LazyCell;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::watch;

use crate::config::{Config, Io, Memory};
use crate::core::{ConnectionLimits, Core, shards_for_streams};
use crate::ring::Mailbox;
use crate::shard::{
    Command, OpenError, ShardConfig, ShardRuntime, can_own_descriptor_table, reserve, resolve_io,
};

/// Why a node could not start.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each variant means")]
pub enum StartError {
    #[error("can't listen on {addr} (FANFARE_ADDR): {source}")]
    Listen { addr: SocketAddr, source: io::Error },
    #[error("can't use FANFARE_IO={io}: {source}; send and auto work everywhere")]
    Io { io: Io, source: io::Error },
    #[error("can't start {what}: {source}")]
    Thread { what: &'static str, source: io::Error },
}

/// A running node. Dropping it closes every connection at once; [`Self::drain`] ends in order.
pub struct Node {
    core: Arc<Core>,
    /// The shards that the settings asked for, before more were made for the streams.
    shards_configured: usize,
    addr: SocketAddr,
    commands: watch::Sender<Command>,
    shards: Vec<JoinHandle<()>>,
    sequencer: Option<JoinHandle<()>>,
}

impl Node {
    /// Starts a node; when this returns, it accepts connections.
    ///
    /// # Errors
    ///
    /// [`StartError`] names the setting or the resource; no thread is left running.
    pub fn start(mut config: Config) -> Result<Self, StartError> {
        let (wanted, wanted_io) = (config.addr, config.io);
        let thread = |what| move |source| StartError::Thread { what, source };
        let cant_open = |error| match error {
            OpenError::Thread(source) => thread("a shard")(source),
            OpenError::Table(source) => thread("a shard with its own descriptor table")(source),
            OpenError::Listener(source) => StartError::Listen { addr: wanted, source },
            OpenError::Epoll(source) => thread("a shard's epoll instance")(source),
            OpenError::Sender(source) => StartError::Io { io: wanted_io, source },
        };
        let io = resolve_io(wanted_io).map_err(OpenError::Sender).map_err(cant_open)?;
        let (descriptors, shards_configured) = (descriptors(), config.shards);
        let can_own_tables = LazyCell::new(can_own_descriptor_table);
        config.shards = shards_for_streams(&config, descriptors, || *can_own_tables);
        let runtimes =
            (0..config.shards).map(|_| ShardRuntime::new()).collect::<io::Result<Vec<_>>>();
        let runtimes = runtimes.map_err(thread("a runtime"))?;
        let limits = ConnectionLimits::new(&config, descriptors, || *can_own_tables);
        let core = Arc::new(Core::new(config, limits, io));
        let (commands, command) = watch::channel(Command::Serve);
        let mut starting = Vec::new();
        for (runtime, index) in runtimes.into_iter().zip(0..) {
            let shard_config = ShardConfig {
                core: Arc::clone(&core),
                mailbox: Arc::new(Mailbox::new(index)),
                commands: command.clone(),
            };
            starting.push(runtime.start(shard_config).map_err(thread("a shard"))?);
        }
        for shard in &starting {
            shard.wait_for_table().map_err(cant_open)?;
        }
        let (reserved, addr) = reserve(wanted).map_err(OpenError::Listener).map_err(cant_open)?;
        let sequencer = start_sequencer(Arc::clone(&core))?;
        let mut node = Self {
            core,
            shards_configured,
            addr,
            commands,
            shards: Vec::new(),
            sequencer: Some(sequencer),
        };
        for shard in starting {
            node.shards.push(shard.listen(addr).map_err(cant_open)?);
        }
        drop(reserved);
        Ok(node)
    }

    /// The address it listens on, with the port the system chose if the setting left it open.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The settings it runs with.
    pub fn config(&self) -> &Config {
        &self.core.config
    }

    /// Logs the settings that are not at their defaults, and what the others resolved to.
    pub fn log_configuration(&self) {
        let Core { config, io, own_descriptor_tables, streams, connections, .. } = &*self.core;
        let (shards, shards_configured) = (config.shards, self.shards_configured);
        let configured = Config { shards: shards_configured, ..config.clone() };
        for setting in configured.settings().iter().filter(|setting| !setting.is_default) {
            tracing::info!("{}={}", setting.variable(), setting.value);
        }
        tracing::info!(shards, %io, own_descriptor_tables, "effective configuration");
        if shards > shards_configured {
            tracing::info!(
                shards,
                cores = shards_configured,
                descriptors = descriptors(),
                "FANFARE_SHARDS=auto: more shards than cores, because FANFARE_STREAMS_MAX needs \
                 more descriptors (ulimit -n) than one table per core holds"
            );
        }
        tracing::info!("memory: {}; budgets: {}", Memory::of_process(), config.budgets());
        let (streams_max, configured) = (streams.max(), config.streams_max);
        if streams_max >= configured {
            return;
        }
        let limit = if connections.max() == config.connections_limit() {
            "FANFARE_CONNECTIONS_MAX"
        } else if *own_descriptor_tables {
            "the descriptor limit of each shard (ulimit -n, FANFARE_SHARDS)"
        } else {
            "the descriptor limit (ulimit -n)"
        };
        tracing::info!(
            streams_max,
            configured,
            "FANFARE_STREAMS_MAX can't be reached; raise {limit}"
        );
    }

    /// Leaves service within `FANFARE_DRAIN`: accepts nothing more, completes publishes under way,
    /// ends streams. Blocks until every thread has ended.
    pub fn drain(mut self) {
        self.stop(Command::Drain(self.core.config.drain));
    }

    fn stop(&mut self, command: Command) {
        // Without a shard left to receive it there is nothing to stop.
        let _ = self.commands.send(command);
        for shard in self.shards.drain(..) {
            if shard.join().is_err() {
                tracing::error!("a shard panicked");
            }
        }
        // Only now: publishes that were under way have been submitted.
        self.core.queue.close();
        if self.sequencer.take().is_some_and(|sequencer| sequencer.join().is_err()) {
            tracing::error!("the sequencer panicked");
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop(Command::End);
    }
}

/// Descriptors one table of this process may hold.
fn descriptors() -> usize {
    let limit = rlimit::Resource::NOFILE.get().map_or(u64::MAX, |(soft, _)| soft);
    usize::try_from(limit).unwrap_or(usize::MAX)
}

fn start_sequencer(core: Arc<Core>) -> Result<JoinHandle<()>, StartError> {
    let thread = std::thread::Builder::new().name("sequencer".into());
    thread
        .spawn(move || core.sequencer.run())
        .map_err(|source| StartError::Thread { what: "the sequencer", source })
}
