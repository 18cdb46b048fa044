//! The atomics of [`ring`](crate::ring): std's, or loom's under `--cfg ring_loom`. Nothing else.
//!
//! A flag of our own, because `--cfg loom` also switches `tokio::net` off.

#[cfg(ring_loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
#[cfg(not(ring_loom))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
