//! One thread, one current_thread runtime, one listener: a shard owns its sessions for life.
//!
//! Nothing on a shard is shared with another one but the [`Core`]. Its tasks: one per connection (`serve`), the
//! accept loop, the `pump` that wakes sessions, the `timer`. Only this module starts threads for sessions (I8).

mod accept;
mod conn;
mod drain;
mod listener;
mod pump;
mod serve;
mod socket;
mod table;
mod timer;

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::{LocalSet, spawn_local};

pub use conn::{Conn, Millis};
pub use listener::{Options, bind};
pub use table::{Seat, Table};

use crate::node::Core;
use crate::ring::Desk;

/// What the node tells its shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Serve.
    Serve,
    /// Leave service within this time, then end.
    Drain(Duration),
}

/// What the tasks of a shard share; on its thread only.
pub struct Shard {
    /// What all shards share.
    pub core: Arc<Core>,
    /// Where the sequencer leaves its marks.
    pub desk: Arc<Desk>,
    /// Connections and readers.
    pub table: Table,
    clock: Cell<Millis>,
    started: Instant,
}

impl Shard {
    pub(crate) fn new(core: Arc<Core>, desk: Arc<Desk>) -> Self {
        let table = Table::new(Arc::clone(&core.registry), Arc::clone(&desk));
        Self { core, desk, table, clock: Cell::new(0), started: Instant::now() }
    }

    /// The shard's clock, as of its last tick or wake.
    pub fn now(&self) -> Millis {
        self.clock.get()
    }

    /// Sets the clock: reading the time once per tick spares it per write.
    fn tick(&self) {
        // Truncation is the wrap `Millis` speaks of.
        self.clock.set(self.started.elapsed().as_millis() as Millis);
    }
}

/// A shard to be started: everything that can fail, done on the caller's thread.
pub struct Prepared {
    runtime: Runtime,
    listener: std::net::TcpListener,
}

impl Prepared {
    /// Builds the runtime. All runtimes are built before any shard starts, because a shard may later get a
    /// descriptor table of its own, and tokio's wake-up descriptors must be in the one it is copied from.
    pub fn new(listener: std::net::TcpListener) -> io::Result<Self> {
        Ok(Self { runtime: Builder::new_current_thread().enable_all().build()?, listener })
    }

    /// Starts the shard's thread, which ends after it was ordered to drain.
    pub fn start(
        self,
        core: Arc<Core>,
        desk: Arc<Desk>,
        orders: watch::Receiver<Order>,
    ) -> io::Result<JoinHandle<()>> {
        let name = format!("shard-{}", desk.index);
        std::thread::Builder::new().name(name).spawn(move || {
            let shard = Shard::new(core, desk);
            let tasks = LocalSet::new();
            let work = run(Rc::new(shard), self.listener, orders);
            if let Err(error) = self.runtime.block_on(tasks.run_until(work)) {
                tracing::error!(%error, "a shard could not start");
            }
            // Connections that are left are cut off with their tasks, here.
        })
    }
}

async fn run(
    shard: Rc<Shard>,
    listener: std::net::TcpListener,
    mut orders: watch::Receiver<Order>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    spawn_local(pump::pump(Rc::clone(&shard)));
    spawn_local(timer::keep_time(Rc::clone(&shard)));
    let time = tokio::select! {
        () = accept::accept(&listener, &shard) => unreachable!("accepting goes on for ever"),
        time = drain_order(&mut orders) => time,
    };
    drop(listener);
    drain::drain(shard, time).await;
    Ok(())
}

/// Waits for the order to drain. A node that is gone gives no more orders: then at once.
async fn drain_order(orders: &mut watch::Receiver<Order>) -> Duration {
    match orders.wait_for(|order| matches!(order, Order::Drain(_))).await.as_deref() {
        Ok(Order::Drain(time)) => *time,
        _ => Duration::ZERO,
    }
}
