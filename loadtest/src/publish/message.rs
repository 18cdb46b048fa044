//! What the publisher is given and what it reports.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::template::PublishTemplate;
use crate::measure::latency::SparseHistogram;

#[derive(Clone, Debug)]
pub(crate) struct PublishPlan {
    pub(crate) target: SocketAddr,
    pub(crate) template: PublishTemplate,
    /// Keep-alive connections.
    pub(crate) connections: usize,
    /// Requests in flight on each connection; 1 is no pipelining.
    pub(crate) pipeline: usize,
    /// The run's id in the stamps.
    pub(crate) run_id: u32,
    /// The first topic, and their number; they are published to round robin.
    pub(crate) first_topic: u32,
    pub(crate) topics: u32,
    /// Publishers that number their own events: one, or as many as there are connections.
    pub(crate) publishers: u32,
    /// Bytes of data in an event.
    pub(crate) size: usize,
    /// Interval of [`PublisherEvent::Tick`].
    pub(crate) tick: u64,
    /// A connection whose oldest request has no response after this long is replaced.
    pub(crate) response_timeout: u64,
    /// Runs the thread at a higher priority, so that the tool's own load delays it less.
    pub(crate) urgent: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Command {
    /// Publish `count` events, all due at the same time.
    Batch { count: u64, due: u64 },
    /// Publish an event every `interval` from `start` on, until `count` are sent or `until` is due;
    /// if `alternate` is not 0, only in every second period of that length.
    Rate { start: u64, interval: u64, count: u64, until: u64, alternate: u64 },
    /// Publish as fast as the connections allow; an event is due when it is sent.
    Unlimited { count: u64, until: u64 },
    /// Stop publishing, wait for the responses in flight, then report
    /// [`PublisherEvent::Finished`].
    Finish,
    /// Stop immediately.
    Abort,
}

#[derive(Debug)]
pub(crate) enum PublisherEvent {
    Tick(PublishTick),
    /// A `Rate` or `Unlimited` command has sent its last event.
    Exhausted,
    /// The last message.
    Finished(Published),
}

/// What was published in all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Published {
    /// Events sent, by [`lane`](crate::measure::stamp::lane).
    pub(crate) counts: Vec<u64>,
    /// Lane and number of the events without a 2xx response; no stream is expected to receive them.
    pub(crate) rejected: Vec<(u32, u64)>,
}

impl Published {
    /// Adds the lanes of another publisher thread.
    pub(crate) fn add(&mut self, other: Self) {
        self.counts.resize(self.counts.len().max(other.counts.len()), 0);
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.rejected.extend(other.rejected);
    }
}

/// One interval of the time series.
#[derive(Clone, Debug, Default)]
pub(crate) struct PublishTick {
    /// Requests sent.
    pub(crate) sent: u64,
    /// Responses by status, and failed requests by cause.
    pub(crate) answers: BTreeMap<String, u64>,
    /// From due to a 2xx response.
    pub(crate) latency: SparseHistogram,
}
