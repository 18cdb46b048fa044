//! Resource usage of the server from `/proc`: processor time, user memory and context switches of
//! its process, threads and descendants.

use std::collections::BTreeSet;
use std::fs;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use super::clock::SECOND;

/// The unit of `/proc/PID/stat` (`USER_HZ`); 100 a second on every Linux.
const TICK: u64 = SECOND / 100;

/// Cumulative usage; reports contain the difference between two readings.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// Processor time, nanoseconds.
    pub(crate) cpu: u64,
    /// User memory (Pss), bytes.
    pub(crate) memory: u64,
    /// The part of `memory` that is not pages of files, bytes; its growth is what streams cost.
    pub(crate) data_memory: u64,
    /// Voluntary context switches.
    pub(crate) voluntary: u64,
    /// Involuntary context switches.
    pub(crate) involuntary: u64,
    pub(crate) threads: u64,
}

impl Cost {
    /// The difference to `before`; 0 where memory has shrunk.
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            memory: self.memory.saturating_sub(before.memory),
            data_memory: self.data_memory.saturating_sub(before.data_memory),
            voluntary: self.voluntary.saturating_sub(before.voluntary),
            involuntary: self.involuntary.saturating_sub(before.involuntary),
            threads: self.threads,
        }
    }
}

/// The server's process tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Server {
    /// The root process.
    pub(crate) pid: u32,
}

impl Server {
    /// The process that listens on `port`; the lowest pid if several share the socket.
    pub(crate) fn listening_on(port: u16) -> Option<Self> {
        let sockets = listening_sockets(port);
        let holds = |pid: &u32| {
            let tasks = numbers(&format!("/proc/{pid}/task"));
            tasks.iter().any(|task| holds_any(&format!("/proc/{pid}/task/{task}/fd"), &sockets))
        };
        numbers("/proc").into_iter().filter(holds).min().map(|pid| Self { pid })
    }

    pub(crate) fn is_alive(&self) -> bool {
        fs::exists(format!("/proc/{}/stat", self.pid)).unwrap_or(false)
    }

    /// Sums the usage of the process and its descendants; `None` if there is none left.
    pub(crate) fn cost(&self) -> Option<Cost> {
        let mut sum = Cost::default();
        for pid in self.process_tree() {
            let Some(cost) = cost(pid) else { continue };
            sum.cpu += cost.cpu;
            sum.memory += cost.memory;
            sum.data_memory += cost.data_memory;
            sum.voluntary += cost.voluntary;
            sum.involuntary += cost.involuntary;
            sum.threads += cost.threads;
        }
        (sum.threads > 0).then_some(sum)
    }

    /// Signals the process and its descendants.
    pub(crate) fn signal(&self, signal: Signal) -> rustix::io::Result<()> {
        for pid in self.process_tree() {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            kill_process(pid.ok_or(Errno::SRCH)?, signal)?;
        }
        Ok(())
    }

    /// The process and its descendants.
    pub(crate) fn process_tree(&self) -> Vec<u32> {
        let parents: Vec<(u32, u32)> = numbers("/proc")
            .into_iter()
            .filter_map(|pid| Some((pid, stat_fields(pid)?.1)))
            .collect();
        let mut tree = vec![self.pid];
        let mut at = 0;
        while at < tree.len() {
            let parent = tree[at];
            tree.extend(parents.iter().filter(|(_, ppid)| *ppid == parent).map(|(pid, _)| *pid));
            at += 1;
        }
        tree
    }
}

/// User memory (Pss) of a process, in bytes.
pub(crate) fn user_memory(pid: u32) -> Option<u64> {
    field(&memory_map(pid)?, "Pss:").map(|kib| kib * 1024)
}

/// The part of [`user_memory`] that is not pages of files.
///
/// The share of a page of code falls with each other process of the same executable: a second
/// server that starts would lessen the memory of the first.
fn data_memory(pid: u32) -> Option<u64> {
    let map = memory_map(pid)?;
    Some((field(&map, "Pss_Anon:")? + field(&map, "Pss_Shmem:")?) * 1024)
}

fn memory_map(pid: u32) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()
}

