//! Opening connections: from which addresses, how many at once, how fast, and what went wrong by
//! cause.

pub mod dial;
pub mod ramp;

use std::net::{IpAddr, Ipv4Addr};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors of a worker that are not streams.
const DESCRIPTORS_KEPT: u64 = 200;
/// Streams from one source address: well below the 28,232 ports the kernel gives out by default,
/// because closed ones stay taken for a while.
pub const STREAMS_PER_SOURCE: u64 = 10_000;

/// Takes all the descriptors this process may have and says how many streams that is.
pub fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let now = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    now.unwrap_or(1 << 20).saturating_sub(DESCRIPTORS_KEPT).max(1)
}

/// The source addresses for `streams` to `target`: those given, or for a loopback target its own
/// net, as many as needed.
///
/// Even one stream gets an address that is not the target's: a connect from the target's own
/// address to a port nobody listens on may be given that very port, and then the stream is
/// connected to itself and keeps the server from coming back.
pub fn sources(given: &[IpAddr], target: IpAddr, streams: u64) -> Vec<IpAddr> {
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
    fn a_million_streams_have_a_hundred_addresses() {
        let sources = sources(&[], IpAddr::V4(Ipv4Addr::LOCALHOST), 1_000_000);
        let distinct: std::collections::BTreeSet<_> = sources.iter().collect();
        assert_eq!((sources.len(), distinct.len()), (100, 100));
        assert!(sources.iter().all(IpAddr::is_loopback));
    }

    #[test]
    fn far_targets_leave_it_to_the_kernel() {
        assert!(sources(&[], IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 1_000_000).is_empty());
    }

    #[test]
    fn no_stream_can_be_connected_to_itself() {
        let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let sources = sources(&[], localhost, 5);
        assert!(!sources.is_empty() && !sources.contains(&localhost));
    }
}
