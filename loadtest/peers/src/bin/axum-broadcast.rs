//! axum with a `tokio::sync::broadcast` channel per topic, the first design of most Rust services.

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
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// Events a subscriber may lag behind.
const WINDOW: usize = 1024;

type Message = Arc<(u64, String)>;

#[derive(Default)]
struct Hub {
    topics: Mutex<HashMap<String, broadcast::Sender<Message>>>,
    next: AtomicU64,
}

impl Hub {
    fn topic(&self, name: &str) -> broadcast::Sender<Message> {
        let mut topics = self.topics.lock().expect("no thread panics while holding the lock");
        topics.entry(name.to_owned()).or_insert_with(|| broadcast::channel(WINDOW).0).clone()
    }
}

async fn subscribe(
    State(hub): State<Arc<Hub>>,
    Query(wanted): Query<Subscribe>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let receiver = hub.topic(&wanted.topic).subscribe();
    Sse::new(unfold(receiver, |mut receiver| async move {
        match receiver.recv().await {
            Ok(message) => Some((event(message.0, &message.1), receiver)),
            Err(RecvError::Lagged(_)) => {
                Some((Ok(Event::default().event("lagged").data("")), receiver))
            }
            Err(RecvError::Closed) => None,
        }
    }))
}

async fn publish(State(hub): State<Arc<Hub>>, Form(new): Form<Publish>) -> String {
    let id = hub.next.fetch_add(1, Ordering::Relaxed);
    let _ = hub.topic(&new.topic).send(Arc::new((id, new.data)));
    id.to_string()
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let events = get(subscribe).post(publish);
    let app = Router::new().route("/events", events).with_state(Arc::default());
    let listener = tokio::net::TcpListener::bind(address()).await?;
    axum::serve(listener, app).await
}