/// Kernel memory of all TCP socket buffers of the machine, in bytes.
pub(crate) fn socket_buffers() -> Option<u64> {
    let stat = fs::read_to_string("/proc/net/sockstat").ok()?;
    let line = stat.lines().find(|line| line.starts_with("TCP:"))?;
    let pages = line.split_whitespace().skip_while(|word| *word != "mem").nth(1)?;
    Some(pages.parse::<u64>().ok()? * 4096)
}

/// Busy time summed over all processors of the machine.
pub(crate) fn machine_busy() -> Option<u64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let fields: Vec<u64> =
        stat.lines().next()?.split_whitespace().skip(1).map_while(|n| n.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq; steal time is not counted.
    let busy = [0, 1, 2, 5, 6].iter().filter_map(|&field| fields.get(field)).sum::<u64>();
    Some(busy * TICK)
}

fn cost(pid: u32) -> Option<Cost> {
    let mut cost = Cost {
        memory: user_memory(pid).unwrap_or(0),
        data_memory: data_memory(pid).unwrap_or(0),
        ..Cost::default()
    };
    for task in numbers(&format!("/proc/{pid}/task")) {
        let directory = format!("/proc/{pid}/task/{task}");
        let read =
            |name: &str| fs::read_to_string(format!("{directory}/{name}")).unwrap_or_default();
        let running =
            read("schedstat").split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok());
        let status = read("status");
        cost.cpu += running.unwrap_or(0);
        cost.voluntary += field(&status, "voluntary_ctxt_switches:").unwrap_or(0);
        cost.involuntary += field(&status, "nonvoluntary_ctxt_switches:").unwrap_or(0);
        cost.threads += 1;
    }
    // The process's total has a coarse unit, but includes threads that have ended.
    let whole = stat_fields(pid)?.0 * TICK;
    if whole > cost.cpu + 2 * TICK {
        cost.cpu = whole;
    }
    Some(cost)
}

/// Processor time in ticks, and the parent's pid.
fn stat_fields(pid: u32) -> Option<(u64, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name in parentheses may contain anything; count fields from behind it.
    let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some((ticks, fields.get(1)?.parse().ok()?))
}

/// The number in the line that starts with `name`.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The directory entries with numeric names.
fn numbers(directory: &str) -> Vec<u32> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn listening_sockets(port: u16) -> BTreeSet<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"]
        .map(|path| fs::read_to_string(path).unwrap_or_default());
    let lines = tables.iter().flat_map(|table| table.lines());
    let listening = lines.filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let local = u16::from_str_radix(fields.get(1)?.rsplit(':').next()?, 16).ok()?;
        (local == port && *fields.get(3)? == "0A").then(|| format!("socket:[{}]", fields[9]))
    });
    listening.collect()
}

fn holds_any(directory: &str, sockets: &BTreeSet<String>) -> bool {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut links = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
    links.any(|link| link.to_str().is_some_and(|link| sockets.contains(link)))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::process::{Child, Command, Stdio};

    use super::*;

    #[test]
    fn a_listening_process_is_found_by_its_port() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let server = Server::listening_on(port).expect("this process listens");
        assert_eq!(server.pid, std::process::id());
        let cost = server.cost().expect("this process runs");
        assert!(cost.memory > 0 && cost.cpu > 0 && cost.threads > 0);
    }

    #[test]
    fn the_data_memory_of_a_process_is_independent_of_others_of_its_executable() {
        let first = Echo::start();
        let alone = data_memory(first.0.id()).expect("the process runs");
        let _others = [(); 8].map(|()| Echo::start());
        assert_eq!(data_memory(first.0.id()), Some(alone));
    }

    /// A process that has run, and waits.
    struct Echo(Child);

    impl Echo {
        fn start() -> Self {
            let mut cat = Command::new("cat")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("cat starts");
            let mut byte = [b'.'];
            cat.stdin.as_mut().expect("piped").write_all(&byte).expect("cat reads");
            cat.stdout.as_mut().expect("piped").read_exact(&mut byte).expect("cat writes");
            Self(cat)
        }
    }

    impl Drop for Echo {
        fn drop(&mut self) {
            let ended = self.0.kill().and_then(|()| self.0.wait());
            drop(ended);
        }
    }

    #[test]
    fn no_process_is_found_for_an_unused_port() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        drop(listener);
        assert!(Server::listening_on(port).is_none());
    }
}
