//! A node whose system calls are filtered, as by the seccomp profile of a container.

use crate::support::Fanfare;

/// Ensures that streams receive events where io_uring can be set up but not used.
///
/// Scenario: a sandbox allows `io_uring_setup` and forbids `io_uring_enter`; an old kernel lacks an
/// opcode; both fail when the first event is sent.
///
/// Cause: `FANFARE_IO=auto` only checked that a ring can be set up. The first event ended the
/// shard.
///
/// Fix: each opcode is tried over a socket pair.
#[tokio::test]
async fn auto_uses_send_where_io_uring_can_be_set_up_but_not_used() {
    let node = Fanfare::new().set("FANFARE_IO", "auto").forbid(libc::SYS_io_uring_enter);
    let node = node.start().await;
    assert_eq!(node.health().await["io"], "send");
    let mut stream = node.subscribe("topic=news").await;
    let id = node.publish("news", "hello").await;
    assert_eq!(stream.event().await.id, id);
}

#[tokio::test]
async fn a_node_that_is_to_use_io_uring_does_not_start_where_it_is_forbidden() {
    for call in [libc::SYS_io_uring_setup, libc::SYS_io_uring_enter] {
        let ended = Fanfare::new().set("FANFARE_IO", "uring").forbid(call).run().await;
        assert_eq!(ended.code, Some(2));
        let line = ended.errors.last().expect("it says why");
        assert!(line.starts_with("fanfare: can't use FANFARE_IO=uring: "), "{line}");
    }
}
