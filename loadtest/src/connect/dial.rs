//! One non-blocking connect.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};

/// Starts a connection to `target` from `source`; the socket is writable once connected.
pub(crate) fn dial(
    target: SocketAddr,
    source: Option<IpAddr>,
    receive_buffer: Option<usize>,
) -> Result<OwnedFd, Errno> {
    let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    if let Some(bytes) = receive_buffer {
        // Before connect, which negotiates the window scale.
        sockopt::set_socket_recv_buffer_size(&socket, bytes)?;
    }
    if let Some(source) = source {
        choose_port_late(&socket)?;
        bind(&socket, &SocketAddr::new(source, 0))?;
    }
    match connect(&socket, &target) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error),
    }
}

/// `IP_BIND_ADDRESS_NO_PORT` postpones the choice of the port to connect, where only the four-tuple
/// has to be unique.
fn choose_port_late(socket: &OwnedFd) -> Result<(), Errno> {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open, and the option is an int that lives for the call.
    let failed = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if failed == 0 {
        Ok(())
    } else {
        Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL))
    }
}

/// A connection error as the report names it.
pub(crate) fn cause(error: Errno) -> &'static str {
    match error {
        Errno::CONNREFUSED => "connection refused",
        Errno::CONNRESET => "reset by the server",
        Errno::TIMEDOUT => "timed out",
        Errno::ADDRNOTAVAIL => "no source port left",
        Errno::MFILE => "no descriptor left in the worker",
        Errno::NFILE => "no descriptor left in the system",
        Errno::NOBUFS | Errno::NOMEM => "no kernel memory left",
        Errno::HOSTUNREACH | Errno::NETUNREACH => "unreachable",
        Errno::PIPE => "closed by the server",
        _ => "other error",
    }
}
