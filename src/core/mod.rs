//! What all shards share: settings, queue, log, rings, sequencer and quotas.
//!
//! [`Core`] is built by `node`, once, and is safe to use from any thread.
#![forbid(unsafe_code)]

mod limits;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use crate::config::{Config, Io};
use crate::log::Log;
use crate::log::history::Retention;
use crate::quota::{BufferQuota, Quota};
use crate::ring::{Registry, Watermark};
use crate::sequencer::{BatchLimits, Combiner, Deps, Queue, Sequencer};
pub(crate) use limits::{ConnectionLimits, shards_for_streams};

/// The shared parts of a node.
pub(crate) struct Core {
    pub(crate) config: Config,
    /// Queue of publications.
    pub(crate) queue: Queue,
    pub(crate) log: Arc<Log>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) watermark: Arc<Watermark>,
    pub(crate) sequencer: Combiner<Sequencer>,
    /// Open connections, over all shards.
    pub(crate) connections: Arc<Quota>,
    /// Open streams, over all shards.
    pub(crate) streams: Arc<Quota>,
    /// Subscriptions of the streams, over all shards.
    pub(crate) subscriptions: Arc<Quota>,
    /// Bytes that blocked streams have yet to send, over all shards.
    pub(crate) unsent: Arc<BufferQuota>,
    /// Connections one shard may have: the room in its descriptor table.
    pub(crate) shard_connections_max: usize,
    /// Streams one shard may have.
    pub(crate) shard_connections_for_streams: usize,
    /// How shards write to streams; never [`Io::Auto`].
    pub(crate) io: Io,
    /// Whether each shard has its own descriptor table.
    pub(crate) own_descriptor_tables: bool,
    pub(crate) started: Instant,
}

impl Core {
    pub(crate) fn new(config: Config, limits: ConnectionLimits, io: Io) -> Self {
        let window = NonZeroUsize::new(config.window).expect("FANFARE_WINDOW is at least 2");
        let deps = Deps {
            queue: Queue::new(config.queue_events, config.queue_bytes),
            log: Arc::new(Log::in_memory(Retention::from(&config))),
            registry: Arc::new(Registry::new(config.topics_max, window)),
            watermark: Arc::new(Watermark::new()),
        };
        let Deps { queue, log, registry, watermark } = deps.clone();
        Self {
            queue,
            log,
            registry,
            watermark,
            sequencer: Combiner::new(deps, BatchLimits::from(&config)),
            connections: Arc::new(Quota::new(limits.connections)),
            streams: Arc::new(Quota::new(limits.streams)),
            subscriptions: Arc::new(Quota::new(config.subscriptions_max)),
            unsent: Arc::new(BufferQuota::new(
                usize::try_from(config.unsent_bytes).unwrap_or(usize::MAX),
            )),
            shard_connections_max: limits.shard_connections,
            shard_connections_for_streams: limits.shard_connections_for_streams,
            own_descriptor_tables: limits.own_tables,
            io,
            started: Instant::now(),
            config,
        }
    }

    /// A core with room for a few thousand connections that sends with `send(2)`.
    #[cfg(all(test, not(ring_loom)))]
    pub(crate) fn for_test(config: Config) -> Arc<Self> {
        let limits = ConnectionLimits::new(&config, 20_000, || false);
        Arc::new(Self::new(config, limits, Io::Send))
    }
}
