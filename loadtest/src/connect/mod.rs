//! Opening connections: source addresses, the ramp, non-blocking connects and their errors.

pub(crate) mod dial;
pub(crate) mod ramp;

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setpriority_process, setrlimit};

use crate::error::Error;

/// Descriptors of a worker that are not streams.
const DESCRIPTORS_RESERVED: u64 = 200;
/// Streams from one source address: well below the kernel's 28,232 ephemeral ports, because closed
/// ones stay in TIME_WAIT.
const STREAMS_PER_SOURCE: u64 = 10_000;

/// How long a run waits for a server that refuses connections.
const START_WINDOW: Duration = Duration::from_secs(1);
const START_POLL_INTERVAL: Duration = Duration::from_millis(20);
/// The nice value of threads that must not wait for others of the tool.
const NICE_URGENT: i32 = -10;

/// Raises the descriptor limit to its hard maximum; returns how many streams it allows.
pub(crate) fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let now = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    now.unwrap_or(1 << 20).saturating_sub(DESCRIPTORS_RESERVED).max(1)
}

/// Checks that something listens on `target`. A server that is just starting has [`START_WINDOW`];
/// errors other than a refusal are left to the run, which reports them by cause.
pub(crate) fn await_listener(target: SocketAddr) -> Result<(), Error> {
    let until = Instant::now() + START_WINDOW;
    while is_refused(target) {
        if Instant::now() >= until {
            return Err(Error::Failed(format!(
                "nothing listens on {target} (connection refused): start the server first, or \
                name another with --url"
            )));
        }
        std::thread::park_timeout(START_POLL_INTERVAL);
    }
    Ok(())
}

fn is_refused(target: SocketAddr) -> bool {
    match TcpStream::connect_timeout(&target, START_WINDOW) {
        // Without a listener, the kernel may assign the target port as the source port.
        Ok(socket) => socket.local_addr().is_ok_and(|local| local == target),
        Err(error) => error.kind() == ErrorKind::ConnectionRefused,
    }
}

/// Runs the calling thread at a higher priority, if it may: what it times should not wait for the
/// rest of the tool.
pub(crate) fn raise_priority() {
    let _ = setpriority_process(None, NICE_URGENT);
}

/// The source addresses for `streams` to `target`: those given, or for a loopback target as many of
/// 127.64.0.0/10 as needed.
///
/// Even a single stream gets an address other than the target's: a connect from the target's own
/// address to a port without a listener may be assigned that very port. The stream would then be
/// connected to itself and prevent the server from listening again.
pub(crate) fn sources(given: &[IpAddr], target: IpAddr, streams: u64) -> Vec<IpAddr> {
    if !given.is_empty() {
        return given.to_vec();
    }
    match target {
        IpAddr::V4(target) if target.is_loopback() => {
            let needed = streams.div_ceil(STREAMS_PER_SOURCE).max(1) as u32;
            (0..needed)
                .map(|i| {
                    Ipv4Addr::new(
                        127,
                        64 + (i / 62_500) as u8,
                        1 + (i / 250 % 250) as u8,
                        1 + (i % 250) as u8,
                    )
                    .into()
                })
                .collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_streams_get_a_hundred_addresses() {
        let sources = sources(&[], IpAddr::V4(Ipv4Addr::LOCALHOST), 1_000_000);
        let distinct: std::collections::BTreeSet<_> = sources.iter().collect();
        assert_eq!((sources.len(), distinct.len()), (100, 100));
        assert!(sources.iter().all(IpAddr::is_loopback));
    }

    #[test]
    fn remote_targets_use_the_address_the_kernel_chooses() {
        assert!(sources(&[], IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 1_000_000).is_empty());
    }

    #[test]
    fn a_stream_never_connects_to_itself() {
        let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let sources = sources(&[], localhost, 5);
        assert!(!sources.is_empty() && !sources.contains(&localhost));
    }
}
