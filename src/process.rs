//! Process set-up for `main`: memory pages, address space, descriptor limit, signal handlers.

// Linked for the functions below, which its bindings have only with another dependency.
use libmimalloc_sys as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Disables transparent huge pages for the process, because a node with some thousand streams
/// leaves most of their memory unused.
///
/// Memory per stream with and without huge pages: 1.56 and 0.94 KiB at 15,000 streams, 0.71 and
/// 0.45 KiB at 100,000; processor time per delivery did not differ measurably (ADR 12).
pub fn use_small_pages() {
    // A kernel that refuses costs that memory, nothing else.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

// SAFETY: mimalloc declares both with these types (its option is a C enum), and both ignore a
// number that is no option.
unsafe extern "C" {
    /// The value of one of mimalloc's options; 0 for one it doesn't have.
    safe fn mi_option_get(option: libc::c_int) -> libc::c_long;
    /// Sets an option, if mimalloc has it.
    ///
    /// # Safety
    ///
    /// No other thread may use the allocator: mimalloc stores options without synchronisation.
    fn mi_option_set(option: libc::c_int, value: libc::c_long);
}

/// `mi_option_arena_reserve`: how much address space mimalloc reserves at a time, in KiB.
const ARENA_RESERVE: libc::c_int = 23;

/// Its default, by which it is recognised: another version may number its options differently.
const ARENA_RESERVE_DEFAULT: libc::c_long = 1024 * 1024;

/// The smallest amount that mimalloc reserves.
const ARENA_RESERVE_MIN: libc::c_long = 32 * 1024;

/// Makes both allocators reserve little where the address space is limited (`ulimit -v`). To be
/// called before another thread starts.
///
/// mimalloc reserves 1 GiB at a time. Where it can't, it maps each block on its own, and after a
/// hundred large events most of the address space is holes. glibc allocates a little for each
/// thread, for which it reserves 64 MiB per thread.
pub fn save_address_space() {
    if rlimit::Resource::AS.get_soft().is_ok_and(|limit| limit == rlimit::INFINITY) {
        return;
    }
    if mi_option_get(ARENA_RESERVE) == ARENA_RESERVE_DEFAULT {
        // SAFETY: no other thread runs yet.
        unsafe { mi_option_set(ARENA_RESERVE, ARENA_RESERVE_MIN) };
    }
    // SAFETY: `mallopt` takes plain numbers, and no other thread runs yet. If it fails, it costs
    // address space, nothing else.
    #[cfg(target_env = "gnu")]
    let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// Raises the soft descriptor limit to the hard limit, since every connection is a descriptor.
pub fn raise_descriptor_limit() {
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "can't raise the descriptor limit");
    }
}

/// Handlers of the signals that stop the program: SIGINT and SIGTERM.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Registers the handlers; must be called in a tokio runtime.
    ///
    /// # Errors
    ///
    /// The error of the operating system, if a handler can't be registered.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next signal and returns its name.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a signal that arrives between two calls is returned by the second.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_of_the_allocator_is_the_one_that_is_meant() {
        assert_eq!(mi_option_get(ARENA_RESERVE), ARENA_RESERVE_DEFAULT);
    }
}
