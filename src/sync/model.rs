//! loom's primitives, and stand-ins for those that loom does not have.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, LockResult, PoisonError};
use std::time::Duration;

use loom::cell::UnsafeCell;
pub(crate) use loom::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence,
};
use loom::sync::{Condvar, Mutex as LoomMutex};
pub(crate) use loom::thread::{Thread, current, yield_now};

/// `std::sync::Mutex`, without poisoning. loom's own mutex fails an assertion of its own when
/// `lock` and `try_lock` meet.
pub(crate) struct Mutex<T> {
    locked: LoomMutex<bool>,
    unlocked: Condvar,
    value: std::sync::Mutex<T>,
}

pub(crate) struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    value: Option<std::sync::MutexGuard<'a, T>>,
}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        let (locked, unlocked) = (LoomMutex::new(false), Condvar::new());
        Self { locked, unlocked, value: std::sync::Mutex::new(value) }
    }

    pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        let mut locked = self.locked.lock().expect("no model panics while it holds this");
        while *locked {
            locked = self.unlocked.wait(locked).expect("no model panics while it holds this");
        }
        *locked = true;
        Ok(self.guard())
    }

    pub(crate) fn try_lock(&self) -> LockResult<MutexGuard<'_, T>> {
        let mut locked = self.locked.lock().expect("no model panics while it holds this");
        if std::mem::replace(&mut *locked, true) {
            return Err(PoisonError::new(MutexGuard { mutex: self, value: None }));
        }
        Ok(self.guard())
    }

    fn guard(&self) -> MutexGuard<'_, T> {
        let value = self.value.try_lock().expect("`locked` excludes every other guard");
        MutexGuard { mutex: self, value: Some(value) }
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("the lock was acquired")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("the lock was acquired")
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        if self.value.take().is_some() {
            *self.mutex.locked.lock().expect("no model panics while it holds this") = false;
            self.mutex.unlocked.notify_one();
        }
    }
}

/// Parks without a timeout: a lost wake-up is a deadlock, which loom reports.
pub(crate) fn park_timeout(_: Duration) {
    loom::thread::park();
}

/// `std::sync::OnceLock`.
pub(crate) struct OnceLock<T: 'static>(LoomMutex<Option<&'static T>>);

impl<T: 'static> OnceLock<T> {
    pub(crate) fn new() -> Self {
        Self(LoomMutex::new(None))
    }

    pub(crate) fn set(&self, value: T) -> Result<(), T> {
        let mut slot = self.0.lock().expect("no model panics while it holds this");
        if slot.is_some() {
            return Err(value);
        }
        *slot = Some(Box::leak(Box::new(value)));
        Ok(())
    }

    pub(crate) fn get(&self) -> Option<&T> {
        *self.0.lock().expect("no model panics while it holds this")
    }
}

/// `crossbeam_queue::ArrayQueue`.
pub(crate) struct ArrayQueue<T> {
    items: LoomMutex<VecDeque<T>>,
    capacity: usize,
}

impl<T> ArrayQueue<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { items: LoomMutex::new(VecDeque::new()), capacity }
    }

    pub(crate) fn push(&self, item: T) -> Result<(), T> {
        let mut items = self.items.lock().expect("no model panics while it holds this");
        if items.len() == self.capacity {
            return Err(item);
        }
        items.push_back(item);
        Ok(())
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.items.lock().expect("no model panics while it holds this").pop_front()
    }

    pub(crate) fn len(&self) -> usize {
        self.items.lock().expect("no model panics while it holds this").len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }
}

/// `crossbeam_queue::SegQueue`.
pub(crate) struct SegQueue<T>(ArrayQueue<T>);

impl<T> Default for SegQueue<T> {
    fn default() -> Self {
        Self(ArrayQueue::new(usize::MAX))
    }
}

impl<T> SegQueue<T> {
    pub(crate) fn push(&self, item: T) {
        let pushed = self.0.push(item);
        assert!(pushed.is_ok(), "the capacity is usize::MAX");
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.0.pop()
    }
}

/// `tokio::sync::Notify`, with one waiter. The future blocks its thread instead of yielding.
#[derive(Default)]
pub(crate) struct Notify {
    permit: LoomMutex<bool>,
    given: Condvar,
}

impl Notify {
    pub(crate) fn notify_one(&self) {
        *self.permit.lock().expect("no model panics while it holds this") = true;
        self.given.notify_one();
    }

    pub(crate) async fn notified(&self) {
        let mut permit = self.permit.lock().expect("no model panics while it holds this");
        while !*permit {
            permit = self.given.wait(permit).expect("no model panics while it holds this");
        }
        *permit = false;
    }
}

/// `arc_swap::ArcSwap`.
pub(crate) struct ArcSwap<T>(LoomMutex<Arc<T>>);

impl<T> ArcSwap<T> {
    pub(crate) fn from_pointee(value: T) -> Self {
        Self(LoomMutex::new(Arc::new(value)))
    }

    pub(crate) fn load(&self) -> Arc<T> {
        Arc::clone(&self.0.lock().expect("no model panics while it holds this"))
    }

    pub(crate) fn rcu(&self, mut change: impl FnMut(&Arc<T>) -> T) {
        let mut value = self.0.lock().expect("no model panics while it holds this");
        *value = Arc::new(change(&value));
    }
}

/// Whether an object may still be used. A use that is not ordered before the object's end fails the
/// model, and so does one after it.
#[derive(Debug, Default)]
pub(crate) struct Liveness {
    uses: UnsafeCell<()>,
    /// Not loom's: it is no part of the protocol, and orders nothing there.
    ended: std::sync::atomic::AtomicBool,
}

// SAFETY: the cell holds nothing. loom fails the model if accesses to it race.
unsafe impl Sync for Liveness {}

impl Liveness {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn check(&self) {
        self.uses.with(|_| ());
        assert!(!self.ended.load(Ordering::Relaxed), "an object is used after it was freed");
    }

    /// The object is freed.
    pub(crate) fn end(&self) {
        self.uses.with_mut(|_| ());
        self.ended.store(true, Ordering::Relaxed);
    }
}
