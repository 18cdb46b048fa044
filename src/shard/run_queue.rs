//! Run queue of the pump: the walks over the subscribers of woken rings.
//!
//! Walks over few streams and walks over many are queued apart. Each gets a share of every turn of
//! the pump, so that a small topic never waits for a large one (I3), nor a large one for thousands
//! of small ones. Long walks take turns: a quantum each, then to the back.
//!
//! The queue also tells the sequencer how far the shard has come ([`Mailbox::set_visited`]): it
//! notes which batches the queued walks are for, and reports them when these walks have ended.
//!
//! [`Mailbox::set_visited`]: crate::ring::Mailbox::set_visited

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use super::state::Shard;
use crate::conn::{Conn, Rest, Round};
use crate::event::Seq;
use crate::ring::RingWaker;

/// Subscribers up to which a walk counts as short. They are visited in one go, within a fraction of
/// a millisecond.
pub(super) const SHORT_WALK: usize = 64;

/// The walks a shard has to make; at most one per ring it reads, and one for each ring it has left
/// since.
#[derive(Default)]
pub(super) struct RunQueue {
    short: VecDeque<Queued>,
    long: VecDeque<Queued>,
    /// The current round. A round begins when wakers are taken from the mailbox.
    round: Round,
    mark: Option<Mark>,
}

struct Queued {
    waker: Arc<RingWaker>,
    /// The round of the first wake-up that the walk is for.
    since: Round,
}

/// The walks for the batches up to a seq.
struct Mark {
    woken: Seq,
    /// They were queued up to this round.
    round: Round,
    /// Those that have not ended.
    left: usize,
}

impl RunQueue {
    /// Takes the wakers that are in the mailbox. Returns how many.
    pub(super) fn refill(&mut self, shard: &Shard) -> usize {
        if let Some(mark) = self.mark.take_if(|mark| mark.left == 0) {
            shard.mailbox.set_visited(mark.woken);
        }
        let woken = shard.mailbox.woken();
        let mut taken = 0;
        while let Some(waker) = shard.mailbox.take() {
            if taken == 0 {
                self.round += 1;
            }
            taken += 1;
            // Before the first session reads: what is published from here on puts the waker into
            // the mailbox again.
            waker.clear();
            let queue = match shard.handle.subscribers.begin_walk(&waker, self.round) {
                Some(streams) if streams <= SHORT_WALK => &mut self.short,
                Some(_) => &mut self.long,
                // Queued already, or without subscribers.
                None => continue,
            };
            queue.push_back(Queued { waker, since: self.round });
        }
        if self.mark.is_none() {
            match self.short.len() + self.long.len() {
                0 => shard.mailbox.set_visited(woken),
                left => self.mark = Some(Mark { woken, round: self.round, left }),
            }
        }
        taken
    }

    /// Takes the subscribers of a ring with few of them. Returns how many it looked at, at least
    /// one if there was such a ring.
    pub(super) fn take_short(&mut self, shard: &Shard, out: &mut Vec<Rc<Conn>>) -> usize {
        match self.short.pop_front() {
            // A list may have grown meanwhile; then the rest is a long walk.
            Some(queued) => self.advance(shard, queued, SHORT_WALK, out),
            None => 0,
        }
    }

    /// Takes up to `limit` subscribers of one ring with many of them. Returns how many it looked
    /// at, at least one if there was such a ring.
    pub(super) fn take_long(
        &mut self,
        shard: &Shard,
        limit: usize,
        out: &mut Vec<Rc<Conn>>,
    ) -> usize {
        match self.long.pop_front() {
            Some(queued) => self.advance(shard, queued, limit, out),
            None => 0,
        }
    }

    fn advance(
        &mut self,
        shard: &Shard,
        queued: Queued,
        limit: usize,
        out: &mut Vec<Rc<Conn>>,
    ) -> usize {
        let Queued { waker, since } = queued;
        let (rest, looked_at) = shard.handle.subscribers.collect(&waker, self.round, limit, out);
        let marked = self.mark.as_mut().filter(|mark| since <= mark.round);
        match rest {
            Rest::More => self.long.push_front(Queued { waker, since }),
            Rest::Again(since) => {
                if let Some(mark) = marked.filter(|mark| since > mark.round) {
                    mark.left -= 1;
                }
                self.long.push_back(Queued { waker, since });
            }
            Rest::Done => {
                if let Some(mark) = marked {
                    mark.left -= 1;
                }
            }
        }
        looked_at.max(1)
    }

    /// Ends the turn of the long walk that is under way: the next one continues.
    pub(super) fn rotate(&mut self) {
        if let Some(queued) = self.long.pop_front() {
            self.long.push_back(queued);
        }
    }
}

#[cfg(all(test, not(ring_loom)))]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::event::{Batch, Position, Topic};
    use crate::ring::PendingWakes;

    /// Publishes a batch of one event to the ring of a topic.
    fn publish(shard: &Shard, topic: &str, seq: u64) {
        let mut wakes = PendingWakes::default();
        let batch = Arc::new(Batch::new("x".into(), Box::new([1]), Seq(seq)));
        shard.core.registry.publish(&Topic::new(topic).unwrap(), &batch, &[0], &mut wakes);
        shard.core.watermark.raise(Seq(seq));
        wakes.wake_all(Seq(seq));
    }

    /// The sequencer evicts by age only what every shard has visited, so an early report would take
    /// events from streams that are ready to receive them (I10).
    #[test]
    fn batches_are_reported_as_visited_when_the_walks_that_were_queued_for_them_have_ended() {
        let shard = Shard::for_test(Config::default());
        let long: Vec<_> =
            (0..3 * SHORT_WALK).map(|_| shard.stream_for_test("long", &Position::Live)).collect();
        let _short = shard.stream_for_test("short", &Position::Live);
        let (mut queue, mut visits) = (RunQueue::default(), Vec::new());
        publish(&shard, "long", 1);
        publish(&shard, "short", 2);
        assert_eq!(queue.refill(&shard), 2);
        assert_eq!(queue.take_short(&shard, &mut visits), 1);
        assert_eq!(queue.take_long(&shard, 100, &mut visits), 100);
        // Published in the middle of the walk: its first part is visited again.
        publish(&shard, "long", 3);
        queue.refill(&shard);
        assert_eq!(shard.mailbox.behind(), Some(Seq(0)));
        while visits.len() < 1 + long.len() {
            assert!(queue.take_long(&shard, 100, &mut visits) > 0);
        }
        queue.refill(&shard);
        assert_eq!(shard.mailbox.behind(), Some(Seq(2)), "not yet the third");
        while queue.take_long(&shard, 100, &mut visits) > 0 {}
        queue.refill(&shard);
        queue.refill(&shard);
        assert_eq!(shard.mailbox.behind(), None);
        assert!(visits.len() > 1 + long.len(), "{}", visits.len());
    }
}
