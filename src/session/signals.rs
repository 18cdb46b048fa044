//! Requests from a shard to one of its sessions, taken at the session's next step.

use std::cell::Cell;

#[derive(Debug, Default)]
pub(crate) struct Signals {
    ending: Cell<bool>,
    heartbeat_due: Cell<bool>,
}

impl Signals {
    /// Asks for the end: a stream sends `shutdown`, a request under way is answered.
    pub(crate) fn request_end(&self) {
        self.ending.set(true);
    }

    /// Whether the end was asked for.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.get()
    }

    /// Asks for a heartbeat, unless the session has an event to send.
    pub(crate) fn ask_heartbeat(&self) {
        self.heartbeat_due.set(true);
    }

    /// Whether a heartbeat was asked for since the last call.
    pub(super) fn take_heartbeat(&self) -> bool {
        self.heartbeat_due.take()
    }
}
