//! What the tests share: a node of their own, and a client that is strict about everything a node
//! sends.
//!
//! Nothing here uses the node's own encoders or parsers: what is read off the wire is read by the
//! standards.

pub mod browser;
mod client;
mod node;
pub mod process;
mod sse;
mod stream;
pub mod subscriber;
pub mod transcript;

pub use client::{Connection, Request, Response};
pub use node::{TestNode, io};
pub use sse::{Event, Interpreter, Item};
pub use stream::{Ending, Stream};

use std::future::Future;
use std::time::Duration;

/// How long anything may take that should happen at once. Far more than it ever takes: a busy
/// machine is no failure.
const DEADLINE: Duration = Duration::from_secs(30);

/// What `future` yields, or a panic that says what did not happen.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what}: not within {DEADLINE:?}"),
    }
}
