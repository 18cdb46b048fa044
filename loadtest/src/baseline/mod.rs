//! The baseline server: the kernel's cost of delivering an event, with no server logic around it.
//!
//! Each thread has its own listener, descriptor table and streams. A published event is encoded
//! once and sent with one `write(2)` (or one io_uring `Send`) per connection; a connection that
//! does not accept the whole event is closed. There is no history, no filter and hardly a limit: it
//! is a reference to compare servers with, not a server.

mod listener;
mod request;
mod send;
mod shared;
mod thread;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use clap::Args;

use crate::connect;
use crate::error::Error;
use send::Io;
use shared::Shared;

#[derive(Args)]
pub(crate) struct BaselineArgs {
    /// Address to listen on; port 0 takes any free port.
    #[arg(long, default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// Threads, each with a descriptor table of its own.
    #[arg(long, default_value = "2")]
    threads: NonZeroUsize,
    /// How events are sent.
    #[arg(long, value_enum, default_value = "write")]
    io: Io,
}

/// Serves until the process is killed.
pub(crate) fn serve(args: &BaselineArgs) -> Result<(), Error> {
    connect::raise_descriptor_limit();
    // Bound but never listening: reserves the port while each thread opens its own listener on it.
    let reserved = listener::bind(args.listen)?;
    let address = reserved
        .local_addr()
        .ok()
        .and_then(|address| address.as_socket())
        .ok_or_else(|| Error::usage("--listen must be an IP address and port"))?;
    let threads = args.threads.get();
    let shared = Arc::new(Shared::open(threads)?);
    let (ready, is_ready) = sync_channel(threads);
    let mut handles = Vec::new();
    for index in 0..threads {
        let (shared, ready, io) = (Arc::clone(&shared), ready.clone(), args.io);
        let run = move || thread::run(index, address, io, &shared, &ready);
        let name = format!("baseline-{index}");
        let spawned = std::thread::Builder::new().name(name).spawn(run);
        handles.push(spawned.map_err(|error| Error::system("start a thread", error))?);
    }
    drop(ready);
    for _ in 0..threads {
        is_ready
            .recv()
            .map_err(|_| Error::Failed("a baseline thread panicked at its start".into()))??;
    }
    println!("baseline listening on http://{address} ({threads} threads, {:?})", args.io);
    for handle in handles {
        handle.join().map_err(|_| Error::Failed("a baseline thread panicked".into()))?;
    }
    Ok(())
}
