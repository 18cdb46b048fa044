//! A node in this process, on a free port.

use std::ops::Deref;

use fanfare::config::{Config, Io};
use fanfare::node::Node;

use super::endpoint::Endpoint;

/// A running node, used through its [`Endpoint`]; dropping it closes every connection.
pub struct TestNode {
    node: Node,
    config: Config,
    endpoint: Endpoint,
}

impl TestNode {
    /// Starts a node with the default settings.
    pub fn start() -> Self {
        Self::with(|_| {})
    }

    /// Starts a node with some settings changed, which must be valid together.
    pub fn with(change: impl FnOnce(&mut Config)) -> Self {
        let addr = "127.0.0.1:0".parse().unwrap();
        let mut config = Config { addr, shards: 2, io: io(), ..Config::default() };
        change(&mut config);
        config.check().expect("the settings fit together");
        let node = Node::start(config.clone()).expect("the node starts");
        let endpoint = Endpoint::new(node.addr());
        Self { node, config, endpoint }
    }

    /// The settings it runs with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Drains it; returns when it has ended.
    pub async fn drain(self) {
        let drained = tokio::task::spawn_blocking(move || self.node.drain()).await;
        drained.expect("a drain does not panic");
    }
}

impl Deref for TestNode {
    type Target = Endpoint;

    fn deref(&self) -> &Endpoint {
        &self.endpoint
    }
}

/// The I/O path under test: `TEST_IO`, so that all tests can run over each of them.
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
