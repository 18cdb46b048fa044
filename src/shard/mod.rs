//! One thread, one current_thread runtime, one listener: a shard owns its sessions for life.
//!
//! Nothing on a shard is shared with another one but the [`Core`]. Its tasks: one per connection
//! (`serve`), the accept loop, the `pump` that wakes sessions, the `timer`. Only this module starts
//! threads for sessions (I8).

mod accept;
mod conn;
mod drain;
mod http_conn;
mod hyper_io;
mod listener;
mod pump;
mod reactor;
mod sender;
mod start;
mod table;
mod timer;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::sync::watch;
use tokio::task::spawn_local;

pub use conn::{Conn, Millis, Stage, Stream};
pub use listener::{Options, reserve};
use reactor::Reactor;
use sender::Sender;
pub use sender::available;
pub use start::{Plan, Prepared, Starting, can_own_descriptors};
pub use table::{Subscription, Table};

use crate::node::Core;
use crate::ring::Mailbox;

/// What the node tells its shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Serve.
    Serve,
    /// Leave service within this time, then end.
    Drain(Duration),
    /// End at once.
    End,
}

/// What the tasks of a shard share; on its thread only.
pub struct Shard {
    /// What all shards share.
    pub core: Arc<Core>,
    /// Where the sequencer leaves its wakers.
    pub mailbox: Arc<Mailbox>,
    /// Connections and readers.
    pub table: Table,
    reactor: Reactor,
    sender: RefCell<Sender>,
    /// Connections the pump is to look at, whatever their rings say; each is there once.
    ready: RefCell<VecDeque<Rc<Conn>>>,
    clock: Cell<Millis>,
    started: Instant,
    /// Events published here since the pump last gave way.
    published: Cell<usize>,
    /// How many of the next slices are short.
    short_quanta: Cell<usize>,
}

/// While events are being published here, slices of the pump are of this part of
/// `FANFARE_QUANTUM_STREAMS`.
const QUANTUM_PARTS: usize = 16;

/// As many slices are short after the last event published here.
const SHORT_QUANTA: usize = 4;

/// Streams that a slice takes at least for each event published here since the last: sending to
/// them takes longer than publishing the event.
const STREAMS_PER_PUBLISH: usize = 4;

impl Shard {
    pub(crate) fn new(core: Arc<Core>, mailbox: Arc<Mailbox>) -> io::Result<Self> {
        let table = Table::new(Arc::clone(&core.registry), Arc::clone(&mailbox));
        let sender = RefCell::new(Sender::new(core.io)?);
        let (reactor, ready) = (Reactor::new()?, RefCell::default());
        let (clock, started) = (Cell::new(0), Instant::now());
        let (published, short_quanta) = (Cell::new(0), Cell::new(0));
        Ok(Self {
            core,
            mailbox,
            table,
            reactor,
            sender,
            ready,
            clock,
            started,
            published,
            short_quanta,
        })
    }

    /// Says that an event is published here: its publisher's next one may be on its way.
    pub fn note_publish(&self) {
        self.published.set(self.published.get() + 1);
        self.short_quanta.set(SHORT_QUANTA);
    }

    /// Most streams the pump looks at before everything else has its batch.
    fn quantum_max(&self) -> usize {
        let most = self.core.config.quantum_streams;
        match self.short_quanta.get() {
            0 => most,
            _ => (most / QUANTUM_PARTS)
                .max(STREAMS_PER_PUBLISH * self.published.get())
                .clamp(1, most),
        }
    }

    /// Says that the pump gives way.
    fn note_quantum(&self) {
        self.published.set(0);
        self.short_quanta.set(self.short_quanta.get().saturating_sub(1));
    }

    /// Has a connection looked at: by its task while hyper has it, by the pump after that.
    fn schedule(&self, conn: &Rc<Conn>) {
        if !conn.is_detached() {
            conn.wake();
        } else if !conn.scheduled().replace(true) {
            self.ready.borrow_mut().push_back(Rc::clone(conn));
            self.mailbox.wake();
        }
    }

    /// Takes some of the connections that were scheduled, the longest waiting first; true if there are
    /// more.
    fn take_ready(&self, most: usize, out: &mut Vec<Rc<Conn>>) -> bool {
        let mut ready = self.ready.borrow_mut();
        let taken = most.min(ready.len());
        out.extend(ready.drain(..taken).inspect(|conn| conn.scheduled().set(false)));
        if ready.is_empty() {
            ready.shrink_to(self.core.config.quantum_streams);
        }
        !ready.is_empty()
    }

    /// Closes a connection, whoever has it, and gives everything back.
    fn close(&self, conn: &Rc<Conn>) {
        if conn.stage() == Stage::Closed {
            return;
        }
        conn.set_stage(Stage::Closed);
        drop(conn.take_stream());
        if conn.is_killed() {
            // A reset instead of an orderly end: the kernel lets go of the unsent bytes now, not
            // when the peer that does not read has been given up. If it can't be set, they go when
            // TCP_USER_TIMEOUT ends.
            let _ = SockRef::from(&conn.fd()).set_linger(Some(Duration::ZERO));
        }
        self.table.dismiss(conn);
    }

    /// Closes what is left. A detached stream holds on to the shard as the shard does to it, so
    /// none goes by itself.
    fn cut_off(&self) {
        let mut left = Vec::new();
        self.table.each(|_, conn| left.push(Rc::clone(conn)));
        for conn in left {
            self.close(&conn);
        }
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

async fn run(
    shard: Rc<Shard>,
    listener: std::net::TcpListener,
    mut commands: watch::Receiver<Command>,
) -> io::Result<()> {
    let pump = spawn_local(pump::pump(Rc::clone(&shard)));
    let timer = spawn_local(timer::keep_time(Rc::clone(&shard)));
    let reactor = spawn_local(reactor::react(Rc::clone(&shard)));
    let ended = tokio::select! {
        ended = accept::accept(listener, &shard) => ended.map(|()| None),
        ended = reactor => ended.unwrap_or_else(|error| Err(io::Error::other(error))).map(|()| None),
        // Neither ends but by a panic; without them the shard's streams would be silent.
        ended = pump => ended.map_err(io::Error::other).map(|()| None),
        ended = timer => ended.map_err(io::Error::other).map(|()| None),
        time = drain_command(&mut commands) => Ok(time),
    };
    if let Ok(Some(time)) = ended {
        drain::drain(Rc::clone(&shard), time).await;
    }
    shard.cut_off();
    ended.map(drop)
}

/// Waits for the command to drain, or to end at once (`None`), as when the node that gave commands is
/// gone.
async fn drain_command(commands: &mut watch::Receiver<Command>) -> Option<Duration> {
    match commands.wait_for(|command| *command != Command::Serve).await.as_deref() {
        Ok(Command::Drain(time)) => Some(*time),
        _ => None,
    }
}
