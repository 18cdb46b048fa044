//! A node in this process, on a port of its own.

use std::net::SocketAddr;

use fanfare::config::{Config, Io};
use fanfare::node::Node;

use super::{Connection, Request, Response, Stream, within};

/// A running node; dropping it cuts everything off.
pub struct TestNode {
    node: Node,
}

impl TestNode {
    /// A node with the default settings.
    pub fn start() -> Self {
        Self::with(|_| {})
    }

    /// A node with some settings changed. They must be settings that the program would take.
    pub fn with(change: impl FnOnce(&mut Config)) -> Self {
        let addr = "127.0.0.1:0".parse().unwrap();
        let mut config = Config { addr, shards: 2, io: io(), ..Config::default() };
        change(&mut config);
        config.check().expect("the settings fit together");
        Self { node: Node::start(config).expect("the node starts") }
    }

    pub fn addr(&self) -> SocketAddr {
        self.node.addr()
    }

    /// The settings it runs with.
    pub fn config(&self) -> &Config {
        &self.node.core().config
    }

    pub async fn connect(&self) -> Connection {
        Connection::open(self.addr()).await
    }

    /// The answer to one request on a connection of its own.
    pub async fn request(&self, request: Request) -> Response {
        self.connect().await.request(&request).await
    }

    /// Publishes plain data to one topic on a connection of its own; the event's id.
    pub async fn publish(&self, topic: &str, data: &str) -> String {
        self.connect().await.publish(topic, data).await
    }

    /// An open stream; `query` is what follows the `?`.
    pub async fn subscribe(&self, query: &str) -> Stream {
        Stream::open(self.addr(), Request::subscribe(query)).await
    }

    /// An open stream that resumes after the event with this id.
    pub async fn resume(&self, query: &str, last_event_id: &str) -> Stream {
        let request = Request::subscribe(query).header("Last-Event-ID", last_event_id);
        Stream::open(self.addr(), request).await
    }

    /// The document at `/healthz`.
    pub async fn health(&self) -> serde_json::Value {
        self.request(Request::get("/healthz")).await.json()
    }

    /// Waits until the document at `/healthz` is as wanted.
    pub async fn health_until(
        &self,
        wanted: impl Fn(&serde_json::Value) -> bool,
    ) -> serde_json::Value {
        let mut connection = self.connect().await;
        let look = async {
            loop {
                let document = connection.request(&Request::get("/healthz")).await.json();
                if wanted(&document) {
                    return document;
                }
                tokio::task::yield_now().await;
            }
        };
        within("the health document is as wanted", look).await
    }
}

/// How the nodes of this run write to streams: `TEST_IO`, so that all tests run over each of the
/// ways.
pub fn io() -> Io {
    #[expect(
        clippy::disallowed_methods,
        reason = "chooses what is tested; it is no setting of the node"
    )]
    match std::env::var("TEST_IO").as_deref() {
        Err(_) | Ok("auto") => Io::Auto,
        Ok("send") => Io::Send,
        Ok("hyper") => Io::Hyper,
        Ok(other) => panic!("TEST_IO={other}: write auto, send or hyper"),
    }
}
