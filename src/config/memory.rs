//! The memory the process may use, and the shares of it that `auto` of a setting stands for.
//!
//! A process in a container sees the memory of the whole machine in most places, and is killed at
//! the limit of its cgroup. So the budgets follow the lowest of all limits that apply: those of
//! cgroup v2 and v1, `RLIMIT_AS` and the machine's memory.
//!
//! Both parts are pure but for reading files below a root, which tests replace. Own code, because
//! the crates that read limits leave out what decides here: the limits of parent cgroups,
//! `memory.high`, cgroup v1 beside v2, or `RLIMIT_AS`.

use std::fmt;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

const MIB: u64 = 1 << 20;

/// Address space that is taken before any budget is used: code, libraries, stacks of threads, the
/// rings of io_uring. Measured at start with two shards: 50 MiB, beside what mimalloc reserves.
const ADDRESS_SPACE_BASE: u64 = 48 * MIB;

/// The memory a process may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Bytes, the shares' whole.
    pub bytes: u64,
    /// What limits it: a file, `RLIMIT_AS`, or the machine's memory.
    pub source: String,
}

/// A part of the memory: what `auto` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    /// The part, in sixteenths of the memory.
    sixteenths: u64,
    /// Bytes per unit of the setting: 1 if it counts bytes.
    unit: u64,
    /// No less than this, however little memory there is, so that the other defaults stay valid.
    least: u64,
    /// No more than this: more would gain nothing.
    most: u64,
}

/// `FANFARE_QUEUE_BYTES`. A body takes up to twice its size while it is read and parsed, so the
/// queue takes two sixteenths.
pub(super) const QUEUE: Share = Share { sixteenths: 1, unit: 1, least: MIB, most: 64 * MIB };

/// `FANFARE_WINDOW_BYTES`.
pub(super) const WINDOW: Share = Share { sixteenths: 1, unit: 1, least: MIB, most: 64 * MIB };

/// `FANFARE_UNSENT_BYTES`. More memory has room for more streams, which can block.
pub(super) const UNSENT: Share = Share { sixteenths: 2, unit: 1, least: 2 * MIB, most: 1 << 50 };

/// `FANFARE_REQUEST_CONNECTIONS_MAX`: 32 KiB for what hyper buffers of a connection, 16 KiB each
/// way. More than 4096 gain nothing: connections with a stream are not among them.
pub(super) const REQUESTS: Share = Share { sixteenths: 1, unit: 32 << 10, least: 256, most: 4096 };

/// `FANFARE_STREAMS_MAX`: 4 KiB for a connection with a stream, most of it in the kernel.
pub(super) const STREAMS: Share = Share { sixteenths: 4, unit: 4096, least: 1024, most: 1_000_000 };

/// `FANFARE_TOPICS_MAX`: 1 KiB for a topic that is read, with its name.
pub(super) const TOPICS: Share = Share { sixteenths: 1, unit: 1024, least: 1024, most: 1_000_000 };

/// `FANFARE_SUBSCRIPTIONS_MAX`: 128 bytes for a cursor and an entry among a ring's readers.
pub(super) const SUBSCRIPTIONS: Share =
    Share { sixteenths: 1, unit: 128, least: 1024, most: 1_000_000_000 };

/// `FANFARE_HISTORY_BYTES`.
pub(super) const HISTORY: Share = Share { sixteenths: 3, unit: 1, least: 0, most: 256 * MIB };

impl Share {
    /// The share of `memory` bytes.
    pub(super) fn of(self, memory: u64) -> u64 {
        let bytes = memory / 16 * self.sixteenths;
        // In whole MiB, which are easier to read in the log.
        (bytes / MIB * MIB / self.unit).clamp(self.least, self.most)
    }

    /// The share of this process's memory.
    pub(super) fn of_process(self) -> u64 {
        self.of(Memory::of_process().bytes)
    }
}

impl Memory {
    /// The memory this process may use, as it was when this was first called.
    pub fn of_process() -> &'static Self {
        static MEMORY: OnceLock<Memory> = OnceLock::new();
        MEMORY.get_or_init(|| {
            let address_space = rlimit::Resource::AS.get_soft().ok();
            Self::below(Path::new("/"), address_space)
        })
    }

    /// The lowest limit found below `root`, where `/proc` and `/sys` are, and of an address space
    /// of that many bytes. What can't be read limits nothing.
    fn below(root: &Path, address_space: Option<u64>) -> Self {
        let address_space = address_space.filter(|&bytes| bytes < rlimit::INFINITY).map(|bytes| {
            // Half of the rest is for holes: what was freed is used again only for what fits in it.
            let usable = bytes.saturating_sub(ADDRESS_SPACE_BASE) / 2;
            Self { bytes: usable, source: "RLIMIT_AS (ulimit -v)".into() }
        });
        let limits = machine(root).into_iter().chain(cgroups(root)).chain(address_space);
        let unknown = Self { bytes: u64::MAX, source: "no limit that can be read".into() };
        limits.min_by_key(|limit| limit.bytes).unwrap_or(unknown)
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB ({})", self.bytes / MIB, self.source)
    }
}

