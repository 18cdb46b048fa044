//! State shared by the baseline's threads: an inbox for each, and the counter of event ids.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rustix::event::{EventfdFlags, eventfd};

use crate::error::Error;

/// Events queued for one thread; if an inbox is full, the publisher gets a 503.
const INBOX_EVENTS: usize = 65_536;

/// An event in wire form.
pub(super) struct EncodedEvent {
    pub(super) topic: Vec<u8>,
    pub(super) bytes: Vec<u8>,
}

/// The events other threads have published: a bounded queue with an eventfd.
struct Inbox {
    events: Mutex<VecDeque<Arc<EncodedEvent>>>,
    wake: OwnedFd,
}

impl Inbox {
    fn open() -> Result<Self, Error> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| Error::system("open an eventfd", error))?;
        Ok(Self { events: Mutex::new(VecDeque::new()), wake })
    }

    /// False if the inbox is full.
    fn push(&self, event: &Arc<EncodedEvent>) -> bool {
        let mut events = self.events.lock().expect("no thread panics while holding the lock");
        if events.len() >= INBOX_EVENTS {
            return false;
        }
        events.push_back(Arc::clone(event));
        drop(events);
        // If the eventfd's counter is full, a wake-up is already pending.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
        true
    }

    fn take(&self) -> VecDeque<Arc<EncodedEvent>> {
        let _ = rustix::io::read(&self.wake, &mut [0u8; 8]);
        std::mem::take(&mut *self.events.lock().expect("no thread panics while holding the lock"))
    }
}

pub(super) struct Shared {
    inboxes: Vec<Inbox>,
    next_id: AtomicU64,
}

impl Shared {
    pub(super) fn open(threads: usize) -> Result<Self, Error> {
        let inboxes = (0..threads).map(|_| Inbox::open()).collect::<Result<_, _>>()?;
        Ok(Self { inboxes, next_id: AtomicU64::new(1) })
    }

    pub(super) fn next_id(&self) -> u64 {
        // Ordering: Relaxed, the ids order nothing but themselves.
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Readable when thread `index` has events to take.
    pub(super) fn wake_fd(&self, index: usize) -> BorrowedFd<'_> {
        self.inboxes[index].wake.as_fd()
    }

    pub(super) fn take(&self, index: usize) -> VecDeque<Arc<EncodedEvent>> {
        self.inboxes[index].take()
    }

    /// Queues an event for all threads but `index`; false if an inbox is full.
    pub(super) fn push_to_others(&self, index: usize, event: &Arc<EncodedEvent>) -> bool {
        let others = self.inboxes.iter().enumerate().filter(|(other, _)| *other != index);
        // Not `all`, which would stop at the first full inbox.
        others.fold(true, |taken, (_, inbox)| inbox.push(event) && taken)
    }
}
