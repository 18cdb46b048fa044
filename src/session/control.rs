//! Control events: the SSE events that the node itself sends, and their data.
//!
//! | event | data | what follows |
//! |---|---|---|
//! | `reset` | `{"asked":…,"oldest":…,"reason":…}` | the stream goes on |
//! | `lagged` | `{"missed":…}` | the stream ends; reconnecting resumes from the history |
//! | `shutdown` | `{"reason":"draining"}` | the stream ends; reconnecting finds another node |
//! | `busy` | `{"reason":…}` | the stream ends; reconnecting tries again |
//!
//! `lagged` and `shutdown` carry the stream's position as their `id:`, so that a client that has
//! received no event yet can resume as well.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use crate::event::wire::{self, Fields};

/// The preamble of a stream: its own reconnection time and a comment, so that the client knows it
/// is open.
pub(super) fn preamble(retry: Duration) -> Bytes {
    let mut out = Vec::with_capacity(32);
    wire::encode_preamble(millis(retry), &mut out);
    out.into()
}

/// What the client asked for can't be replayed; see [`Reset`](crate::log::history::Reset).
pub(super) fn reset(asked: &str, oldest: Option<&str>, reason: &str, id: Option<&str>) -> Bytes {
    let data = json!({ "asked": asked, "oldest": oldest, "reason": reason }).to_string();
    Fields { event_type: Some("reset"), data: &data, id, retry: None }.to_chunk()
}

/// The stream missed that many events and ends.
pub(super) fn lagged(missed: u64, id: &str) -> Bytes {
    let data = json!({ "missed": missed }).to_string();
    Fields { event_type: Some("lagged"), data: &data, id: Some(id), retry: None }.to_chunk()
}

/// The node is draining.
pub(super) fn shutdown(retry: Duration, id: &str) -> Bytes {
    let data = json!({ "reason": "draining" }).to_string();
    Fields { event_type: Some("shutdown"), data: &data, id: Some(id), retry: Some(millis(retry)) }
        .to_chunk()
}

/// The whole body of a response to a subscriber that should reconnect later, not chunked.
pub(crate) fn busy(retry: Duration, reason: &str) -> Bytes {
    let data = json!({ "reason": reason }).to_string();
    let mut chunk =
        Fields { event_type: Some("busy"), data: &data, id: None, retry: Some(millis(retry)) }
            .to_chunk();
    wire::split_payload(&mut chunk).expect("one event is one chunk")
}

/// A reconnection time drawn uniformly between the bounds, so that clients that were disconnected
/// together reconnect apart.
pub(super) fn jittered(min: Duration, max: Duration) -> Duration {
    Duration::from_millis(fastrand::u64(millis(min)..=millis(max).max(millis(min))))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_events_are_ordinary_events() {
        let mut chunk = reset("old \"id\"", None, "unknown-id", Some("x-1"));
        let text = wire::split_payload(&mut chunk).unwrap();
        assert_eq!(
            text,
            "event: reset\n\
             data: {\"asked\":\"old \\\"id\\\"\",\"oldest\":null,\"reason\":\"unknown-id\"}\n\
             id: x-1\n\n"
        );
        assert_eq!(
            busy(Duration::from_secs(2), "full"),
            "event: busy\nretry: 2000\ndata: {\"reason\":\"full\"}\n\n"
        );
    }

    #[test]
    fn the_reconnection_time_stays_within_its_bounds() {
        let (min, max) = (Duration::from_millis(10), Duration::from_millis(12));
        let seen: std::collections::BTreeSet<_> =
            (0..500).map(|_| jittered(min, max).as_millis()).collect();
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [10, 11, 12]);
        assert_eq!(jittered(max, max), max);
    }
}