/// The machine's memory: `MemTotal` of `/proc/meminfo`, which is in KiB.
fn machine(root: &Path) -> Option<Memory> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = total.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(Memory { bytes: kib.saturating_mul(1024), source: "memory of the machine".into() })
}

/// The limits of the process's cgroups, their parents' included: a parent's limit holds for all
/// below it.
fn cgroups(root: &Path) -> Vec<Memory> {
    let read = |file: &str| fs::read_to_string(root.join(file)).unwrap_or_default();
    let mounts = read("proc/self/mountinfo");
    let mut limits = Vec::new();
    for line in read("proc/self/cgroup").lines() {
        // `0::/path` is cgroup v2, `4:memory:/path` a controller of v1.
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let v2 = controllers.is_empty();
        let files: &[_] = match v2 {
            true => &["memory.max", "memory.high"],
            false if controllers.split(',').any(|name| name == "memory") => {
                &["memory.limit_in_bytes"]
            }
            false => continue,
        };
        for mount in mounts.lines().filter_map(Mount::parse).filter(|mount| mount.v2 == v2) {
            for dir in mount.dirs(path) {
                limits.extend(files.iter().filter_map(|file| limit(root, &dir.join(file))));
            }
        }
    }
    limits
}

/// The number in a limit's file; `None` for `max`, and for a file that isn't there.
fn limit(root: &Path, file: &Path) -> Option<Memory> {
    let text = fs::read_to_string(root.join(file.strip_prefix("/").unwrap_or(file))).ok()?;
    Some(Memory { bytes: text.trim().parse().ok()?, source: file.display().to_string() })
}

/// A mounted cgroup hierarchy that can limit memory.
struct Mount<'a> {
    v2: bool,
    /// The cgroup that is mounted.
    root: &'a str,
    /// Where.
    point: &'a str,
}

impl<'a> Mount<'a> {
    /// A line of `/proc/self/mountinfo` (proc(5)), if it is one.
    fn parse(line: &'a str) -> Option<Self> {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (root, point) = (mount.next()?, mount.next()?);
        let mut filesystem = filesystem.split(' ');
        let v2 = match filesystem.next()? {
            "cgroup2" => true,
            "cgroup" if filesystem.nth(1)?.split(',').any(|option| option == "memory") => false,
            _ => return None,
        };
        Some(Self { v2, root, point })
    }

