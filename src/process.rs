//! What the program asks of the system: pages, descriptors, signals.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Has the allocator do without huge pages, of which a node with some thousand streams fills the
/// smaller part.
///
/// 15,000 streams with them took 1.56 KiB each, 0.95 without; 100,000 took 0.71 and 0.45; a
/// delivery took no less processor time (`docs/benchmarks.md`). Where it can't be had, it costs
/// that memory and nothing else.
pub fn use_small_pages() {
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

/// Every connection is a descriptor; the soft limit is for programs that use `select`.
pub fn raise_descriptor_limit() {
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "could not raise the descriptor limit");
    }
}

/// The signals that end the program.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Listens for them from here on; in a runtime.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next one, and says which. Cancel safe.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}
