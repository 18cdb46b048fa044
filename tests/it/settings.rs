//! What the program does with its settings before it serves anybody: starts, or says in one line
//! why not, and exits 2.

use std::net::TcpListener;

use fanfare::config::Config;
use tokio::net::TcpStream;

use crate::process::{Ended, Fanfare};

/// The one line of a program that refused to start.
fn refusal(ended: &Ended) -> &str {
    assert_eq!(ended.code, Some(2), "{:#?}", ended.errors);
    let [line] = &ended.errors[..] else { panic!("not one line: {:#?}", ended.errors) };
    assert_eq!(ended.out, "");
    line.strip_prefix("fanfare: ").unwrap_or_else(|| panic!("it does not say who speaks: {line}"))
}

/// What a second program says that is started on the address of a listener.
async fn refusal_beside(addr: std::net::SocketAddr) {
    let second = Fanfare::new().set("FANFARE_ADDR", &addr.to_string());
    let ended = second.run().await;
    let line = refusal(&ended);
    assert!(line.starts_with(&format!("can't listen on {addr} (FANFARE_ADDR): ")), "{line}");
    assert!(line.contains("in use"), "{line}");
}

#[tokio::test]
async fn a_port_that_another_node_listens_on_is_refused() {
    let first = Fanfare::new().start().await;
    refusal_beside(first.addr()).await;
    TcpStream::connect(first.addr()).await.expect("the first is still there");
}

#[tokio::test]
async fn a_port_that_any_other_program_listens_on_is_refused() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    refusal_beside(other.local_addr().unwrap()).await;
}

/// Ensures that sharing a port takes two to agree. Scenario: a listener that would share its port
/// (`SO_REUSEPORT`). Without the probe in `bind` the kernel would give each of the two half of the
/// connections.
#[tokio::test]
async fn a_port_that_its_owner_would_share_is_refused_as_well() {
    let other = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    other.set_reuse_port(true).unwrap();
    let free: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    other.bind(&free.into()).unwrap();
    other.listen(8).unwrap();
    refusal_beside(other.local_addr().unwrap().as_socket().unwrap()).await;
}

#[tokio::test]
async fn a_setting_that_cannot_be_used_is_refused_by_name() {
    let ended = Fanfare::new().set("FANFARE_HEARTBEAT", "often").run().await;
    let line = refusal(&ended);
    assert!(line.starts_with("FANFARE_HEARTBEAT=often: not a duration"), "{line}");
}

#[tokio::test]
async fn a_variable_that_is_no_setting_is_refused_with_the_one_it_resembles() {
    let ended = Fanfare::new().set("FANFARE_HEARTBAET", "1s").run().await;
    let line = refusal(&ended);
    assert!(
        line.starts_with("FANFARE_HEARTBAET is not a setting; the closest is FANFARE_HEARTBEAT"),
        "{line}"
    );
}

#[tokio::test]
async fn a_flag_that_is_none_is_refused_with_the_one_it_resembles() {
    let ended = Fanfare::new().arg("--heartbaet=1s").run().await;
    let line = refusal(&ended);
    assert!(line.starts_with("--heartbaet is not a flag; the closest is --heartbeat"), "{line}");
}

#[tokio::test]
async fn an_address_that_others_reach_is_refused_unless_anyone_may_publish() {
    let open = || Fanfare::new().set("FANFARE_ADDR", "0.0.0.0:0");
    let ended = open().run().await;
    let line = refusal(&ended);
    assert!(line.contains("FANFARE_ALLOW_ANONYMOUS_PUBLISH=true"), "{line}");

    let node = open().set("FANFARE_ALLOW_ANONYMOUS_PUBLISH", "true").start().await;
    assert!(node.addr().ip().is_unspecified());
    TcpStream::connect(("127.0.0.1", node.addr().port())).await.expect("it listens");
}

#[tokio::test]
async fn help_names_every_setting_and_its_flag() {
    let ended = Fanfare::new().arg("--help").run().await;
    assert_eq!((ended.code, ended.errors.len()), (Some(0), 0));
    for setting in Config::default().settings() {
        let flag = format!("--{}", setting.name.replace('_', "-"));
        assert!(ended.out.contains(&setting.variable()), "{}", setting.variable());
        assert!(ended.out.contains(&flag), "{flag}");
    }
}

#[tokio::test]
async fn version_is_the_packages() {
    let ended = Fanfare::new().arg("--version").run().await;
    assert_eq!(
        (ended.code, ended.out),
        (Some(0), format!("fanfare {}\n", env!("CARGO_PKG_VERSION")))
    );
}
