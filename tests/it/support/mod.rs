//! Test harness: nodes in this process or run as the program, a strict HTTP/1.1 and SSE client,
//! subscribers, and a browser.
//!
//! Nothing here uses the node's own encoders or parsers: the client reads bytes by the standards.

mod browser;
mod client;
mod console_page;
mod container;
mod endpoint;
mod message;
mod node;
pub mod process;
mod round;
pub mod source;
mod sse;
mod stream;
mod subscriber;
mod transcript;

pub use browser::Browser;
pub use client::Connection;
pub use console_page::ConsolePage;
pub use container::Container;
pub use endpoint::Endpoint;
pub use message::{Request, Response};
pub use node::{TestNode, io};
pub use process::{Fanfare, Process};
pub use round::{Plan, Round};
pub use sse::{Event, Item};
pub use stream::{Ending, Stream};
pub use subscriber::Subscriber;

use std::future::Future;
use std::time::Duration;

/// How long anything may take that should happen at once. Far more than it ever takes: a busy
/// machine is no failure.
const DEADLINE: Duration = Duration::from_secs(30);

/// How often [`eventually`] polls. A node that is polled without a pause spends its time on that.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Awaits `future`; panics with `what` if it takes longer than the deadline.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what}: not within {DEADLINE:?}"),
    }
}

/// Polls a condition that sends no notification, such as a number of the health document, until it
/// is true; panics with `what` if that takes longer than the deadline.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let poll = async {
        while !condition().await {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    within(what, poll).await;
}
