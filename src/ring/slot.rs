//! An atomically replaceable `Arc`: the little that the ring needs of `arc-swap`.
//!
//! loom can't see inside `arc-swap`, so [`Ring`](super::Ring) is generic over its slot and the
//! models put in one that promises the same and no more: an Acquire load and a Release store.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

/// Holds one `Arc<T>`, or none.
pub trait ArcSlot<T>: Default {
    /// Calls `look` with the value stored last, without touching its reference count, on which the
    /// readers of all shards would contend. Acquire: what was written before that store is visible.
    fn with<R>(&self, look: impl FnOnce(Option<&Arc<T>>) -> R) -> R;
    /// Replaces the value. Release.
    fn store(&self, value: Option<Arc<T>>);
}

/// Chooses the slots that a ring is built of.
pub trait SlotFamily {
    /// The slot for a `T`.
    type Of<T>: ArcSlot<T>;
}

/// Slots of `arc-swap`.
#[derive(Debug)]
pub struct ArcSwapSlot;

impl SlotFamily for ArcSwapSlot {
    type Of<T> = ArcSwapOption<T>;
}

impl<T> ArcSlot<T> for ArcSwapOption<T> {
    fn with<R>(&self, look: impl FnOnce(Option<&Arc<T>>) -> R) -> R {
        look(self.load().as_ref())
    }

    fn store(&self, value: Option<Arc<T>>) {
        ArcSwapOption::store(self, value);
    }
}
