//! Listening sockets with `SO_REUSEPORT`: one per shard on one address, over which the kernel
//! spreads connections.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::config::Config;

/// What every connection of a listener inherits from it on Linux, so that accepting costs no
/// further system calls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ListenerOptions {
    /// `SO_SNDBUF`, bytes; the kernel doubles it.
    send_buffer_bytes: usize,
    /// `TCP_USER_TIMEOUT`: unacknowledged bytes end a connection after this long.
    write_timeout: Duration,
    /// Connections that may wait to be accepted.
    backlog: u32,
}

impl From<&Config> for ListenerOptions {
    fn from(config: &Config) -> Self {
        Self {
            send_buffer_bytes: config.send_buffer_bytes,
            write_timeout: config.write_timeout,
            backlog: config.backlog,
        }
    }
}

/// Time without traffic after which the kernel sends keepalive probes. It is for idle
/// publishers: streams usually send heartbeats more often.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Finds out that nobody else listens on an address, and holds it until the shards do. Port 0 takes
/// a free one.
///
/// The address is tried without `SO_REUSEPORT` first: with it the kernel would let two nodes of one
/// user share a port, each with half of the connections, and nobody would be told.
pub(crate) fn reserve(addr: SocketAddr) -> io::Result<(Socket, SocketAddr)> {
    let socket = socket(addr)?;
    socket.bind(&addr.into())?;
    let addr = socket.local_addr()?.as_socket().expect("an inet socket has an inet address");
    // Setting SO_REUSEPORT after the bind still lets the shards' listeners bind the same address.
    // Two nodes that start in the same instant can both get this far, since neither listens yet;
    // there is no call that would tell them apart.
    socket.set_reuse_port(true)?;
    Ok((socket, addr))
}

/// Opens one shard's listener on a reserved address.
pub(super) fn listen(
    addr: SocketAddr,
    options: ListenerOptions,
) -> io::Result<std::net::TcpListener> {
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

    const OPTIONS: ListenerOptions = ListenerOptions {
        send_buffer_bytes: 16 * 1024,
        write_timeout: Duration::from_secs(1),
        backlog: 8,
    };

    #[test]
    fn listeners_share_one_free_port_and_a_second_node_is_refused() {
        let (reserved, addr) = reserve("127.0.0.1:0".parse().unwrap()).unwrap();
        let listeners: Vec<_> = (0..3).map(|_| listen(addr, OPTIONS).unwrap()).collect();
        drop(reserved);
        assert!(listeners.iter().all(|listener| listener.local_addr().unwrap() == addr));
        assert_eq!(reserve(addr).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listeners);
        assert!(reserve(addr).is_ok());
    }
}
