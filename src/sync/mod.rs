//! Concurrency primitives: those of std, tokio and crossbeam, or loom's under `--cfg ring_loom`.
//!
//! Code whose orderings a loom model checks takes its primitives from here and nowhere else. loom
//! can't see inside crossbeam's queues, `arc-swap` and tokio's `Notify`, so under `ring_loom`
//! stand-ins with the same contract, built on loom's mutex and condition variable, replace them.
//!
//! The flag is our own because `--cfg loom` also turns `tokio::net` off.

#![cfg_attr(not(ring_loom), forbid(unsafe_code))]

#[cfg(ring_loom)]
mod model;

#[cfg(not(ring_loom))]
pub(crate) use real::*;

#[cfg(ring_loom)]
pub(crate) use model::*;

#[cfg(not(ring_loom))]
mod real {
    pub(crate) use std::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence,
    };
    pub(crate) use std::sync::{Mutex, OnceLock};
    pub(crate) use std::thread::{Thread, current, park_timeout, yield_now};

    pub(crate) use arc_swap::ArcSwap;
    pub(crate) use crossbeam_queue::{ArrayQueue, SegQueue};
    pub(crate) use tokio::sync::Notify;

    /// Nothing; the models replace it by a check that no object is used after it was freed.
    #[derive(Debug)]
    pub(crate) struct Liveness;

    impl Liveness {
        pub(crate) fn new() -> Self {
            Self
        }

        /// The object is used.
        #[inline(always)]
        pub(crate) fn check(&self) {}
    }
}
