//! Behaviour of the history: retention and paging here, resume positions in `replay`, and a
//! model-based property test.

mod model;
mod property;
mod replay;

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::event::{EventId, Incarnation, Position, Selector, Seq, Topic};

const NO_LIMIT: PageLimit = PageLimit { events: usize::MAX, bytes: usize::MAX };
const UNLIMITED: Retention = Retention {
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

    fn page(&self, selectors: &[Selector], replay: &Replay, limit: PageLimit) -> (Vec<u64>, Page) {
        let mut out = Vec::new();
        let page = self.read(selectors, replay, limit, &mut out).unwrap();
        (out.iter().map(|(seq, _)| seq.0).collect(), page)
    }

    fn gap(&self, selectors: &[Selector], replay: &Replay) -> Option<u64> {
        self.read(selectors, replay, NO_LIMIT, &mut Vec::new()).err().map(|gap| gap.missed_at_least)
    }
}

fn reason(resume: &Resume) -> Option<&'static str> {
    resume.reset.as_ref().map(|reset| reset.reason.as_str())
}

#[test]
fn a_history_is_sync_behind_a_lock() {
    fn assert_sync<T: Send + Sync>() {}
    assert_sync::<std::sync::RwLock<History>>();
}

#[test]
fn seqs_count_from_one() {
    let mut history = history(UNLIMITED);
    assert_eq!(history.next_seq(), Seq(1));
    assert_eq!((history.add(&["a"]), history.add(&["a"])), (Seq(1), Seq(2)));
    assert_eq!(history.next_seq(), Seq(3));
}

#[test]
fn an_event_with_two_topics_is_stored_until_both_evict_it() {
    let mut history = history(Retention { events_per_topic: 1, ..UNLIMITED });
    history.add(&["a", "b"]);
    history.add(&["a"]);
    assert_eq!(history.page(&topics(&["b"]), &Replay::after(Seq(0)), NO_LIMIT).0, [1]);
    assert_eq!(history.gap(&topics(&["a"]), &Replay::after(Seq(0))), Some(1));
    assert_eq!(history.page(&[Selector::All], &Replay::after(Seq(0)), NO_LIMIT).0, [1, 2]);
    history.add(&["b"]);
    assert_eq!(history.stats().events, 2);
    assert_eq!(history.gap(&[Selector::All], &Replay::after(Seq(0))), Some(1));
}

#[test]
fn several_topics_are_merged_in_seq_order_without_duplicates() {
    let mut history = history(UNLIMITED);
    for names in [&["a"][..], &["b", "c"], &["d"], &["c"], &["a", "b", "c"], &["b"]] {
        history.add(names);
    }
    let selectors = topics(&["c", "a", "b", "a"]);
    let limit = PageLimit { events: 3, ..NO_LIMIT };
    let (seqs, page) = history.page(&selectors, &Replay::after(Seq(0)), limit);
    assert_eq!((seqs, page.more, page.next.seq()), (vec![1, 2, 4], true, Seq(4)));
    let (seqs, page) = history.page(&selectors, &page.next, limit);
    assert_eq!((seqs, page.more, page.next.seq()), (vec![5, 6], false, Seq(6)));
}

#[test]
fn a_page_is_limited_in_bytes_but_holds_at_least_one_event() {
    let mut history = history(UNLIMITED);
    history.add_many(5, "a");
    let read = |bytes| {
        history
            .page(&topics(&["a"]), &Replay::after(Seq(0)), PageLimit { bytes, ..NO_LIMIT })
            .0
            .len()
    };
    assert_eq!((read(0), read(199), read(200), read(499), read(500)), (1, 1, 2, 4, 5));
}

#[test]
fn an_append_evicts_a_bounded_number_of_events_for_the_topic_limit() {
    let mut history = history(Retention { topics_max: 2, ..UNLIMITED });
    history.add_many(1000, "a");
    history.add(&["b"]);
    history.add(&["c"]);
    assert_eq!(history.stats().events, 1002 - EVICTIONS_PER_APPEND);
    assert!(history.expire(Duration::ZERO, 1));
    assert!(!history.expire(Duration::ZERO, usize::MAX));
    let stats = history.stats();
    assert_eq!((stats.events, stats.topics), (2, 2), "`a`, the oldest topic, was evicted entirely");
}

#[test]
fn the_byte_limit_holds_even_for_an_event_larger_than_it() {
    let limit = 10_000;
    let mut history = history(Retention { bytes: limit, ..UNLIMITED });
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
fn an_append_evicts_no_more_bytes_than_it_adds() {
    const LIMIT: u64 = 1_000_000;
    // A small event, and its topic.
    const SMALL: u64 = 1_000;
    for large in [0, 5_000, 200_000, 900_000] {
        let mut history = history(Retention { bytes: LIMIT, ..UNLIMITED });
        while history.stats().bytes < LIMIT - SMALL {
            let name = format!("{}", history.next_seq().0 % 50);
            history.add(&[&name]);
        }
        let wire = Bytes::from(vec![0; large]);
        let event = Encoded { topics: &[topic("large")], id: None, wire };
        history.append(history.next_seq(), event, Duration::ZERO);
        let bytes = history.stats().bytes;
        assert!((LIMIT - SMALL..=LIMIT).contains(&bytes), "{bytes} with {large}");
    }
}

#[test]
fn a_history_that_retains_nothing_reports_every_loss() {
    for retention in [
        Retention { events_per_topic: 0, ..UNLIMITED },
        Retention { age: Duration::ZERO, ..UNLIMITED },
        Retention { bytes: 0, ..UNLIMITED },
        Retention { topics_max: 0, ..UNLIMITED },
    ] {
        let mut history = history(retention);
        history.add(&["a", "b"]);
        assert_eq!(history.stats(), Stats::default());
        assert_eq!(reason(&history.after(0, &topics(&["b"]))), Some("expired"));
        assert_eq!(reason(&history.after(1, &topics(&["b"]))), None);
    }
}
