//! Every setting: what it is, its unit, its bounds, its default, and what happens at the limit.
//!
//! The doc comments are what `fanfare --help` prints, and their first paragraphs are the README's
//! table, so that there is one text to keep true. Read on one thread at start; a plain value
//! afterwards, handed down by reference or copied out.

use std::net::SocketAddr;
use std::time::Duration;

use super::cors::CorsOrigins;
use super::duration::duration;
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
///
/// Made by [`Config::load`] in the program, and by [`Config::default`] or [`Config::from_sources`]
/// in tests.
#[derive(clap::Args, Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Address and port to listen on.
    ///
    /// An IP address with a port, or localhost with a port, which is 127.0.0.1. Port 0 takes a free
    /// port. An address that others can reach is refused unless FANFARE_ALLOW_ANONYMOUS_PUBLISH is
    /// true.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8080", value_parser = values::addr)]
    #[arg(help_heading = LISTENING)]
    pub addr: SocketAddr,

    /// Whether to listen on an address that others can reach although no key is needed to publish.
    ///
    /// true or false; the flag alone is true. With no key configured, anyone who reaches the port
    /// may publish, so without this FANFARE_ADDR must be a loopback address, and the node does not
    /// start on any other.
    #[arg(long, value_name = "BOOL", default_value = "false", value_parser = values::switch)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    #[arg(help_heading = LISTENING)]
    pub allow_anonymous_publish: bool,

    /// Shards, each one thread with a runtime and a listener of its own.
    ///
    /// 1 to 1024, or auto: one for each core this process may run on. A connection stays on the
    /// shard that accepted it.
    #[arg(long, value_name = "COUNT", default_value = "auto", value_parser = values::shards)]
    #[arg(help_heading = LISTENING)]
    pub shards: usize,

    /// Whether each shard has a table of descriptors of its own.
    ///
    /// The descriptor limit (ulimit -n) applies to each table, so with tables of their own the
    /// shards together can hold more connections.
    #[arg(long, value_name = "TABLES", default_value = "auto")]
    #[arg(help_heading = LISTENING)]
    pub descriptor_tables: DescriptorTables,

    /// Most connections that may wait in the kernel to be accepted, for each shard's listener.
    ///
    /// 1 to 1_048_576. The kernel lowers it to net.core.somaxconn. Beyond it the kernel drops the
    /// attempt, and the peer tries again after a second or more.
    #[arg(long, value_name = "COUNT", default_value = "4096", value_parser = count::<u32>(1..=1_048_576))]
    #[arg(help_heading = LISTENING)]
    pub backlog: u32,

    /// Most open connections of any kind.
    ///
    /// 1 to 1_000_000_000, or auto: FANFARE_STREAMS_MAX and 4096 more, which leaves room for
    /// publishers when every stream is taken. A connection beyond it is accepted and closed at
    /// once. The descriptor limit of the process bounds it as well.
    // The path is written out because clap would make a bare `Option` an argument without a
    // default.
    #[arg(long, value_name = "COUNT", default_value = "auto", value_parser = values::connections_max)]
    #[arg(help_heading = LISTENING)]
    pub connections_max: std::option::Option<usize>,

    /// Time in which a connection must send a complete request head.
    ///
    /// 100ms to 1d. It runs from the accepted connection, and again from the end of each answer, so
    /// it also bounds how long an idle keep-alive connection stays. A connection that takes longer
    /// is closed.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration("100ms", "1d"))]
    #[arg(help_heading = LISTENING)]
    pub head_timeout: Duration,

    /// Time in which a publisher must send the whole body of a request.
    ///
    /// 100ms to 1d, from the end of the request head. A publish that takes longer is refused and
    /// its connection closed; nothing of it is delivered.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration("100ms", "1d"))]
    #[arg(help_heading = LISTENING)]
    pub body_timeout: Duration,

    /// Largest body of a publish, in bytes.
    ///
    /// 1KiB to 64MiB. A larger one is answered 413, and nothing of it is delivered.
    #[arg(long, value_name = "BYTES", default_value = "1MiB", value_parser = bytes::<usize>("1KiB", "64MiB"))]
    #[arg(help_heading = PUBLISHING)]
    pub event_bytes_max: usize,

    /// Most topics one event may be published to.
    ///
    /// 1 to 65_536. An event with more is refused.
    #[arg(long, value_name = "COUNT", default_value = "100", value_parser = count::<usize>(1..=65_536))]
    #[arg(help_heading = PUBLISHING)]
    pub event_topics_max: usize,

    /// Longest name of a topic, in bytes of UTF-8.
    ///
    /// 1B to 64KiB. A request that names a longer one, to publish or to read, is refused.
    #[arg(long, value_name = "BYTES", default_value = "1KiB", value_parser = bytes::<usize>("1B", "64KiB"))]
    #[arg(help_heading = PUBLISHING)]
    pub topic_bytes_max: usize,

    /// Most events that may wait for the sequencer.
    ///
    /// 1 to 1_048_576. A publish that finds no place is answered 503 with Retry-After at once.
    #[arg(long, value_name = "COUNT", default_value = "8192", value_parser = count::<usize>(1..=1_048_576))]
    #[arg(help_heading = PUBLISHING)]
    pub queue_events: usize,

    /// Most bytes of publish bodies being read or waiting for the sequencer, all together.
    ///
    /// 1KiB to 1024TiB, and no less than FANFARE_EVENT_BYTES_MAX. A publish that finds no room is
    /// answered 503 with Retry-After at once.
    #[arg(long, value_name = "BYTES", default_value = "64MiB", value_parser = bytes::<u64>("1KiB", "1024TiB"))]
    #[arg(help_heading = PUBLISHING)]
    pub queue_bytes: u64,

    /// Most events the sequencer takes in one turn.
    ///
    /// 1 to 65_536. What is left waits for the next turn, which follows at once.
    #[arg(long, value_name = "COUNT", default_value = "1024", value_parser = count::<usize>(1..=65_536))]
    #[arg(help_heading = PUBLISHING)]
    pub batch_events: usize,

    /// Bytes after which the sequencer ends a turn.
    ///
    /// 4KiB to 16MiB. A turn ends with the event that crosses it, so it may be larger by one event.
    #[arg(long, value_name = "BYTES", default_value = "256KiB", value_parser = bytes::<usize>("4KiB", "16MiB"))]
    #[arg(help_heading = PUBLISHING)]
    pub batch_bytes: usize,

    /// Most streams on this node.
    ///
    /// 1 to 1_000_000_000. A stream beyond it is told to come back later, as FANFARE_BUSY_ANSWER
    /// says. The descriptor limit of the process bounds it as well.
    #[arg(long, value_name = "COUNT", default_value = "1_000_000", value_parser = count::<usize>(1..=COUNT_MAX))]
    #[arg(help_heading = STREAMS)]
    pub streams_max: usize,

    /// Most topics one stream may ask for.
    ///
    /// 1 to 65_536. A stream that asks for more is refused.
    #[arg(long, value_name = "COUNT", default_value = "100", value_parser = count::<usize>(1..=65_536))]
    #[arg(help_heading = STREAMS)]
    pub selectors_max: usize,

    /// Most topics with history, and as many again that are being read.
    ///
    /// 1 to 1_000_000_000. At the limit the topic with the oldest history loses it to make room for
    /// a new one, and a stream that asks for a topic nobody reads yet is told to come back later,
    /// as FANFARE_BUSY_ANSWER says.
    #[arg(long, value_name = "COUNT", default_value = "1_000_000", value_parser = count::<usize>(1..=COUNT_MAX))]
    #[arg(help_heading = STREAMS)]
    pub topics_max: usize,

    /// How a stream that can't be served now is told to come back.
    ///
    /// This is the response when a limit on streams, connections or topics is reached.
    #[arg(long, value_name = "ANSWER", default_value = "stream")]
    #[arg(help_heading = STREAMS)]
    pub busy_answer: BusyAnswer,

    /// Other origins whose pages may use this node, separated by commas, or * for every origin.
    ///
    /// Each is scheme://host or scheme://host:port, without a path. Empty: pages of the node's own
    /// origin only. The browser keeps the answer from a page of any other origin.
    #[arg(long, value_name = "ORIGINS", default_value = "", value_parser = CorsOrigins::parse)]
    #[arg(help_heading = STREAMS)]
    pub cors_origins: CorsOrigins,

    /// Shortest reconnection time given to a stream.
    ///
    /// 1ms to 1d, and no more than FANFARE_RETRY_MAX. Each stream is given a time of its own,
    /// evenly spread between the two, so that streams that were cut off together do not return
    /// together.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration("1ms", "1d"))]
    #[arg(help_heading = STREAMS)]
    pub retry_min: Duration,

    /// Longest reconnection time given to a stream.
    ///
    /// 1ms to 1d, and no less than FANFARE_RETRY_MIN.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration("1ms", "1d"))]
    #[arg(help_heading = STREAMS)]
    pub retry_max: Duration,

    /// Time after which an idle stream is sent a comment.
    ///
    /// 100ms to 1h. Keep it below the idle timeout of every proxy on the way, which would cut the
    /// stream otherwise.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration("100ms", "1h"))]
    #[arg(help_heading = DELIVERY)]
    pub heartbeat: Duration,

    /// Time after which a stream whose socket takes nothing is closed.
    ///
    /// 100ms to 1d, while there is something to send to it. The client reconnects and resumes from
    /// history.
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration("100ms", "1d"))]
    #[arg(help_heading = DELIVERY)]
    pub write_timeout: Duration,

    /// Send buffer of each connection (SO_SNDBUF), in bytes.
    ///
    /// 4KiB to 16MiB. The kernel doubles it, and lowers it to net.core.wmem_max. It is what a
    /// client that does not read costs in kernel memory; a stream whose buffer is full waits, and
    /// falls behind in the window.
    #[arg(long, value_name = "BYTES", default_value = "32KiB", value_parser = bytes::<usize>("4KiB", "16MiB"))]
    #[arg(help_heading = DELIVERY)]
    pub send_buffer_bytes: usize,

    /// Most epochs a ring keeps for streams that are behind.
    ///
    /// 2 to 1_048_576; an epoch is what one turn of the sequencer brought to the ring. A stream
    /// that falls further behind is lagged out: it is told by `event: lagged` and closed,
    /// reconnects, and resumes from history.
    #[arg(long, value_name = "COUNT", default_value = "1024", value_parser = count::<usize>(2..=1_048_576))]
    #[arg(help_heading = DELIVERY)]
    pub window: usize,

    /// Most bytes of recent turns that all rings together keep alive.
    ///
    /// 1MiB to 1024TiB, and no less than FANFARE_BATCH_BYTES. Beyond it the oldest turn leaves every
    /// ring, and streams that had yet to read it are lagged out.
    #[arg(long, value_name = "BYTES", default_value = "64MiB", value_parser = bytes::<u64>("1MiB", "1024TiB"))]
    #[arg(help_heading = DELIVERY)]
    pub window_bytes: u64,

    /// How events get to the sockets of streams.
    ///
    /// The behaviour is the same in every case; the processor time and memory per stream are not.
    #[arg(long, value_name = "WAY", default_value = "auto")]
    #[arg(help_heading = DELIVERY)]
    pub io: Io,

    /// Most streams a shard writes to, or wakes, before it looks at other work.
    ///
    /// 1 to 65_536. The others follow after the shard has looked; a lower number keeps accepting
    /// and health checks quick, a higher one spends less on looking. Just after an event was
    /// published on the shard it is a sixteenth, or four for each event since the last look, up to
    /// the whole.
    #[arg(long, value_name = "COUNT", default_value = "256", value_parser = count::<usize>(1..=65_536))]
    #[arg(help_heading = DELIVERY)]
    pub quantum_streams: usize,

    /// Most events of one topic kept for replay.
    ///
    /// 0 to 1_000_000_000. Beyond it the topic's oldest are dropped; a resume that misses one is
    /// told by `event: reset`.
    #[arg(long, value_name = "COUNT", default_value = "1000", value_parser = count::<usize>(0..=COUNT_MAX))]
    #[arg(help_heading = HISTORY)]
    pub history_events: usize,

    /// Age up to which an event is kept for replay.
    ///
    /// 0s to 365d. Older ones are dropped; a resume that misses one is told by `event: reset`.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration("0s", "365d"))]
    #[arg(help_heading = HISTORY)]
    pub history_age: Duration,

    /// Most bytes kept for replay, all topics together.
    ///
    /// 0B to 1024TiB. Beyond it the oldest are dropped, whatever their topic; a resume that misses
    /// one is told by `event: reset`.
    #[arg(long, value_name = "BYTES", default_value = "256MiB", value_parser = bytes::<u64>("0B", "1024TiB"))]
    #[arg(help_heading = HISTORY)]
    pub history_bytes: u64,

    /// Time over which streams are sent away when the node stops.
    ///
    /// 0s to 1h. No stream is taken from its start on; those that are open are ended evenly spread
    /// over it, each told by `event: shutdown`, and what is still open at its end is closed. 0s
    /// sends all away at once.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration("0s", "1h"))]
    #[arg(help_heading = OPERATION)]
    pub drain: Duration,

    /// What to log: a level, or levels by target.
    ///
    /// off, error, warn, info, debug or trace, or directives of tracing-subscriber's EnvFilter,
    /// such as info,fanfare::shard=debug.
    #[arg(long, value_name = "DIRECTIVES", default_value = "info", value_parser = values::log)]
    #[arg(help_heading = OPERATION)]
    pub log: String,
}

impl Config {
    /// The most open connections of any kind: `connections_max`, or what stands for it.
    pub fn connections_limit(&self) -> usize {
        self.connections_max.unwrap_or_else(|| self.streams_max.saturating_add(4096))
    }
}
