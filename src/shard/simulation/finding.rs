//! What a run found: which promise was broken, when and how.

use std::fmt;
use std::time::Duration;

/// Which promise was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A small topic waited for the streams of others (I3).
    Late,
    /// A stream received `lagged` although its next event was still there (I10).
    Lagged,
    /// Events are missing, and nothing said so (I6).
    Gap,
    /// An event came or was acknowledged twice, or before an earlier one (I2, I6).
    Order,
    /// An event came that is not what was published, or to the wrong stream.
    Content,
    /// A stream was cut off whose socket had not been full for the write timeout.
    Aborted,
    /// A stream did not receive what it should have, or was not let go.
    Stuck,
    /// The bytes of a stream are not chunks of whole events, up to a last one.
    Framing,
    /// Something outgrew its bound, or was not given back (I5).
    Budget,
    Panic,
}

#[derive(Debug)]
pub(super) struct Finding {
    pub(super) kind: Kind,
    at: Duration,
    what: String,
}

impl Finding {
    pub(super) fn panicked() -> Self {
        let what = "the run panicked; its message is above".to_owned();
        Self { kind: Kind::Panic, at: Duration::ZERO, what }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {:?}: {}", self.kind, self.at, self.what)
    }
}

/// The findings of a run: the first of each kind, since others often follow from it.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) list: Vec<Finding>,
    /// Virtual time since the run began.
    pub(super) now: Duration,
}

impl Findings {
    /// Adds a finding unless `holds`.
    pub(super) fn check(&mut self, holds: bool, kind: Kind, what: impl FnOnce() -> String) {
        if !holds && self.list.iter().all(|finding| finding.kind != kind) {
            self.list.push(Finding { kind, at: self.now, what: what() });
        }
    }
}
