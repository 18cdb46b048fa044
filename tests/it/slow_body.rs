//! A publisher that does not send the body it announced.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use fanfare::config::Config;
use fanfare::node::Node;

/// Ensures: a publish whose body does not come is answered 408 after `FANFARE_BODY_TIMEOUT`, and
/// its connection closed. Scenario: 3 of 10 bytes are sent. Cause: the refusal read off the rest of
/// the body, which did not come either, with the same timeout once more, so the answer came after
/// twice the time. Fix: what was too slow is not read off.
#[test]
fn a_body_that_does_not_come_is_refused_after_its_timeout_not_after_two() {
    let settings = [("FANFARE_ADDR", "127.0.0.1:0"), ("FANFARE_BODY_TIMEOUT", "2s")];
    let node = Node::start(Config::from_sources([""; 0], settings).unwrap()).unwrap();
    let mut stream = TcpStream::connect(node.addr()).unwrap();
    let started = Instant::now();
    let request = "POST /events?topic=a HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let waited = started.elapsed();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!((Duration::from_secs(2)..Duration::from_millis(3800)).contains(&waited), "{waited:?}");
}
