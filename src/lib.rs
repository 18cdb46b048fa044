//! Fanfare is a push node: publishers POST events, and every Server-Sent Events stream that asked
//! for them has them.
//!
//! # The life of an event
//!
//! ```text
//! POST ──> queue ──> sequencer ──> ring ──> shard ──> session ──> socket
//!          check,     log: order    slots,   one wake  cursor      detached
//!          bounded    encode once,  no lock  per batch
//!          queue      route
//! ```
//!
//! 1. A `POST /events` arrives on the shard that accepted its connection, at the [`http::Service`].
//!    [`http::publication::parse()`] makes it an [`event::Publication`], or the refusal becomes an
//!    [`http::Problem`].
//! 2. [`sequencer::Queue`] takes it into a bounded queue, or says at once that it is full. The
//!    publisher's task waits for the event's place, for nothing else; its shard takes the batch that
//!    gives it, if nobody else is at it.
//! 3. The [`sequencer`] takes all that is waiting in one batch and writes each event's wire form
//!    ([`event::wire`]), its id in it, into one buffer: a [`ring::Batch`].
//! 4. The [`log`] keeps the batch's events, copied out of the buffer, for streams that were away.
//! 5. The batch's slices go to the [`ring::Ring`] of each topic that is being read, and to that of
//!    `*`, as one [`ring::Epoch`] each. When all of them have it, a [`ring::RingWaker`] goes to the
//!    [`ring::Mailbox`] of each shard that reads there, and each such shard is woken once. Then the
//!    publisher is answered with the id.
//! 6. The [`shard`] goes through the connections of its sessions on those rings, a slice at a time.
//! 7. Each [`session::Session`] reads its rings from its cursor on, without a lock, and yields
//!    slices of the batch's buffer. What was missed before comes from the log first; what can't be
//!    had is announced.
//! 8. The shard's pump writes them to the socket, a batch at a time. A peer that does not read
//!    costs its socket buffer, falls out of the rings' window, and is told so, or is closed.
//!
//! # Invariants
//!
//! - I1 An event is encoded once per node. Below the encoder only [`bytes::Bytes`] exists.
//! - I2 A seq is assigned in one place, and events are delivered in seq order.
//! - I3 A publisher never waits for a subscriber; a subscriber never waits for another.
//! - I4 Between ring and socket: no lock, no allocation per event, no copy, no formatting, no
//!   logging.
//! - I5 Every queue, table, buffer and loop has a bound, and the bound has a name.
//! - I6 A session sees each event at most once, in order; a gap is announced (`lagged` or `reset`),
//!   never silent.
//! - I7 Acknowledged means kept: an event whose publish was answered 200 is delivered to every
//!   session that is subscribed and keeps up, and is there for replay as long as the retention
//!   says, through every fault that the log promises to survive. The log in memory promises none:
//!   it ends with the process.
//! - I8 Only [`config`] reads the environment. Only [`shard`] starts threads for sessions.
//!
//! # Modules
//!
//! | module | what it is |
//! |---|---|
//! | [`event`] | an event, its names and its wire form; pure |
//! | [`http`] | routes, requests, refusals |
//! | [`log`] | the order of events, and what is kept of them |
//! | [`sequencer`] | the one place where events get their order |
//! | [`ring`] | windows of recent events that are read without a lock |
//! | [`shard`] | threads, listeners, connections, timers |
//! | [`session`] | one subscriber's stream |
//! | [`console`] | the page at `/` |
//! | [`admin`] | the node's health |
//! | [`quota`] | how many connections and streams there may be |
//! | [`config`] | every setting |
//! | [`node`] | puts the parts together, and takes them down |
//! | [`process`] | what the program asks of the system: pages, descriptors, signals |
#![warn(missing_docs)]

pub mod admin;
pub mod config;
pub mod console;
pub mod event;
pub mod http;
pub mod log;
pub mod node;
pub mod process;
pub mod quota;
pub mod ring;
pub mod sequencer;
pub mod session;
pub mod shard;
mod sync;
