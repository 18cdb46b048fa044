//! The bare limit: what the kernel takes to deliver an event, with no server around it.
//!
//! Two threads, each with its own listener and descriptor table, hold the streams. A published
//! event is prepared once and then sent with one `write(2)` (or one io_uring `Send`) per
//! connection; a connection that can't take the whole event is closed. No history, no filters, no
//! limits worth the name: it is a ruler, not a server.

mod request;
mod send;
mod thread;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};

use rustix::event::{EventfdFlags, eventfd};
use socket2::{Domain, Protocol, Socket, Type};

use crate::cli::BaselineArgs;
use crate::error::Fault;

/// Events that may wait for one thread; a publisher that meets a full inbox is answered 503.
const INBOX_EVENTS: usize = 65_536;

/// How a prepared event goes to the sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Io {
    /// One `write(2)` per connection.
    Write,
    /// Batches of up to 128 sends in one `io_uring_enter(2)`.
    Uring,
}

/// An event in wire form, and whom it is for.
pub(super) struct Prepared {
    topic: Vec<u8>,
    bytes: Vec<u8>,
}

/// One thread's letter box. Written by whichever thread took the publish, emptied by its owner.
struct Inbox {
    waiting: Mutex<VecDeque<Arc<Prepared>>>,
    wake: OwnedFd,
}

impl Inbox {
    fn open() -> Result<Self, Fault> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| Fault::system("open an eventfd", error))?;
        Ok(Self { waiting: Mutex::new(VecDeque::new()), wake })
    }

    /// False if the inbox is full.
    fn put(&self, event: &Arc<Prepared>) -> bool {
        let mut waiting = self.waiting.lock().expect("no thread panics with the inbox held");
        if waiting.len() >= INBOX_EVENTS {
            return false;
        }
        waiting.push_back(Arc::clone(event));
        drop(waiting);
        // A full eventfd counter is already a pending wake.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
        true
    }

    fn take(&self) -> VecDeque<Arc<Prepared>> {
        let _ = rustix::io::read(&self.wake, &mut [0u8; 8]);
        std::mem::take(&mut *self.waiting.lock().expect("no thread panics with the inbox held"))
    }
}

/// What the threads share.
struct Board {
    inboxes: Vec<Inbox>,
    next_id: AtomicU64,
}

impl Board {
    fn next_id(&self) -> u64 {
        // Ordering: Relaxed, a counter that publishes nothing but itself.
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }
}

/// Serves until killed.
pub fn serve(args: &BaselineArgs) -> Result<(), Fault> {
    crate::connect::raise_descriptor_limit();
    // Bound but never listening: it holds the port while each thread opens its own listener on it.
    let reserved = bind(args.listen)?;
    let address = reserved
        .local_addr()
        .ok()
        .and_then(|address| address.as_socket())
        .ok_or_else(|| Fault::usage("--listen must be an IP address and port"))?;
    let threads = args.threads.get();
    let inboxes = (0..threads).map(|_| Inbox::open()).collect::<Result<_, _>>()?;
    let board = Arc::new(Board { inboxes, next_id: AtomicU64::new(1) });
    let (ready, is_ready) = sync_channel(threads);
    let mut handles = Vec::new();
    for index in 0..threads {
        let (board, ready, io) = (Arc::clone(&board), ready.clone(), args.io);
        let run = move || thread::run(index, address, io, &board, &ready);
        let name = format!("baseline-{index}");
        let spawned = std::thread::Builder::new().name(name).spawn(run);
        handles.push(spawned.map_err(|error| Fault::system("start a thread", error))?);
    }
    drop(ready);
    for _ in 0..threads {
        is_ready
            .recv()
            .map_err(|_| Fault::Failed("a baseline thread ended at its start".into()))??;
    }
    println!("baseline listening on http://{address} ({threads} threads, {:?})", args.io);
    for handle in handles {
        handle.join().map_err(|_| Fault::Failed("a baseline thread panicked".into()))?;
    }
    Ok(())
}

fn bind(address: SocketAddr) -> Result<Socket, Fault> {
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        // Accepted sockets inherit it, which saves a call for each.
        socket.set_tcp_nodelay(true)?;
        socket.bind(&address.into())?;
        Ok(socket)
    };
    open().map_err(|error: std::io::Error| Fault::system(&format!("listen on {address}"), error))
}
