//! The fields of a scenario, their defaults and their bounds.

use std::net::IpAddr;

use clap::{ArgAction, Args, ValueEnum};
use serde::{Deserialize, Serialize};

use super::duration::HumanDuration;

/// When the next event is published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Pace {
    /// No events.
    #[default]
    None,
    /// Closed loop: when every stream has received the last event.
    Each,
    /// Open loop: at `rate`, regardless of responses; 0 publishes as fast as they arrive.
    Rate,
    /// `events` at once, `bursts` times; the next burst when every stream has received the last.
    Burst,
}

/// The topics of an event to streams with many topics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EventIn {
    /// One topic, another one with each event.
    #[default]
    One,
    /// All topics of the stream.
    All,
}

/// A scenario. The one list of its fields: TOML files set them by name, and the command line by the
/// option that clap derives here (see [`Overrides`](super::Overrides)).
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Scenario {
    #[arg(skip)]
    pub(crate) name: String,
    #[arg(skip)]
    pub(crate) about: String,
    /// http://host:port of the server.
    #[arg(long)]
    pub(crate) url: String,
    /// Path and query of a subscription; {topic}, {topics} and {stream} are filled in.
    #[arg(long, value_name = "PATH")]
    pub(crate) subscribe: String,
    /// Method of a subscription.
    #[arg(long, value_name = "METHOD")]
    pub(crate) subscribe_method: String,
    /// A header of subscriptions, `Name: value`; may be repeated.
    #[arg(long = "header", value_name = "HEADER")]
    pub(crate) subscribe_headers: Vec<String>,
    /// Path and query of a publish; {topic}, {topics}, {data} and {number} are filled in.
    #[arg(long, value_name = "PATH")]
    pub(crate) publish: String,
    /// http://host:port to publish to, if not --url.
    #[arg(long, value_name = "URL")]
    pub(crate) publish_url: Option<String>,
    /// Method of a publish.
    #[arg(long, value_name = "METHOD")]
    pub(crate) publish_method: String,
    /// A header of publishes; may be repeated.
    #[arg(long = "publish-header", value_name = "HEADER")]
    pub(crate) publish_headers: Vec<String>,
    /// Body of a publish; {topic}, {topics}, {data} and {number} are filled in.
    #[arg(long)]
    pub(crate) body: String,
    /// Content-Type of the body.
    #[arg(long, value_name = "TYPE")]
    pub(crate) content_type: String,
    /// Name of the topic; with several topics, their numbered prefix.
    #[arg(long)]
    pub(crate) topic: String,
    /// Number of streams.
    #[arg(long)]
    pub(crate) streams: u64,
    /// Topics the streams are spread over.
    #[arg(long, visible_alias = "large-topics")]
    #[serde(alias = "large_topics")]
    pub(crate) topics: u32,
    /// Bytes of data in an event.
    #[arg(long, visible_alias = "bytes")]
    #[serde(alias = "bytes")]
    pub(crate) size: usize,
    /// When the next event is published.
    #[arg(long)]
    pub(crate) pace: Pace,
    /// Events a second, over all topics; 0 publishes as fast as responses arrive.
    #[arg(long)]
    pub(crate) rate: f64,
    /// Events in all, or in a burst; 0 is as many as the duration allows.
    #[arg(long)]
    pub(crate) events: u64,
    /// Number of bursts.
    #[arg(long)]
    pub(crate) bursts: u64,
    /// Events (or bursts) published before the measurement starts.
    #[arg(long)]
    pub(crate) warmup: u64,
    /// How long to publish or hold: 10s, 500ms, 2m30s.
    #[arg(long)]
    pub(crate) duration: HumanDuration,
    /// Keep-alive connections of the publisher.
    #[arg(long)]
    pub(crate) connections: usize,
    /// Publishes in flight on each connection; 1 is no pipelining.
    #[arg(long)]
    pub(crate) pipeline: usize,
    /// Worker processes [default: as many as the streams' descriptors need].
    #[arg(long)]
    pub(crate) processes: Option<u64>,
    /// Streams opened a second; 0 is no limit.
    #[arg(long)]
    pub(crate) ramp: f64,
    /// Maximum number of streams being opened at a time.
    #[arg(long)]
    pub(crate) in_flight: u32,
    /// Timeout of a subscription's response head.
    #[arg(long)]
    pub(crate) open_timeout: HumanDuration,
    /// Whether refused and broken streams are opened again.
    #[arg(long, action = ArgAction::Set)]
    pub(crate) retry: bool,
    /// Delay before a stream is opened again.
    #[arg(long)]
    pub(crate) retry_delay: HumanDuration,
    /// Whether reconnecting streams send Last-Event-ID.
    #[arg(long, action = ArgAction::Set)]
    pub(crate) resume: bool,
    /// Fraction of the streams that are slow, 0 to 1.
    #[arg(long)]
    pub(crate) slow_share: f64,
    /// Bytes a slow stream reads a second; 0 reads nothing.
    #[arg(long)]
    pub(crate) slow_read: u64,
    /// Streams a second that disconnect and reconnect.
    #[arg(long)]
    pub(crate) churn: f64,
    /// How often all streams disconnect at once and reconnect.
    #[arg(long)]
    pub(crate) storms: u64,
    /// How long the streams stay disconnected in a storm.
    #[arg(long)]
    pub(crate) away: HumanDuration,
    /// Streams of a small topic beside --topics; 0 is none.
    #[arg(long)]
    pub(crate) small_streams: u64,
    /// Interval of the small topic's events.
    #[arg(long)]
    pub(crate) small_interval: HumanDuration,
    /// The small topic (or --topics-per-stream) is published to in every second period of this
    /// length; 0s is all the time.
    #[arg(long)]
    pub(crate) alternate: HumanDuration,
    /// Interval at which the opening of a stream and a request for --health are timed; 0s is never.
    #[arg(long)]
    pub(crate) probe: HumanDuration,
    /// Path of the health check.
    #[arg(long, value_name = "PATH")]
    pub(crate) health: String,
    /// Topics of each stream of a second set of --streams; 0 is no second set.
    #[arg(long)]
    pub(crate) topics_per_stream: u32,
    /// The topics of an event to the second set.
    #[arg(long)]
    pub(crate) event_in: EventIn,
    /// How long the server's process is stopped (SIGSTOP) halfway; 0s is not at all.
    #[arg(long)]
    pub(crate) pause: HumanDuration,
    /// Whether missing events do not fail the run if the server has announced the loss.
    #[arg(long, action = ArgAction::Set)]
    pub(crate) announced_losses: bool,
    /// Pause between the last stream's opening and the first event.
    #[arg(long)]
    pub(crate) settle: HumanDuration,
    /// How long to wait for missing events.
    #[arg(long)]
    pub(crate) patience: HumanDuration,
    /// SO_RCVBUF of the streams, bytes.
    #[arg(long)]
    pub(crate) receive_buffer: Option<usize>,
    /// Source addresses [default: as many of 127.64.0.0/10 as needed if the server is on loopback].
    #[arg(long, value_delimiter = ',')]
    pub(crate) source: Vec<IpAddr>,
    /// Interval of the time series.
    #[arg(long)]
    pub(crate) tick: HumanDuration,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            name: "custom".into(),
            about: String::new(),
            url: "http://127.0.0.1:8080".into(),
            subscribe: "/events?topic={topic}".into(),
            subscribe_method: "GET".into(),
            subscribe_headers: Vec::new(),
            publish: "/events".into(),
            publish_url: None,
            publish_method: "POST".into(),
            publish_headers: Vec::new(),
            body: "topic={topic}&data={data}".into(),
            content_type: "application/x-www-form-urlencoded".into(),
            topic: "loadtest".into(),
            streams: 1000,
            topics: 1,
            size: 200,
            pace: Pace::None,
            rate: 0.0,
            events: 0,
            bursts: 5,
            warmup: 0,
            duration: HumanDuration::from_secs(10),
            connections: 1,
            pipeline: 1,
            processes: None,
            ramp: 0.0,
            in_flight: 256,
            open_timeout: HumanDuration::from_secs(30),
            retry: true,
            retry_delay: HumanDuration::from_millis(500),
            resume: false,
            slow_share: 0.0,
            slow_read: 0,
            churn: 0.0,
            storms: 0,
            away: HumanDuration::from_millis(0),
            small_streams: 0,
            small_interval: HumanDuration::from_millis(20),
            alternate: HumanDuration::from_millis(0),
            probe: HumanDuration::from_millis(0),
            health: "/healthz".into(),
            topics_per_stream: 0,
            event_in: EventIn::One,
            pause: HumanDuration::from_millis(0),
            announced_losses: false,
            settle: HumanDuration::from_millis(500),
            patience: HumanDuration::from_secs(30),
            receive_buffer: None,
            source: Vec::new(),
            tick: HumanDuration::from_millis(500),
        }
    }
}

impl Scenario {
    pub(crate) fn publishes(&self) -> bool {
        self.pace != Pace::None
    }

    /// True if the next event is published once every stream has received the last (closed loop).
    pub(crate) fn is_closed_loop(&self) -> bool {
        matches!(self.pace, Pace::Each | Pace::Burst)
    }

    /// Events before the measurement starts.
    pub(crate) fn warmup_events(&self) -> u64 {
        match self.pace {
            Pace::Each => self.warmup,
            Pace::Burst => self.warmup * self.events,
            Pace::None | Pace::Rate => 0,
        }
    }

    /// Publishers the account tells apart: the connections, unless their order is of no
    /// consequence.
    ///
    /// In a closed loop, and without streams, the events of all connections are numbered together.
    pub(crate) fn publishers(&self) -> u32 {
        if self.pace == Pace::Rate && self.streams > 0 { self.connections as u32 } else { 1 }
    }

    /// True if the report compares a large topic alone, and beside a small one.
    pub(crate) fn is_fair(&self) -> bool {
        self.small_streams > 0 || self.probe.nanos() > 0
    }
}
