//! One listening socket per shard on one address, so that the kernel spreads connections over the shards.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

/// What every connection of a listener inherits from it on Linux, so that accepting costs no further system calls.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// `SO_SNDBUF`, bytes; the kernel doubles it.
    pub send_buffer_bytes: usize,
    /// `TCP_USER_TIMEOUT`: unacknowledged bytes end a connection after this long.
    pub write_timeout: Duration,
    /// Connections that may wait to be accepted.
    pub backlog: u32,
}

/// Time without traffic after which the kernel asks whether the peer is still there. Heartbeats keep live streams
/// under it; it is for idle publishers.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Binds `count` listeners to one address. Port 0 takes a free one, the same for all.
///
/// The address is tried without `SO_REUSEPORT` first: with it the kernel would let two nodes of one user share a port,
/// each with half of the connections, and nobody would be told.
pub fn bind(addr: SocketAddr, count: usize, options: Options) -> io::Result<Vec<std::net::TcpListener>> {
    let probe = socket(addr)?;
    probe.bind(&addr.into())?;
    let addr = probe.local_addr()?.as_socket().expect("an inet socket has an inet address");
    // With SO_REUSEPORT set late the probe holds the port until the first listener has it.
    probe.set_reuse_port(true)?;
    (0..count).map(|_| listen(addr, options)).collect()
}

fn listen(addr: SocketAddr, options: Options) -> io::Result<std::net::TcpListener> {
    let socket = socket(addr)?;
    socket.set_reuse_port(true)?;
    socket.set_send_buffer_size(options.send_buffer_bytes)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(options.write_timeout))?;
    socket.set_keepalive(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
    socket.bind(&addr.into())?;
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

fn socket(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    SockRef::from(&socket).set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: Options =
        Options { send_buffer_bytes: 16 * 1024, write_timeout: Duration::from_secs(1), backlog: 8 };

    #[test]
    fn listeners_share_one_free_port_and_a_second_node_is_refused() {
        let free = "127.0.0.1:0".parse().unwrap();
        let first = bind(free, 3, OPTIONS).unwrap();
        let addr = first[0].local_addr().unwrap();
        assert!(first.iter().all(|listener| listener.local_addr().unwrap() == addr));
        assert_eq!(bind(addr, 1, OPTIONS).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        assert!(bind(addr, 2, OPTIONS).is_ok());
    }
}
