//! What the history promises, one promise at a time.

mod model;
mod property;
mod replay;

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::event::{EventId, Incarnation, Position, Selector, Seq, Topic};

const MANY: PageLimit = PageLimit { events: usize::MAX, bytes: usize::MAX };
const KEEP_ALL: Retention = Retention {
    events_per_topic: usize::MAX,
    age: Duration::from_secs(3600),
    bytes: u64::MAX,
    topics_max: usize::MAX,
};

fn history(retention: Retention) -> History {
    History::new(retention, Incarnation::from_bits(1))
}

fn topic(name: &str) -> Topic {
    Topic::new(name).unwrap()
}

fn topics(names: &[&str]) -> Vec<Selector> {
    names.iter().map(|name| Selector::Topic(topic(name))).collect()
}

impl History {
    fn add(&mut self, names: &[&str]) -> Seq {
        self.add_with(names, None, Duration::ZERO)
    }

    fn add_many(&mut self, events: usize, name: &str) {
        for _ in 0..events {
            self.add(&[name]);
        }
    }

    fn add_with(&mut self, names: &[&str], id: Option<&str>, now: Duration) -> Seq {
        let seq = self.next_seq();
        let topics: Vec<_> = names.iter().map(|name| topic(name)).collect();
        let id = id.map(|id| EventId::new(id).unwrap());
        self.append(seq, Encoded { topics: &topics, id, wire: Bytes::from(vec![0; 100]) }, now);
        seq
    }

    fn after(&self, seq: u64, selectors: &[Selector]) -> Resume {
        self.after_id(&self.incarnation().id(Seq(seq)), selectors)
    }

    fn after_id(&self, id: &str, selectors: &[Selector]) -> Resume {
        self.resume(&Position::After(id.into()), selectors)
    }

    fn seqs(&self, selectors: &[Selector], replay: Replay, limit: PageLimit) -> (Vec<u64>, Page) {
        let mut out = Vec::new();
        let slice = self.read(selectors, replay, limit, &mut out).unwrap();
        (out.iter().map(|(seq, _)| seq.0).collect(), slice)
    }

    fn gap(&self, selectors: &[Selector], replay: Replay) -> Option<u64> {
        self.read(selectors, replay, MANY, &mut Vec::new()).err().map(|gap| gap.missed_at_least)
    }
}

fn reason(resume: &Resume) -> Option<&'static str> {
    resume.reset.as_ref().map(|reset| reset.reason.as_str())
}

#[test]
fn a_history_can_be_shared_behind_a_lock() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<std::sync::RwLock<History>>();
}

#[test]
fn seqs_count_from_one() {
    let mut history = history(KEEP_ALL);
    assert_eq!((history.last_seq(), history.next_seq()), (Seq(0), Seq(1)));
    assert_eq!((history.add(&["a"]), history.add(&["a"])), (Seq(1), Seq(2)));
    assert_eq!(history.last_seq(), Seq(2));
}

#[test]
fn an_event_in_two_topics_stays_while_either_keeps_it() {
    let mut history = history(Retention { events_per_topic: 1, ..KEEP_ALL });
    history.add(&["a", "b"]);
    history.add(&["a"]);
    assert_eq!(history.seqs(&topics(&["b"]), Replay::after(Seq(0)), MANY).0, [1]);
    assert_eq!(history.gap(&topics(&["a"]), Replay::after(Seq(0))), Some(1));
    assert_eq!(history.seqs(&[Selector::All], Replay::after(Seq(0)), MANY).0, [1, 2]);
    history.add(&["b"]);
    assert_eq!(history.stats().events, 2);
    assert_eq!(history.gap(&[Selector::All], Replay::after(Seq(0))), Some(1));
}

#[test]
fn several_topics_read_as_one_in_order_and_each_event_once() {
    let mut history = history(KEEP_ALL);
    for names in [&["a"][..], &["b", "c"], &["d"], &["c"], &["a", "b", "c"], &["b"]] {
        history.add(names);
    }
    let selectors = topics(&["c", "a", "b", "a"]);
    let limit = PageLimit { events: 3, ..MANY };
    let (seqs, slice) = history.seqs(&selectors, Replay::after(Seq(0)), limit);
    assert_eq!((seqs, slice.more, slice.next.seq()), (vec![1, 2, 4], true, Seq(4)));
    let (seqs, slice) = history.seqs(&selectors, slice.next, limit);
    assert_eq!((seqs, slice.more, slice.next.seq()), (vec![5, 6], false, Seq(6)));
}

#[test]
fn a_slice_is_bounded_in_bytes_but_takes_one_event() {
    let mut history = history(KEEP_ALL);
    history.add_many(5, "a");
    let read = |bytes| {
        history.seqs(&topics(&["a"]), Replay::after(Seq(0)), PageLimit { bytes, ..MANY }).0.len()
    };
    assert_eq!((read(0), read(199), read(200), read(499), read(500)), (1, 1, 2, 4, 5));
}

#[test]
fn making_room_for_a_topic_drops_a_bounded_number_of_events_at_a_time() {
    let mut history = history(Retention { topics_max: 2, ..KEEP_ALL });
    history.add_many(1000, "a");
    history.add(&["b"]);
    history.add(&["c"]);
    assert_eq!(history.stats().events, 1002 - DROPS_PER_APPEND);
    assert!(history.expire(Duration::ZERO, 1));
    assert!(!history.expire(Duration::ZERO, usize::MAX));
    let stats = history.stats();
    assert_eq!((stats.events, stats.topics), (2, 2), "`a` had the oldest events, down to its last");
}

#[test]
fn bytes_are_never_over_the_limit_even_for_an_event_that_can_not_fit() {
    let limit = 10_000;
    let mut history = history(Retention { bytes: limit, ..KEEP_ALL });
    for bytes in [10, 5_000, 100, 20_000, 0] {
        let seq = history.next_seq();
        history.append(
            seq,
            Encoded { topics: &[topic("a")], id: None, wire: Bytes::from(vec![0; bytes]) },
            Duration::ZERO,
        );
        assert!(history.stats().bytes <= limit);
        assert_eq!(history.stats().events == 0, bytes == 20_000);
    }
    assert_eq!(reason(&history.after(3, &topics(&["a"]))), Some("expired"));
}

#[test]
fn a_history_that_keeps_nothing_says_so() {
    for retention in [
        Retention { events_per_topic: 0, ..KEEP_ALL },
        Retention { age: Duration::ZERO, ..KEEP_ALL },
        Retention { bytes: 0, ..KEEP_ALL },
        Retention { topics_max: 0, ..KEEP_ALL },
    ] {
        let mut history = history(retention);
        history.add(&["a", "b"]);
        assert_eq!(history.stats(), Stats::default());
        assert_eq!(reason(&history.after(0, &topics(&["b"]))), Some("expired"));
        assert_eq!(reason(&history.after(1, &topics(&["b"]))), None);
    }
}
