//! The one thing the ring asks of `arc-swap`: a place that holds an `Arc`, with an Acquire load and
//! a Release store.
//!
//! loom can't see inside `arc-swap`, so the ring is generic over this and the models put in a cell
//! that promises the same and no more.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

/// A place for one `Arc<T>`, or none.
pub trait ArcSlot<T>: Default {
    /// Shows the value stored last, without touching its reference count, which readers on every
    /// shard would contend for. Acquire: what was written before the store that is read is visible.
    fn with<R>(&self, look: impl FnOnce(Option<&Arc<T>>) -> R) -> R;
    /// Replaces the value. Release.
    fn store(&self, value: Option<Arc<T>>);
}

/// EventIndices the cell a ring is built of.
pub trait SlotFamily {
    /// The cell for a `T`.
    type Of<T>: ArcSlot<T>;
}

/// `arc-swap`: what the program runs on.
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
