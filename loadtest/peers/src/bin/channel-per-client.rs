//! A bounded channel per client and a hub that writes into each: the design of most Go and Node
//! servers.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Form, Query, State};
use axum::response::sse::{Event, Sse};
use axum::routing::get;
use futures_util::stream::{Stream, unfold};
use loadtest_peers::{Publish, Subscribe, address, event};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Events queued for a client; a client whose queue is full is dropped.
const QUEUE: usize = 256;

type Message = Arc<(u64, String)>;

#[derive(Default)]
struct Hub {
    clients: Mutex<HashMap<String, Vec<Sender<Message>>>>,
    next: AtomicU64,
}

async fn subscribe(
    State(hub): State<Arc<Hub>>,
    Query(wanted): Query<Subscribe>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let (sender, receiver) = channel(QUEUE);
    let mut clients = hub.clients.lock().expect("no thread panics while holding the lock");
    clients.entry(wanted.topic).or_default().push(sender);
    drop(clients);
    Sse::new(unfold(receiver, |mut receiver: Receiver<Message>| async move {
        let message = receiver.recv().await?;
        Some((event(message.0, &message.1), receiver))
    }))
}

async fn publish(State(hub): State<Arc<Hub>>, Form(new): Form<Publish>) -> String {
    let id = hub.next.fetch_add(1, Ordering::Relaxed);
    let message = Arc::new((id, new.data));
    let mut clients = hub.clients.lock().expect("no thread panics while holding the lock");
    if let Some(clients) = clients.get_mut(&new.topic) {
        clients.retain(|client| client.try_send(Arc::clone(&message)).is_ok());
    }
    id.to_string()
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let events = get(subscribe).post(publish);
    let app = Router::new().route("/events", events).with_state(Arc::default());
    let listener = tokio::net::TcpListener::bind(address()).await?;
    axum::serve(listener, app).await
}
