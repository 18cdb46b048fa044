//! An atomic pointer to an object that readers look at without a lock or a reference count.
//!
//! A slot owns a strong reference to its object, or is empty. Replacing the object hands that
//! reference to the [`Writer`], which drops it when no reader can be looking at the object any
//! more. The ordering table is that of [`reclaim`](super::reclaim).

use std::ptr::null_mut;
use std::sync::Arc;

use super::reader::Section;
use super::reclaim::{Dated, Footprint, Writer};
use crate::sync::{AtomicPtr, Ordering};

/// Holds one `Arc<Dated<T>>`, or none.
pub(super) struct Slot<T: Footprint>(AtomicPtr<Dated<T>>);

/// The era has changed since the section announced it: what was found must not be looked at.
pub(super) struct EraChanged;

impl<T: Footprint> Slot<T> {
    /// What the slot holds, to be looked at until the section ends or is renewed.
    ///
    /// # Safety
    ///
    /// The section's reader is of the reclaimer whose writers replace what the slot holds.
    pub(super) unsafe fn load<'s>(
        &'s self,
        section: &'s Section<'_>,
    ) -> Result<Option<&'s Dated<T>>, EraChanged> {
        // Ordering: Acquire: the object, and the era of its birth or a later one. Pairs with
        // Release in `replace`. Model: nothing_is_freed_while_it_is_read.
        let object = self.0.load(Ordering::Acquire);
        if !section.is_current() {
            return Err(EraChanged);
        }
        // SAFETY: null, or from `Arc::into_raw`. The section announced this era, and it is still
        // the current one, so the object lived in it and is not freed before the section ends or
        // is renewed; neither is possible while the section is borrowed.
        Ok(unsafe { object.as_ref() })
    }

    /// What the slot holds, for the writer.
    ///
    /// # Safety
    ///
    /// The caller has the writer of the reclaimer, and does not replace what the slot holds while
    /// it uses the result.
    pub(super) unsafe fn current(&self) -> Option<&Dated<T>> {
        // Ordering: Relaxed: stored under the writer's lock only. Model: growing_loses_nothing.
        let object = self.0.load(Ordering::Relaxed);
        // SAFETY: null, or from `Arc::into_raw`; the slot gives its reference up in `replace` only.
        unsafe { object.as_ref() }
    }

    /// A second reference to what the slot holds, for the writer.
    ///
    /// # Safety
    ///
    /// The caller has the writer of the reclaimer.
    pub(super) unsafe fn share(&self) -> Option<Arc<Dated<T>>> {
        // Ordering: Relaxed: stored under the writer's lock only. Model: growing_loses_nothing.
        let object = self.0.load(Ordering::Relaxed);
        if object.is_null() {
            return None;
        }
        // SAFETY: from `Arc::into_raw`; the slot's reference is given up in `replace` only.
        unsafe { Arc::increment_strong_count(object) };
        // SAFETY: the count of this reference was just added.
        Some(unsafe { Arc::from_raw(object) })
    }

    /// Replaces what the slot holds, and retires that.
    ///
    /// # Safety
    ///
    /// The writer is of the reclaimer whose readers load from the slot.
    pub(super) unsafe fn replace(&self, new: Option<Arc<Dated<T>>>, writer: &mut Writer<'_>) {
        // Ordering: Relaxed: stored under the writer's lock only. Model: growing_loses_nothing.
        let old = self.0.load(Ordering::Relaxed);
        // Ordering: Release: the object and the era of its birth. Pairs with Acquire in `load`.
        // Model: nothing_is_freed_while_it_is_read.
        self.0.store(into_raw(new), Ordering::Release);
        if !old.is_null() {
            // SAFETY: from `Arc::into_raw`, and the slot has given its reference up.
            writer.retire(unsafe { Arc::from_raw(old) });
        }
    }
}

impl<T: Footprint> From<Option<Arc<Dated<T>>>> for Slot<T> {
    fn from(object: Option<Arc<Dated<T>>>) -> Self {
        Self(AtomicPtr::new(into_raw(object)))
    }
}

impl<T: Footprint> Default for Slot<T> {
    fn default() -> Self {
        Self::from(None)
    }
}

impl<T: Footprint> Drop for Slot<T> {
    fn drop(&mut self) {
        // Ordering: Relaxed: nobody else has the slot. Model: nothing_is_leaked.
        let object = self.0.load(Ordering::Relaxed);
        if !object.is_null() {
            // SAFETY: from `Arc::into_raw`, and the slot gives its reference up. Whoever
            // looks at the object borrows this slot (`load`).
            drop(unsafe { Arc::from_raw(object) });
        }
    }
}

fn into_raw<T>(object: Option<Arc<Dated<T>>>) -> *mut Dated<T> {
    object.map_or(null_mut(), |object| Arc::into_raw(object).cast_mut())
}
