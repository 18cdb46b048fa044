//! What a run does, as data: a TOML table with defaults, overridden by flags.

pub mod duration;
pub mod target;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::error::Fault;
use crate::measure::stamp::STAMP_BYTES;
use duration::Span;

/// The scenarios that come with the tool: name and text.
const BUILT_IN: [(&str, &str); 8] = [
    ("hold", include_str!("../../scenarios/hold.toml")),
    ("fanout", include_str!("../../scenarios/fanout.toml")),
    ("burst", include_str!("../../scenarios/burst.toml")),
    ("topics", include_str!("../../scenarios/topics.toml")),
    ("churn", include_str!("../../scenarios/churn.toml")),
    ("storm", include_str!("../../scenarios/storm.toml")),
    ("slow", include_str!("../../scenarios/slow.toml")),
    ("publish", include_str!("../../scenarios/publish.toml")),
];

/// How events follow each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Pace {
    /// No events.
    #[default]
    None,
    /// One at a time: the next when every stream has the last.
    Each,
    /// At `rate`, whatever happens; 0 is as fast as the connections answer.
    Rate,
    /// `events` at once, `bursts` times, each when every stream has the last.
    Burst,
}

/// A scenario. Every field may be set in its file and by the flag of the same name.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scenario {
    /// What to call it.
    pub name: String,
    /// One line about what it shows.
    pub about: String,
    /// `http://host:port` of the server.
    pub url: String,
    /// Path and query of a subscription; `{topic}` and `{stream}` are filled in.
    pub subscribe: String,
    /// Its method.
    pub subscribe_method: String,
    /// Its further header lines.
    pub subscribe_headers: Vec<String>,
    /// Path and query of a publish; `{topic}`, `{data}` and `{number}` are filled in.
    pub publish: String,
    /// `http://host:port` to publish to, if not that of the streams.
    pub publish_url: Option<String>,
    /// Its method.
    pub publish_method: String,
    /// Its further header lines.
    pub publish_headers: Vec<String>,
    /// Its body.
    pub body: String,
    /// The body's type.
    pub content_type: String,
    /// Name of the topic; several are numbered.
    pub topic: String,
    /// Streams to hold.
    pub streams: u64,
    /// Topics they are spread over.
    pub topics: u32,
    /// Bytes of data in an event.
    pub size: usize,
    /// How events follow each other.
    pub pace: Pace,
    /// Events a second, over all topics.
    pub rate: f64,
    /// Events in all, or in a burst; 0 is as many as the duration allows.
    pub events: u64,
    /// Bursts.
    pub bursts: u64,
    /// Events (or bursts) before measuring begins, where each is waited for.
    pub warmup: u64,
    /// How long to publish or hold.
    pub duration: Span,
    /// Publishers' connections.
    pub connections: usize,
    /// Requests in flight on each; 1 is no pipelining.
    pub pipeline: usize,
    /// Worker processes; as many as their descriptors need if not set.
    pub processes: Option<u64>,
    /// Streams opened a second; 0 is no limit.
    pub ramp: f64,
    /// Streams being opened at once, over all workers.
    pub in_flight: u32,
    /// Longest wait for a response head.
    pub open_timeout: Span,
    /// Whether refused and broken streams are opened again.
    pub retry: bool,
    /// After how long.
    pub retry_delay: Span,
    /// Whether streams that come back send `Last-Event-ID`.
    pub resume: bool,
    /// The share of streams that are slow.
    pub slow_share: f64,
    /// Bytes a slow stream reads a second; 0 is not at all.
    pub slow_read: u64,
    /// Streams a second that leave and come back.
    pub churn: f64,
    /// How often all streams drop and reconnect.
    pub storms: u64,
    /// How long they stay away.
    pub away: Span,
    /// Quiet time between the last stream's opening and the first event.
    pub settle: Span,
    /// How long to wait for what is missing.
    pub patience: Span,
    /// `SO_RCVBUF` of the streams.
    pub receive_buffer: Option<usize>,
    /// Addresses to connect from.
    pub source: Vec<IpAddr>,
    /// One point of the time series.
    pub tick: Span,
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
            duration: Span::seconds(10),
            connections: 1,
            pipeline: 1,
            processes: None,
            ramp: 0.0,
            in_flight: 256,
            open_timeout: Span::seconds(30),
            retry: true,
            retry_delay: Span::millis(500),
            resume: false,
            slow_share: 0.0,
            slow_read: 0,
            churn: 0.0,
            storms: 0,
            away: Span::millis(0),
            settle: Span::millis(500),
            patience: Span::seconds(30),
            receive_buffer: None,
            source: Vec::new(),
            tick: Span::millis(500),
        }
    }
}

