//! Validation of the settings at start: the program starts, or prints one line with the reason and
//! exits with code 2.

use std::net::TcpListener;

use fanfare::config::Config;
use tokio::net::TcpStream;

use crate::support::process::{Ended, Fanfare};

/// The one line printed by a program that refused to start.
fn refusal(ended: &Ended) -> &str {
    assert_eq!(ended.code, Some(2), "{:#?}", ended.errors);
    let [line] = &ended.errors[..] else { panic!("not one line: {:#?}", ended.errors) };
    assert_eq!(ended.out, "");
    line.strip_prefix("fanfare: ").unwrap_or_else(|| panic!("no program name: {line}"))
}

/// Starts a program on an address in use and checks that it refuses to start.
async fn refuses_addr_in_use(addr: std::net::SocketAddr) {
    let second = Fanfare::new().set("FANFARE_ADDR", &addr.to_string());
    let ended = second.run().await;
    let line = refusal(&ended);
    assert!(line.starts_with(&format!("can't listen on {addr} (FANFARE_ADDR): ")), "{line}");
    assert!(line.contains("in use"), "{line}");
}

#[tokio::test]
async fn a_port_of_another_node_is_refused() {
    let first = Fanfare::new().start().await;
    refuses_addr_in_use(first.addr()).await;
    TcpStream::connect(first.addr()).await.expect("the first node still listens");
}

#[tokio::test]
async fn a_port_of_another_program_is_refused() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    refuses_addr_in_use(other.local_addr().unwrap()).await;
}

/// Ensures that the node refuses a port that another program listens on with `SO_REUSEPORT`.
///
/// Scenario: the other program listens before the node starts.
///
/// Cause: the listeners of a node set `SO_REUSEPORT` too, so the kernel would let both programs
/// listen and divide the connections between them.
///
/// Fix: the node first binds the address without `SO_REUSEPORT`.
#[tokio::test]
async fn a_port_of_another_program_with_reuse_port_is_refused() {
    let other = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    other.set_reuse_port(true).unwrap();
    let free: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    other.bind(&free.into()).unwrap();
    other.listen(8).unwrap();
    refuses_addr_in_use(other.local_addr().unwrap().as_socket().unwrap()).await;
}

#[tokio::test]
async fn an_invalid_setting_is_refused_by_name() {
    let ended = Fanfare::new().set("FANFARE_HEARTBEAT", "often").run().await;
    let line = refusal(&ended);
    assert!(line.starts_with("FANFARE_HEARTBEAT=often: not a duration"), "{line}");
}

#[tokio::test]
async fn an_unknown_variable_is_refused_with_the_closest_setting() {
    let ended = Fanfare::new().set("FANFARE_HEARTBAET", "1s").run().await;
    let line = refusal(&ended);
    assert!(
        line.starts_with("FANFARE_HEARTBAET is not a setting; the closest is FANFARE_HEARTBEAT"),
        "{line}"
    );
}

#[tokio::test]
async fn an_unknown_flag_is_refused_with_the_closest_flag() {
    let ended = Fanfare::new().arg("--heartbaet=1s").run().await;
    let line = refusal(&ended);
    assert!(line.starts_with("--heartbaet is not a flag; the closest is --heartbeat"), "{line}");
}

#[tokio::test]
async fn a_public_address_is_refused_unless_anonymous_publish_is_allowed() {
    let open = || Fanfare::new().set("FANFARE_ADDR", "0.0.0.0:0");
    let ended = open().run().await;
    let line = refusal(&ended);
    assert!(line.contains("FANFARE_ALLOW_ANONYMOUS_PUBLISH=true"), "{line}");

    let node = open().set("FANFARE_ALLOW_ANONYMOUS_PUBLISH", "true").start().await;
    assert!(node.addr().ip().is_unspecified());
    TcpStream::connect(("127.0.0.1", node.addr().port())).await.expect("the node listens");
}

#[tokio::test]
async fn help_lists_every_variable_and_flag() {
    let ended = Fanfare::new().arg("--help").run().await;
    assert_eq!((ended.code, ended.errors.len()), (Some(0), 0));
    for setting in Config::default().settings() {
        let flag = format!("--{}", setting.name.replace('_', "-"));
        assert!(ended.out.contains(&setting.variable()), "{}", setting.variable());
        assert!(ended.out.contains(&flag), "{flag}");
    }
}

#[tokio::test]
async fn version_is_that_of_the_package() {
    let ended = Fanfare::new().arg("--version").run().await;
    assert_eq!(
        (ended.code, ended.out),
        (Some(0), format!("fanfare {}\n", env!("CARGO_PKG_VERSION")))
    );
}
