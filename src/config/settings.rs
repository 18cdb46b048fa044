//! The settings struct: every setting with its unit, bounds, default and behaviour at the limit.
//!
//! The doc comments are the text of `fanfare --help`; their first paragraphs are the settings table
//! of the README. The struct is built once at start and immutable from then on.

use std::net::SocketAddr;
use std::time::Duration;

use super::cors::CorsOrigins;
use super::duration::duration;
use super::memory;
use super::numbers::{bytes, count};
use super::values::{self, COUNT_MAX};
use super::words::{BusyAnswer, DescriptorTables, Io};

const LISTENING: &str = "Listening";
const PUBLISHING: &str = "Publishing";
const STREAMS: &str = "Streams";
const DELIVERY: &str = "Delivery";
const HISTORY: &str = "History";
const OPERATION: &str = "Operation";

/// The settings of a node.
#[derive(clap::Args, Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Address and port to listen on.
    ///
    /// An IP address with a port, or localhost with a port, which means 127.0.0.1. With port 0 the
    /// system chooses a free port. An address other than loopback is refused unless
    /// FANFARE_ALLOW_ANONYMOUS_PUBLISH is true.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8080")]
    #[arg(value_parser = values::addr, help_heading = LISTENING)]
    pub addr: SocketAddr,

    /// Listen on an address that other machines can reach, although publishing is not
    /// authenticated.
    ///
    /// true or false; the flag without a value means true. Anyone who can reach the port can
    /// publish. While this is false, FANFARE_ADDR must be a loopback address; with any other
    /// address the node does not start.
    #[arg(long, value_name = "BOOL", default_value = "false", default_missing_value = "true")]
    #[arg(num_args = 0..=1, require_equals = true, action = clap::ArgAction::Set)]
    #[arg(value_parser = values::switch, help_heading = LISTENING)]
    pub allow_anonymous_publish: bool,

    /// Number of shards, each a thread with its own runtime and listener.
    ///
    /// 1 to 1024, or auto: one for each core available to the process, or more if
    /// FANFARE_STREAMS_MAX is set and its streams need more descriptor tables. A connection stays
    /// on the shard that accepted it.
    #[arg(long, value_name = "COUNT", default_value = "auto")]
    #[arg(value_parser = values::shards, help_heading = LISTENING)]
    pub shards: usize,

    /// Whether the node may start more shards than [`Config::shards`]: that is `auto`, and
    /// [`Config::streams_max`] was set. No setting of its own.
    #[arg(skip)]
    pub shards_for_streams: bool,

    /// Whether each shard has its own descriptor table.
    ///
    /// The descriptor limit (ulimit -n) applies to each table: with a table per shard, each shard
    /// can hold as many connections as the limit allows.
    #[arg(long, value_name = "TABLES", default_value = "auto", help_heading = LISTENING)]
    pub descriptor_tables: DescriptorTables,

    /// Maximum number of connections that wait in the kernel to be accepted, per listener.
    ///
    /// 1 to 1_048_576. The kernel caps it at net.core.somaxconn. When the backlog is full the
    /// kernel drops connection attempts, and the client retries after a second or more.
    #[arg(long, value_name = "COUNT", default_value = "4096", help_heading = LISTENING)]
    #[arg(value_parser = count::<u32>(1..=1_048_576))]
    pub backlog: u32,

    /// Maximum number of open connections of any kind.
    ///
    /// 1 to 1_000_000_000, or auto: FANFARE_STREAMS_MAX plus FANFARE_REQUEST_CONNECTIONS_MAX, so
    /// that publishers can connect while the maximum number of streams is open. For a connection
    /// above the maximum another one without a stream is closed, as with
    /// FANFARE_REQUEST_CONNECTIONS_MAX; if there is none, the new one is closed immediately. The
    /// descriptor limit of the process lowers the maximum.
    // The type's path is written out because clap treats a bare `Option` as an argument without a
    // default.
    #[arg(long, value_name = "COUNT", default_value = "auto", help_heading = LISTENING)]
    #[arg(value_parser = values::connections_max)]
    pub connections_max: std::option::Option<usize>,

    /// Maximum number of open connections without a stream, such as those of publishers.
    ///
    /// 1 to 1_000_000_000, or auto: as many as a sixteenth of the memory the process may use has
    /// room for, with 32KiB each, 256 to 4096. Divided evenly among the shards. For a connection
    /// above the maximum the one that has waited longest for a complete request head is closed; if
    /// none waits for one, the one whose request has taken longest. So clients that connect and
    /// send nothing don't keep others from opening streams.
    #[arg(long, value_name = "COUNT", default_value = "auto", help_heading = LISTENING)]
    #[arg(value_parser = values::auto_count(memory::REQUESTS))]
    pub request_connections_max: usize,

    /// Time within which a connection must send a complete request head.
    ///
    /// 100ms to 1d. It starts when the connection is accepted and restarts after each response, so
    /// it is also the idle timeout of keep-alive connections. When it expires the connection is
    /// closed.
    #[arg(long, value_name = "DURATION", default_value = "30s", help_heading = LISTENING)]
    #[arg(value_parser = duration("100ms", "1d"))]
    pub head_timeout: Duration,

    /// Time within which a publisher must send a complete request body.
    ///
    /// 100ms to 1d, from the end of the request head. When it expires the publish is refused,
    /// nothing is delivered, and the connection is closed.
    #[arg(long, value_name = "DURATION", default_value = "30s", help_heading = LISTENING)]
    #[arg(value_parser = duration("100ms", "1d"))]
    pub body_timeout: Duration,

    /// Minimum rate at which a publisher must send a request body, in bytes per second.
    ///
    /// 0B to 1GiB; 0B means none. It is checked every 5 seconds, for the bytes that came since the
    /// check before. A publish whose body comes more slowly is refused, nothing is delivered, and
    /// the connection is closed.
    #[arg(long, value_name = "BYTES", default_value = "1KiB", help_heading = LISTENING)]
    #[arg(value_parser = bytes::<u64>("0B", "1GiB"))]
    pub body_rate_min: u64,

    /// Maximum size of a publish request's body, in bytes.
    ///
    /// 1KiB to 64MiB, before and after a Content-Encoding is removed. A larger body is refused with
    /// 413, and nothing is delivered.
    #[arg(long, value_name = "BYTES", default_value = "1MiB", help_heading = PUBLISHING)]
    #[arg(value_parser = bytes::<usize>("1KiB", "64MiB"))]
    pub event_bytes_max: usize,

    /// Maximum number of topics per event.
    ///
    /// 1 to 65_536, duplicates included. An event with more topics is refused.
    #[arg(long, value_name = "COUNT", default_value = "100", help_heading = PUBLISHING)]
    #[arg(value_parser = count::<usize>(1..=65_536))]
    pub event_topics_max: usize,

    /// Maximum length of a topic name, in bytes of UTF-8.
    ///
    /// 1B to 64KiB. A publish or subscribe request with a longer name is refused.
    #[arg(long, value_name = "BYTES", default_value = "1KiB", help_heading = PUBLISHING)]
    #[arg(value_parser = bytes::<usize>("1B", "64KiB"))]
    pub topic_bytes_max: usize,

    /// Maximum number of events in the sequencer's queue.
    ///
    /// 1 to 1_048_576. While the queue is full, a publish is refused with 503 and Retry-After.
    #[arg(long, value_name = "COUNT", default_value = "8192", help_heading = PUBLISHING)]
    #[arg(value_parser = count::<usize>(1..=1_048_576))]
    pub queue_events: usize,

    /// Maximum total size of publish bodies being read or in the sequencer's queue, in bytes.
    ///
    /// 1KiB to 1024TiB, at least FANFARE_EVENT_BYTES_MAX, or auto: a sixteenth of the memory the
    /// process may use, at most 64MiB. A body takes part of it as its bytes arrive. A publish that
    /// would exceed it is refused with 503 and Retry-After.
    #[arg(long, value_name = "BYTES", default_value = "auto", help_heading = PUBLISHING)]
    #[arg(value_parser = values::auto_bytes(memory::QUEUE, "1KiB", "1024TiB"))]
    pub queue_bytes: u64,

    /// Maximum number of events that the sequencer takes from the queue at once, as one batch.
    ///
    /// 1 to 65_536. Events beyond it go into the next batch, which follows immediately.
    #[arg(long, value_name = "COUNT", default_value = "1024", help_heading = PUBLISHING)]
    #[arg(value_parser = count::<usize>(1..=65_536))]
    pub batch_events: usize,

    /// Size in bytes at which the sequencer completes a batch.
    ///
    /// 4KiB to 16MiB. The event that reaches the size is the batch's last, so a batch can exceed it
    /// by up to one event.
    #[arg(long, value_name = "BYTES", default_value = "256KiB", help_heading = PUBLISHING)]
    #[arg(value_parser = bytes::<usize>("4KiB", "16MiB"))]
    pub batch_bytes: usize,

    /// Maximum number of streams on this node.
    ///
    /// 1 to 1_000_000_000, or auto: as many as a quarter of the memory the process may use
    /// has room for, with 4KiB each, at most 1_000_000. A stream request above the maximum
    /// receives the response that FANFARE_BUSY_ANSWER selects. FANFARE_CONNECTIONS_MAX and the
    /// descriptor limit can lower the maximum.
    #[arg(long, value_name = "COUNT", default_value = "auto", help_heading = STREAMS)]
    #[arg(value_parser = values::auto_count(memory::STREAMS))]
    pub streams_max: usize,

    /// Maximum number of topics per stream.
    ///
    /// 1 to 65_536. A stream request with more topics is refused.
    #[arg(long, value_name = "COUNT", default_value = "100", help_heading = STREAMS)]
    #[arg(value_parser = count::<usize>(1..=65_536))]
    pub selectors_max: usize,

    /// Maximum number of topics of all streams, each counted for each stream that has it.
    ///
    /// 1 to 1_000_000_000, or auto: as many as a sixteenth of the memory the process may use has
    /// room for, with 128 bytes each. A stream request that would exceed it receives the response
    /// that FANFARE_BUSY_ANSWER selects.
    #[arg(long, value_name = "COUNT", default_value = "auto", help_heading = STREAMS)]
    #[arg(value_parser = values::auto_count(memory::SUBSCRIPTIONS))]
    pub subscriptions_max: usize,

    /// Maximum number of topics with history and, separately, of topics with subscribers.
    ///
    /// 1 to 1_000_000_000, or auto: as many as a sixteenth of the memory the process may use has
    /// room for, with 1KiB each, at most 1_000_000. Above the maximum the oldest events of the
    /// history are dropped until one topic has none left. A stream request for a topic without
    /// subscribers receives, at the maximum, the response that FANFARE_BUSY_ANSWER selects.
    #[arg(long, value_name = "COUNT", default_value = "auto", help_heading = STREAMS)]
    #[arg(value_parser = values::auto_count(memory::TOPICS))]
    pub topics_max: usize,

    /// Response to a stream request that the node can't serve at the moment.
    ///
    /// It is sent when FANFARE_STREAMS_MAX, FANFARE_SUBSCRIPTIONS_MAX or FANFARE_TOPICS_MAX is
    /// reached and while the node drains. It names a time to reconnect after, from
    /// FANFARE_RETRY_MIN to FANFARE_RETRY_MAX.
    #[arg(long, value_name = "ANSWER", default_value = "stream", help_heading = STREAMS)]
    pub busy_answer: BusyAnswer,

    /// Other origins whose pages may use this node, separated by commas, or * for every origin.
    ///
    /// Each is scheme://host or scheme://host:port, without a path. Empty: only pages of the node's
    /// own origin. The browser withholds responses from pages of any other origin.
    #[arg(long, value_name = "ORIGINS", default_value = "", help_heading = STREAMS)]
    #[arg(value_parser = CorsOrigins::parse)]
    pub cors_origins: CorsOrigins,

    /// Shortest reconnection time sent to a stream.
    ///
    /// 1ms to 1d, at most FANFARE_RETRY_MAX. Each stream receives a random time between the two, so
    /// that streams that disconnect together reconnect spread over time.
    #[arg(long, value_name = "DURATION", default_value = "1s", help_heading = STREAMS)]
    #[arg(value_parser = duration("1ms", "1d"))]
    pub retry_min: Duration,

    /// Longest reconnection time sent to a stream.
    ///
    /// 1ms to 1d, at least FANFARE_RETRY_MIN.
    #[arg(long, value_name = "DURATION", default_value = "5s", help_heading = STREAMS)]
    #[arg(value_parser = duration("1ms", "1d"))]
    pub retry_max: Duration,

    /// Longest time for which an idle stream receives nothing; then it receives a comment.
    ///
    /// 100ms to 1h. It must be shorter than the idle timeout of every proxy between node and
    /// client; otherwise the proxy closes idle streams.
    #[arg(long, value_name = "DURATION", default_value = "30s", help_heading = DELIVERY)]
    #[arg(value_parser = duration("100ms", "1h"))]
    pub heartbeat: Duration,

    /// Time after which a stream whose socket accepts no data is closed.
    ///
    /// 100ms to 1d; it runs only while there is data to send and the node itself runs: time for
    /// which the process is stopped or gets no processor does not count. A stream whose socket
    /// accepts a little now and then is closed if 64KiB of data, or what there is if that is less,
    /// take four times as long. The client can reconnect and resume from history.
    #[arg(long, value_name = "DURATION", default_value = "15s", help_heading = DELIVERY)]
    #[arg(value_parser = duration("100ms", "1d"))]
    pub write_timeout: Duration,

    /// Send buffer of each connection (SO_SNDBUF), in bytes.
    ///
    /// 4KiB to 16MiB. The kernel doubles it and caps it at net.core.wmem_max. It bounds the kernel
    /// memory of a client that does not read; a stream whose buffer is full falls behind in the
    /// window.
    #[arg(long, value_name = "BYTES", default_value = "32KiB", help_heading = DELIVERY)]
    #[arg(value_parser = bytes::<usize>("4KiB", "16MiB"))]
    pub send_buffer_bytes: usize,

    /// Capacity of each ring: maximum number of epochs it keeps for streams that are behind.
    ///
    /// 2 to 1_048_576. An epoch is one batch's share in one ring. A stream that falls further
    /// behind continues from history without a reconnection. The default leaves the bound to
    /// FANFARE_WINDOW_BYTES; an epoch counts there with at least 128 bytes.
    #[arg(long, value_name = "COUNT", default_value = "65_536", help_heading = DELIVERY)]
    #[arg(value_parser = count::<usize>(2..=1_048_576))]
    pub window: usize,

    /// Maximum total size of the recent batches that the rings keep, in bytes.
    ///
    /// 1MiB to 1024TiB, at least FANFARE_BATCH_BYTES, or auto: a sixteenth of the memory the
    /// process may use, at most 64MiB. Above the maximum the oldest batch is removed from every
    /// ring; a stream that has not read it continues from history.
    #[arg(long, value_name = "BYTES", default_value = "auto", help_heading = DELIVERY)]
    #[arg(value_parser = values::auto_bytes(memory::WINDOW, "1MiB", "1024TiB"))]
    pub window_bytes: u64,

    /// Longest time for which a stream may read from history after it fell behind the window.
    ///
    /// 0s to 1d. A stream that has not caught up by then, or whose next event is no longer in
    /// history, receives a `lagged` event and is closed; the client can reconnect and resume. With
    /// 0s every stream that falls behind the window is closed.
    #[arg(long, value_name = "DURATION", default_value = "5m", help_heading = DELIVERY)]
    #[arg(value_parser = duration("0s", "1d"))]
    pub lag_max: Duration,

    /// Maximum total size of what blocked streams have yet to send, in bytes.
    ///
    /// 1MiB to 1024TiB, at least FANFARE_BATCH_BYTES plus FANFARE_EVENT_BYTES_MAX, or auto: an
    /// eighth of the memory the process may use. A stream is blocked while its socket accepts no
    /// more. Above the maximum the stream that has been blocked longest is closed; the client can
    /// reconnect and resume from history.
    #[arg(long, value_name = "BYTES", default_value = "auto", help_heading = DELIVERY)]
    #[arg(value_parser = values::auto_bytes(memory::UNSENT, "1MiB", "1024TiB"))]
    pub unsent_bytes: u64,

    /// How events are written to the sockets of streams.
    ///
    /// The choice affects processor time and memory per stream; events and their order are the
    /// same.
    #[arg(long, value_name = "MODE", default_value = "auto", help_heading = DELIVERY)]
    pub io: Io,

    /// Maximum number of streams a shard's pump handles before it yields to other tasks.
    ///
    /// 1 to 65_536. A lower number shortens the latency of accepting connections and of health
    /// checks; a higher number costs less processor time. While events are published on the shard,
    /// the limit is lower: the larger of an eighth of this number and four streams per event
    /// published since the shard last yielded, up to this number.
    #[arg(long, value_name = "COUNT", default_value = "128", help_heading = DELIVERY)]
    #[arg(value_parser = count::<usize>(1..=65_536))]
    pub quantum_streams: usize,

    /// Maximum number of events per topic kept for replay.
    ///
    /// 0 to 1_000_000_000. Above the maximum the topic's oldest event is dropped. A client that
    /// resumes and has missed a dropped event receives a `reset` event.
    #[arg(long, value_name = "COUNT", default_value = "1000", help_heading = HISTORY)]
    #[arg(value_parser = count::<usize>(0..=COUNT_MAX))]
    pub history_events: usize,

    /// Age up to which an event is kept for replay.
    ///
    /// 0s to 365d. Older events are dropped. A client that resumes and has missed a dropped event
    /// receives a `reset` event.
    #[arg(long, value_name = "DURATION", default_value = "10m", help_heading = HISTORY)]
    #[arg(value_parser = duration("0s", "365d"))]
    pub history_age: Duration,

    /// Maximum total size of the events kept for replay, in bytes.
    ///
    /// 0B to 1024TiB, or auto: three sixteenths of the memory the process may use, at most 256MiB.
    /// Above the maximum the oldest event of all topics is dropped. A client that resumes and has
    /// missed a dropped event receives a `reset` event.
    #[arg(long, value_name = "BYTES", default_value = "auto", help_heading = HISTORY)]
    #[arg(value_parser = values::auto_bytes(memory::HISTORY, "0B", "1024TiB"))]
    pub history_bytes: u64,

    /// Time over which the node closes its streams when it stops.
    ///
    /// 0s to 1h. The node accepts no new streams during the drain. Open streams receive a
    /// `shutdown` event and end, evenly spread over four fifths of the time; with 0s all at once.
    /// The drain lasts at least 100ms, and longer while the node has not written to every stream
    /// yet; then it closes the connections still open, whose sockets have accepted nothing.
    #[arg(long, value_name = "DURATION", default_value = "10s", help_heading = OPERATION)]
    #[arg(value_parser = duration("0s", "1h"))]
    pub drain: Duration,

    /// Log filter: a level, or levels by target.
    ///
    /// off, error, warn, info, debug or trace, or directives of tracing-subscriber's EnvFilter,
    /// such as info,fanfare::shard=debug.
    #[arg(long, value_name = "DIRECTIVES", default_value = "info", help_heading = OPERATION)]
    #[arg(value_parser = values::log)]
    pub log: String,
}

impl Config {
    /// The maximum number of open connections, with `auto` of [`Config::connections_max`] resolved.
    pub(crate) fn connections_limit(&self) -> usize {
        let auto = || self.streams_max.saturating_add(self.request_connections_max);
        self.connections_max.unwrap_or_else(auto)
    }
}