impl Scenario {
    /// The scenario called `name`, or in the file of that name, with `flags` put over it.
    pub fn load(name: &str, flags: &toml::Table) -> Result<Self, Fault> {
        let built_in =
            BUILT_IN.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned());
        let text = match built_in {
            Some(text) => text,
            None => std::fs::read_to_string(name)
                .map_err(|error| Fault::usage(format!("no scenario file {name}: {error}")))?,
        };
        let bad =
            |error: toml::de::Error| Fault::usage(format!("scenario {name}: {}", error.message()));
        let mut table: toml::Table = text.parse().map_err(bad)?;
        put_over(&mut table, flags);
        let scenario: Self = table.try_into().map_err(bad)?;
        scenario.check()?;
        Ok(scenario)
    }

    /// The built-in scenarios' names and what they are about.
    pub fn built_in() -> impl Iterator<Item = (&'static str, String)> {
        BUILT_IN.iter().map(|(name, text)| {
            let table: toml::Table = text.parse().expect("checked by a test");
            (
                *name,
                table.get("about").and_then(|about| about.as_str()).unwrap_or_default().to_owned(),
            )
        })
    }

    /// True if the next event waits until every stream has the last.
    pub fn waits_for_all(&self) -> bool {
        matches!(self.pace, Pace::Each | Pace::Burst)
    }

    /// Events before measuring begins.
    pub fn warmup_events(&self) -> u64 {
        match self.pace {
            Pace::Each => self.warmup,
            Pace::Burst => self.warmup * self.events,
            Pace::None | Pace::Rate => 0,
        }
    }

    fn check(&self) -> Result<(), Fault> {
        let rules = [
            (self.topics >= 1, "--topics must be at least 1".to_owned()),
            (self.topics <= 0xff_ffff, "--topics must be below 16,777,216".to_owned()),
            (
                self.size >= STAMP_BYTES,
                format!("--size must be at least {STAMP_BYTES}, the stamp's length"),
            ),
            (self.size <= 1 << 20, "--size must be at most 1048576".to_owned()),
            (self.rate >= 0.0 && self.rate.is_finite(), "--rate must be 0 or more".to_owned()),
            (self.churn >= 0.0 && self.churn.is_finite(), "--churn must be 0 or more".to_owned()),
            (self.ramp >= 0.0 && self.ramp.is_finite(), "--ramp must be 0 or more".to_owned()),
            ((0.0..=1.0).contains(&self.slow_share), "--slow-share must be from 0 to 1".to_owned()),
            (self.connections >= 1, "--connections must be at least 1".to_owned()),
            (self.pipeline >= 1, "--pipeline must be at least 1".to_owned()),
            (self.in_flight >= 1, "--in-flight must be at least 1".to_owned()),
            (self.processes != Some(0), "--processes must be at least 1".to_owned()),
            (self.tick.nanos() >= 50_000_000, "--tick must be at least 50ms".to_owned()),
            (
                self.pace != Pace::Each && self.pace != Pace::Burst || self.topics == 1,
                "--topics needs --pace rate: waiting for all of one event takes one topic"
                    .to_owned(),
            ),
            (
                self.pace != Pace::Burst || self.events >= 1,
                "a burst needs --events of at least 1".to_owned(),
            ),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, message)) => Err(Fault::usage(message)),
            None => Ok(()),
        }
    }
}

/// Puts the flags over the file. A rate means that events come at that rate.
fn put_over(table: &mut toml::Table, flags: &toml::Table) {
    let waits = |pace: Option<&toml::Value>| {
        matches!(pace.and_then(|pace| pace.as_str()), None | Some("none" | "each"))
    };
    if flags.contains_key("rate") && !flags.contains_key("pace") && waits(table.get("pace")) {
        table.insert("pace".into(), "rate".into());
        table.remove("warmup");
    }
    for (key, value) in flags {
        table.insert(key.clone(), value.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_scenario_is_valid_and_says_what_it_is_about() {
        for (name, about) in Scenario::built_in() {
            let scenario =
                Scenario::load(name, &toml::Table::new()).unwrap_or_else(|f| panic!("{name}: {f}"));
            assert_eq!(scenario.name, name);
            assert!(!about.is_empty(), "{name}");
        }
    }

    #[test]
    fn a_rate_turns_one_at_a_time_into_a_rate() {
        let flags: toml::Table = "rate = 5.0\nstreams = 7".parse().expect("valid");
        let scenario = Scenario::load("fanout", &flags).expect("valid");
        assert_eq!((scenario.pace, scenario.streams), (Pace::Rate, 7));
    }

    #[test]
    fn nonsense_is_refused_with_what_would_be_right() {
        for (flags, wanted) in
            [("size = 3", "--size must be at least"), ("rtae = 1", "unknown field")]
        {
            let flags = flags.parse().expect("valid TOML");
            let fault = Scenario::load("fanout", &flags).expect_err("nonsense");
            assert!(fault.to_string().contains(wanted), "{fault}");
            assert_eq!(fault.status(), 2);
        }
    }
}
