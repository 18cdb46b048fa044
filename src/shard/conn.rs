//! One connection as its shard sees it: whom to wake, when it last wrote, since when it is blocked.
//!
//! Shared by the connection's task, its socket, its session and the shard's pump and timer; all on the shard's thread,
//! so plain cells are enough.

use std::cell::Cell;
use std::task::Waker;

/// Milliseconds since the shard started; wraps after 49 days, which intervals of minutes don't notice.
pub type Millis = u32;

/// See the module.
#[derive(Default)]
pub struct Conn {
    waker: Cell<Option<Waker>>,
    wrote: Cell<Millis>,
    blocked: Cell<Option<Millis>>,
    streaming: Cell<bool>,
    heartbeat_due: Cell<bool>,
    leaving: Cell<bool>,
    killed: Cell<bool>,
}

impl Conn {
    /// Remembers the task to wake.
    pub fn register(&self, waker: &Waker) {
        let known = self.waker.take().filter(|known| known.will_wake(waker));
        self.waker.set(Some(known.unwrap_or_else(|| waker.clone())));
    }

    /// Has the connection's task polled.
    pub fn wake(&self) {
        let waker = self.waker.take();
        if let Some(waker) = &waker {
            waker.wake_by_ref();
        }
        self.waker.set(waker);
    }

    /// The socket took bytes.
    pub fn wrote(&self, now: Millis) {
        self.wrote.set(now);
        self.blocked.set(None);
    }

    /// The socket took nothing.
    pub fn block(&self, now: Millis) {
        if self.blocked.get().is_none() {
            self.blocked.set(Some(now));
        }
    }

    /// How long the socket has been taking nothing.
    pub fn blocked_for(&self, now: Millis) -> Option<Millis> {
        self.blocked.get().map(|since| now.wrapping_sub(since))
    }

    /// How long since anything was written.
    pub fn idle_for(&self, now: Millis) -> Millis {
        now.wrapping_sub(self.wrote.get())
    }

    /// A session starts or ends on this connection.
    pub fn set_streaming(&self, streaming: bool) {
        self.streaming.set(streaming);
    }

    /// Whether a session is on this connection.
    pub fn is_streaming(&self) -> bool {
        self.streaming.get()
    }

    /// Has the session send a heartbeat unless it has something better to send.
    pub fn ask_heartbeat(&self) {
        self.heartbeat_due.set(true);
        self.wake();
    }

    /// Whether a heartbeat was asked for since the last time.
    pub fn take_heartbeat(&self) -> bool {
        self.heartbeat_due.take()
    }

    /// Has the connection end: a session says `shutdown`, a request under way is answered.
    pub fn leave(&self) {
        self.leaving.set(true);
        self.wake();
    }

    /// Whether it was told to end.
    pub fn is_leaving(&self) -> bool {
        self.leaving.get()
    }

    /// Has the connection closed at once, unsent bytes thrown away.
    pub fn kill(&self) {
        self.killed.set(true);
        self.wake();
    }

    /// Whether it is to be closed at once.
    pub fn is_killed(&self) -> bool {
        self.killed.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocking_counts_from_the_first_refused_write_to_the_next_taken_one() {
        let conn = Conn::default();
        assert_eq!(conn.blocked_for(5), None);
        conn.block(10);
        conn.block(20);
        assert_eq!(conn.blocked_for(25), Some(15));
        conn.wrote(30);
        assert_eq!(conn.blocked_for(40), None);
        assert_eq!(conn.idle_for(40), 10);
    }

    #[test]
    fn intervals_survive_the_wrap_of_the_clock() {
        let conn = Conn::default();
        conn.wrote(u32::MAX - 5);
        assert_eq!(conn.idle_for(4), 10);
    }
}
