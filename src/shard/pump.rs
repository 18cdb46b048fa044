//! Wakes the sessions behind the marks in the shard's mailbox, in slices.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use super::Shard;

/// The shard's pump task. After each `FANFARE_WAKE_BATCH` sessions it lets the shard do everything else, the sessions
/// just woken among it, so that accepting and health checks stay quick while 100,000 streams are being woken.
pub async fn pump(shard: Rc<Shard>) {
    let batch = shard.core.config.wake_batch;
    let mut budget = batch;
    loop {
        shard.desk.rung().await;
        shard.tick();
        while let Some(mark) = shard.desk.take() {
            // Before the first session reads: what is published from here on posts the mark again.
            mark.clear();
            let mut from = Some(0);
            while let Some(at) = from {
                from = shard.table.wake(&mark, at, &mut budget);
                if budget == 0 {
                    budget = batch;
                    queue_up().await;
                }
            }
        }
    }
}

/// Goes to the end of the shard's queue, behind the sessions just woken.
///
/// `tokio::task::yield_now` would come back after the next look at the driver, however many of them are still waiting;
/// then all sessions of a large ring would be in the queue before anything else had a turn.
async fn queue_up() {
    let mut queued = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut queued, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
