//! Edge-triggered readiness of a socket, and how long it has been idle or blocked.

use std::cell::Cell;

/// Milliseconds since the shard started. Wraps after 49 days; intervals of minutes survive that.
pub(crate) type Millis = u32;

#[derive(Debug)]
pub(crate) struct Readiness {
    wrote: Cell<Millis>,
    blocked: Cell<Option<Millis>>,
    readable: Cell<bool>,
    writable: Cell<bool>,
    hung_up: Cell<bool>,
}

impl Readiness {
    /// A new socket counts as ready until a system call says otherwise.
    pub(super) fn new(now: Millis) -> Self {
        Self {
            wrote: Cell::new(now),
            blocked: Cell::new(None),
            readable: Cell::new(true),
            writable: Cell::new(true),
            hung_up: Cell::new(false),
        }
    }

    /// Records the events that epoll reported.
    pub(crate) fn note(&self, readable: bool, writable: bool, hung_up: bool) {
        self.readable.set(self.readable.get() | readable | hung_up);
        self.writable.set(self.writable.get() | writable | hung_up);
        self.hung_up.set(self.hung_up.get() | hung_up);
    }

    /// Whether a read may find something.
    pub(crate) fn is_readable(&self) -> bool {
        self.readable.get()
    }

    /// Records whether the last read left something to read.
    pub(crate) fn set_readable(&self, readable: bool) {
        self.readable.set(readable);
    }

    /// Whether the socket may accept bytes.
    pub(crate) fn is_writable(&self) -> bool {
        self.writable.get()
    }

    /// Whether the peer has closed its side, or all of the connection.
    pub(crate) fn is_hung_up(&self) -> bool {
        self.hung_up.get()
    }

    /// The socket accepted bytes.
    pub(crate) fn wrote(&self, now: Millis) {
        self.wrote.set(now);
        self.blocked.set(None);
    }

    /// The socket may accept bytes again. What it refused is written next.
    pub(crate) fn unblock(&self) {
        self.blocked.set(None);
    }

    /// The socket accepted nothing, or not all.
    pub(crate) fn block(&self, now: Millis) {
        self.writable.set(false);
        if self.blocked.get().is_none() {
            self.blocked.set(Some(now));
        }
    }

    /// Whether the last write was not accepted whole.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.get().is_some()
    }

    /// How long the socket has accepted nothing.
    pub(crate) fn blocked_for(&self, now: Millis) -> Option<Millis> {
        self.blocked.get().map(|since| now.wrapping_sub(since))
    }

    /// How long ago bytes were written.
    pub(crate) fn idle_for(&self, now: Millis) -> Millis {
        now.wrapping_sub(self.wrote.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocking_lasts_from_the_first_refused_write_to_the_next_accepted_one() {
        let readiness = Readiness::new(0);
        assert_eq!(readiness.blocked_for(5), None);
        readiness.block(10);
        readiness.block(20);
        assert_eq!(readiness.blocked_for(25), Some(15));
        readiness.wrote(30);
        assert_eq!(readiness.blocked_for(40), None);
        assert_eq!(readiness.idle_for(40), 10);
    }

    #[test]
    fn intervals_survive_the_wrap_of_the_clock() {
        let readiness = Readiness::new(0);
        readiness.wrote(u32::MAX - 5);
        assert_eq!(readiness.idle_for(4), 10);
    }
}