    /// The directories of a cgroup and of its parents, as far as they are mounted. In a container
    /// the path can be that of the host; then all that is visible is the mount itself.
    fn dirs(&self, cgroup: &str) -> Vec<PathBuf> {
        let below = Path::new(cgroup).strip_prefix(self.root).unwrap_or(Path::new(""));
        let inside = below.components().all(|part| matches!(part, Component::Normal(_)));
        let below = if inside { below } else { Path::new("") };
        below.ancestors().map(|part| Path::new(self.point).join(part)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory";
    const V2: &str = "41 31 0:38 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw";

    /// A directory with files, removed when dropped.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let name = format!("fanfare-memory-{}-{name}", std::process::id());
            let tree = Self(std::env::temp_dir().join(name));
            for (file, text) in files {
                let file = tree.0.join(file);
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(file, text).unwrap();
            }
            tree
        }

        fn memory(&self, address_space: Option<u64>) -> (u64, String) {
            let memory = Memory::below(&self.0, address_space);
            (memory.bytes / MIB, memory.source)
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal:     1048576 kB\nMemFree: 5 kB\n");

    fn found(mib: u64, source: &str) -> (u64, String) {
        (mib, source.into())
    }

    #[test]
    fn without_limits_the_machine_decides() {
        let tree = Tree::new("machine", &[MEMINFO]);
        assert_eq!(tree.memory(None), found(1024, "memory of the machine"));
        assert_eq!(tree.memory(Some(u64::MAX)), found(1024, "memory of the machine"));
        let (bytes, source) = Tree::new("none", &[]).memory(None);
        assert_eq!((bytes, &*source), (u64::MAX / MIB, "no limit that can be read"));
    }

    #[test]
    fn a_cgroup_v2_is_limited_by_itself_and_by_its_parents() {
        let tree = |name, own: &str, high: &str, parent: &str| {
            Tree::new(
                name,
                &[
                    MEMINFO,
                    ("proc/self/mountinfo", V2),
                    ("proc/self/cgroup", "0::/a/b\n"),
                    ("sys/fs/cgroup/a/b/memory.max", own),
                    ("sys/fs/cgroup/a/b/memory.high", high),
                    ("sys/fs/cgroup/a/memory.max", parent),
                ],
            )
            .memory(None)
        };
        let file = |mib, file: &str| found(mib, &format!("/sys/fs/cgroup/{file}"));
        let (m128, m256, m512) = ("134217728\n", "268435456\n", "536870912\n");
        assert_eq!(tree("own", m128, "max\n", m256), file(128, "a/b/memory.max"));
        assert_eq!(tree("high", m256, m128, "max\n"), file(128, "a/b/memory.high"));
        assert_eq!(tree("parent", m512, "max\n", m256), file(256, "a/memory.max"));
        assert_eq!(tree("max", "max\n", "max\n", "max\n"), found(1024, "memory of the machine"));
    }

    #[test]
    fn a_cgroup_v1_is_found_by_its_controller_beside_an_empty_v2() {
        let tree = Tree::new(
            "v1",
            &[
                MEMINFO,
                ("proc/self/mountinfo", &format!("{V1}\n{}", V2.replace("cgroup rw", "c rw"))),
                ("proc/self/cgroup", "9:name=systemd:/x\n4:cpu,memory:/a/b\n0::/\n"),
                ("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "9223372036854771712\n"),
                ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "134217728\n"),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ],
        );
        let file = "/sys/fs/cgroup/memory/a/memory.limit_in_bytes";
        assert_eq!(tree.memory(None), found(128, file));
    }

    #[test]
    fn in_a_container_the_cgroup_is_the_mount_itself() {
        let mounted = V1.replace(" / /sys", " /docker/1 /sys");
        let limit = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "67108864\n");
        for (name, cgroup) in
            [("same", "4:memory:/docker/1"), ("other", "4:memory:/x"), ("above", "4:memory:/../y")]
        {
            let tree = Tree::new(
                name,
                &[("proc/self/mountinfo", &mounted), ("proc/self/cgroup", cgroup), limit],
            );
            assert_eq!(tree.memory(None), found(64, &format!("/{}", limit.0)), "{cgroup}");
        }
    }

    #[test]
    fn half_of_an_address_space_is_used_less_what_is_taken_at_start() {
        let tree = Tree::new("as", &[MEMINFO]);
        let source = "RLIMIT_AS (ulimit -v)";
        assert_eq!(tree.memory(Some(128 * MIB)), found(40, source));
        assert_eq!(tree.memory(Some(40 * MIB)), found(0, source));
        assert_eq!(tree.memory(Some(1 << 40)), found(1024, "memory of the machine"));
    }

    #[test]
    fn broken_files_limit_nothing() {
        let tree = Tree::new(
            "broken",
            &[
                ("proc/meminfo", "MemTotal: lots\n"),
                ("proc/self/mountinfo", "x - cgroup2\n1 2 3 - cgroup\n41 31 0:38 / - cgroup2 c rw"),
                ("proc/self/cgroup", "0\n0:\n4:memory\n0::\n0::relative/..\n"),
            ],
        );
        assert_eq!(tree.memory(None).1, "no limit that can be read");
    }

    #[test]
    fn shares_leave_room_for_what_no_setting_bounds_and_end_at_their_most() {
        let shares = [QUEUE, WINDOW, UNSENT, HISTORY];
        let small = shares.map(|share| share.of(128 * MIB) / MIB);
        assert_eq!(small, [8, 8, 16, 24]);
        let counts = [STREAMS, TOPICS, SUBSCRIPTIONS, REQUESTS];
        assert_eq!(counts.map(|share| share.of(128 * MIB)), [8192, 8192, 65_536, 256]);
        let all = shares.iter().chain(&[QUEUE]).chain(&counts);
        assert_eq!(all.map(|share| share.sixteenths).sum::<u64>(), 15, "the queue counts twice");
        assert_eq!(shares.map(|share| share.of(8 << 30) / MIB), [64, 64, 1024, 256]);
        assert_eq!([STREAMS, TOPICS].map(|share| share.of(16 << 30)), [1_000_000; 2]);
        assert_eq!(shares.map(|share| share.of(0)), [MIB, MIB, 2 * MIB, 0]);
        // An overflow would give a small share of a limit that can't be read.
        assert_eq!(QUEUE.of(u64::MAX), 64 * MIB);
    }
}
