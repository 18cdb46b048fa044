//! A shard: a thread that owns the connections it accepts for as long as they live, with a listener
//! and a single-threaded tokio runtime of its own.
//!
//! A shard shares with others only the [`Core`](crate::core::Core) and its mailbox, into which
//! whoever runs the sequencer puts the wakers of the rings to read. The tasks of a shard: one per
//! connection that hyper serves (`http_conn`), the accept loop (`accept`), the readiness reactor
//! (`reactor`), the fan-out loop (`pump`) and the `timer`. Only this module starts threads for
//! sessions (I8).
//!
//! Files, in dependency order: `listener`, `write` (bytes for one connection), `sender` (many
//! writes in one system call, or one each), `epoll`, `clock` (how long the shard has been running),
//! `log_limit`, `quantum` (how long the pump runs before it yields), `state` (what the tasks
//! share), `unsent` (blocked streams at the budget), `writer` (prepare, send, complete),
//! `run_queue` (the pump's walks), then the tasks: `hyper_io` and `http_conn`, `accept`, `reactor`,
//! `pump`, `timer`, `drain`; `run` (all tasks), `start` (the thread).

mod accept;
mod clock;
mod drain;
mod epoll;
mod http_conn;
mod hyper_io;
mod listener;
mod log_limit;
mod pump;
mod quantum;
mod reactor;
mod run;
mod run_queue;
mod sender;
#[cfg(all(test, not(ring_loom)))]
mod simulation;
mod start;
mod state;
mod timer;
mod unsent;
mod write;
mod writer;

pub(crate) use listener::reserve;
pub(crate) use run::Command;
pub(crate) use sender::resolve_io;
pub(crate) use start::{ShardConfig, ShardRuntime, can_own_descriptor_table};
pub(crate) use state::OpenError;
