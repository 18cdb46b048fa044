//! A memory limit like that of a container: a cgroup, where the test may create one.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::process::Fanfare;

/// Where cgroups that limit memory are made: v1's controller, or v2's root.
const ROOTS: [&str; 2] = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"];

/// A cgroup with a limit, removed when dropped; the programs in it must have exited by then.
pub struct Container(PathBuf);

impl Container {
    /// A container of `bytes`; `None` where this process may not make one.
    pub fn new(bytes: u64) -> Option<Self> {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        // Ordering: Relaxed: only the number matters.
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("fanfare-test-{}-{number}", std::process::id());
        ROOTS.iter().find_map(|root| Self::make(&Path::new(root).join(&name), bytes))
    }

    fn make(dir: &Path, bytes: u64) -> Option<Self> {
        fs::create_dir(dir).ok()?;
        let container = Self(dir.into());
        let set = |file: &str, value: u64| fs::write(dir.join(file), value.to_string()).is_ok();
        let limited = set("memory.max", bytes) || set("memory.limit_in_bytes", bytes);
        // With swap the limit would make it slow instead of ending it. Either file may be missing.
        let _ = set("memory.swap.max", 0) || set("memory.memsw.limit_in_bytes", bytes);
        limited.then_some(container)
    }

    /// The program, not yet started, in this container.
    pub fn program(&self) -> Fanfare {
        Fanfare::after(&format!("echo $$ > {}", self.0.join("cgroup.procs").display()))
    }

    /// The most memory that was in use.
    pub fn peak(&self) -> Option<u64> {
        let read = |file: &str| fs::read_to_string(self.0.join(file)).ok();
        let peak = read("memory.peak").or_else(|| read("memory.max_usage_in_bytes"))?;
        peak.trim().parse().ok()
    }

    /// The name of its directory.
    pub fn name(&self) -> &str {
        self.0.file_name().and_then(|name| name.to_str()).expect("it was made of text")
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // Fails only if a program is still in it, which the harness has reported then.
        let _ = fs::remove_dir(&self.0);
    }
}
