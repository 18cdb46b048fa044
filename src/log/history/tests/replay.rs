//! Resume positions, resets and gaps.

use super::*;

#[test]
fn losses_of_a_topic_without_stored_events_are_remembered() {
    let mut history = history(UNLIMITED);
    history.add(&["a"]);
    history.add_with(&["b"], None, Duration::from_secs(1));
    assert!(!history.expire(Duration::from_secs(3600), usize::MAX));
    assert_eq!(history.stats().topics, 1);
    assert_eq!(reason(&history.after(0, &topics(&["a"]))), Some("expired"));
    assert_eq!(reason(&history.after(1, &topics(&["a"]))), None);
    history.add_with(&["a"], None, Duration::from_secs(3600));
    assert_eq!(
        reason(&history.after(0, &topics(&["a"]))),
        Some("expired"),
        "also after the topic has a new event"
    );
    assert_eq!(reason(&history.after(0, &topics(&["b"]))), None);
}

/// Ensures that a client of a quiet topic is not told that it has lost events because many other
/// topics have.
///
/// Scenario: a million topics of one event each expire, as of users that come and go.
///
/// Cause: the losses of all of them shared 65,536 buckets; each held the highest loss of fifteen
/// topics.
///
/// Fix: the losses of the topics that expired last are kept one by one.
#[test]
fn a_million_expired_topics_cause_false_alarms_in_less_than_one_in_a_hundred() {
    const EXPIRED: u64 = 1_000_000;
    const ASKED: u64 = 10_000;
    let retention = Retention { topics_max: 1, bytes: 256 << 20, ..UNLIMITED };
    let mut history = history(retention);
    for n in 0..=EXPIRED {
        history.add(&[&format!("user {n}")]);
    }
    assert_eq!(history.stats().topics, 1);
    let is_reset = |name: String, after| reason(&history.after(after, &topics(&[&name]))).is_some();
    let false_alarms = (0..ASKED).filter(|n| is_reset(format!("quiet {n}"), 0)).count();
    assert!(false_alarms < ASKED as usize / 100, "{false_alarms} of {ASKED}");
    for n in (0..EXPIRED).step_by(101) {
        assert!(is_reset(format!("user {n}"), n), "a hidden loss of {n}");
        assert!(!is_reset(format!("user {n}"), n + 1), "the client of {n} has all");
    }
}

#[test]
fn a_replay_of_a_topic_without_stored_events_is_not_ended_by_the_losses_of_others() {
    let mut history = history(Retention { topics_max: 1, ..UNLIMITED });
    let quiet: Vec<_> = (0..1000).map(|n| topics(&[&format!("quiet {n}")])).collect();
    let start = |selectors: &Vec<Selector>| history.after(0, selectors).replay;
    let replays: Vec<_> = quiet.iter().map(start).collect();
    for n in 0..10_000 {
        history.add(&[&format!("user {n}")]);
    }
    for (selectors, replay) in quiet.iter().zip(&replays) {
        assert_eq!(history.gap(selectors, replay), None);
    }
}

#[test]
fn an_id_resolves_to_its_event_or_is_unknown() {
    let mut history = history(UNLIMITED);
    history.add_with(&["a"], Some("x"), Duration::ZERO);
    history.add(&["a"]);
    let all = [Selector::All];
    assert_eq!(history.after_id("x", &all).replay.seq(), Seq(1));
    assert_eq!(history.after(2, &all).reset, None);
    let other = Incarnation::from_bits(2).id(Seq(1));
    for id in ["y", &other, &history.incarnation().id(Seq(3))] {
        let resume = history.after_id(id, &all);
        let reset = Reset {
            asked: id.into(),
            reason: Reason::UnknownId,
            oldest: Some(Seq(1)),
            from: Some(Seq(2)),
        };
        assert_eq!((resume.replay.seq(), resume.reset), (Seq(2), Some(reset)));
    }
}

#[test]
fn a_repeated_id_is_ambiguous_until_all_its_events_are_evicted() {
    let mut history = history(Retention { events_per_topic: 2, ..UNLIMITED });
    let all = [Selector::All];
    history.add_with(&["a"], Some("x"), Duration::ZERO);
    history.add_with(&["a"], Some("x"), Duration::ZERO);
    assert_eq!(reason(&history.after_id("x", &all)), Some("repeated-id"));
    history.add(&["a"]);
    assert_eq!(
        reason(&history.after_id("x", &all)),
        Some("repeated-id"),
        "one of the two is stored"
    );
    history.add(&["a"]);
    assert_eq!(reason(&history.after_id("x", &all)), Some("unknown-id"));
    history.add_with(&["a"], Some("x"), Duration::ZERO);
    assert_eq!(reason(&history.after_id("x", &all)), None);
}

#[test]
fn a_reset_carries_an_id_only_if_no_stored_event_precedes_it() {
    let mut history = history(Retention { events_per_topic: 2, ..UNLIMITED });
    for name in ["b", "a", "b", "b", "b", "b"] {
        history.add(&[name]);
    }
    // Topic `b` has evicted 1, 3 and 4; topic `a` still has 2.
    let from =
        |seq, names: &[&str]| history.after(seq, &topics(names)).reset.map(|reset| reset.from);
    assert_eq!(from(0, &["b"]), Some(Some(Seq(4))));
    assert_eq!(from(4, &["b"]), None);
    assert_eq!(from(0, &["a", "b"]), Some(None), "2 would be skipped");
    assert_eq!(from(2, &["a", "b"]), Some(Some(Seq(4))));
    assert_eq!(history.after(0, &topics(&["a", "b"])).reset.unwrap().oldest, Some(Seq(2)));
}

#[test]
fn losses_announced_by_a_reset_are_no_gap_and_later_ones_are() {
    for selectors in [vec![Selector::All], topics(&["quiet", "busy"])] {
        let mut history = history(Retention { events_per_topic: 4, ..UNLIMITED });
        history.add(&["quiet"]);
        history.add_many(9, "busy");
        let resume = history.after(0, &selectors);
        assert_eq!(reason(&resume), Some("expired"));
        let limit = PageLimit { events: 1, ..NO_LIMIT };
        let (seqs, first) = history.page(&selectors, &resume.replay, limit);
        assert_eq!(seqs, [1]);
        let (seqs, second) = history.page(&selectors, &first.next, limit);
        assert_eq!(seqs, [7], "the reset announced the loss of 2 to 6");
        history.add(&["busy"]);
        assert_eq!(history.page(&selectors, &second.next, NO_LIMIT).0, [8, 9, 10, 11]);
        assert_eq!(history.gap(&selectors, &first.next), Some(1), "7 was lost after the reset");
    }
}

/// Ensures that what a reset announces is what had been evicted by then.
///
/// Scenario: a stream resumes after an evicted event and reads its replay slowly; what it has yet
/// to read is evicted.
///
/// Cause: after a reset every event up to the newest counted as announced.
///
/// Fix: the replay remembers what each topic had evicted when it began.
#[test]
fn an_event_stored_at_a_reset_is_replayed_or_a_gap() {
    for selectors in [vec![Selector::All], topics(&["a"]), topics(&["a", "b"])] {
        let mut history = history(Retention { events_per_topic: 100, ..UNLIMITED });
        history.add_many(200, "a");
        let resume = history.after(50, &selectors);
        let limit = PageLimit { events: 6, ..NO_LIMIT };
        let (seqs, page) = history.page(&selectors, &resume.replay, limit);
        assert_eq!(seqs, [101, 102, 103, 104, 105, 106]);
        history.add_many(6, "a");
        assert_eq!(history.gap(&selectors, &page.next), None, "the stream has read 101 to 106");
        history.add_many(44, "a");
        assert!(history.gap(&selectors, &page.next).is_some(), "107 to 150 are lost");
    }
}

/// The events of a busy topic leave from between those of a quiet one, newer ones before older
/// ones.
#[test]
fn evictions_out_of_order_are_a_gap_only_after_the_position() {
    let all = [Selector::All];
    let mut history = history(Retention { events_per_topic: 2, ..UNLIMITED });
    for name in ["quiet", "old", "old", "busy", "busy", "busy", "old"] {
        history.add(&[name]);
    }
    // Evicted: 4, then 2. Stored: 1, 3, 5, 6, 7.
    let earliest = history.resume(&Position::Earliest, &all).replay;
    let read = |history: &History, replay: &Replay, events| {
        history.page(&all, replay, PageLimit { events, ..NO_LIMIT })
    };
    let (seqs, first) = read(&history, &earliest, 2);
    assert_eq!(seqs, [1, 3]);
    history.add(&["old"]);
    assert_eq!(history.gap(&all, &first.next), None, "3, which was evicted, has been read");
    assert_eq!(history.gap(&all, &earliest), Some(1));
    assert_eq!(read(&history, &first.next, 9).0, [5, 6, 7, 8]);
    history.add(&["busy"]);
    assert_eq!(history.gap(&all, &first.next), Some(1), "5 has not been read");
}

#[test]
fn losses_before_an_earliest_replay_are_no_gap() {
    for selectors in [vec![Selector::All], topics(&["quiet", "busy"])] {
        let mut history = history(Retention { events_per_topic: 2, ..UNLIMITED });
        history.add(&["quiet"]);
        history.add_many(4, "busy");
        let earliest = history.resume(&Position::Earliest, &selectors).replay;
        let (seqs, page) = history.page(&selectors, &earliest, PageLimit { events: 1, ..NO_LIMIT });
        assert_eq!(seqs, [1]);
        assert_eq!(history.page(&selectors, &page.next, NO_LIMIT).0, [4, 5]);
        history.add(&["busy"]);
        assert_eq!(
            history.gap(&selectors, &page.next),
            Some(1),
            "4 was stored when the replay began"
        );
    }
}

#[test]
fn a_gap_of_all_topics_counts_the_missed_events_wherever_they_were() {
    let all = [Selector::All];
    let mut history = history(Retention { events_per_topic: 3, ..UNLIMITED });
    history.add_many(10, "a");
    assert_eq!(history.gap(&all, &Replay::after(Seq(2))), Some(5));
    assert_eq!(history.gap(&all, &Replay::after(Seq(7))), None);
    history.add_many(2, "b");
    history.add_many(4, "a");
    // Stored: 11 and 12 of `b`, 14 to 16 of `a`.
    assert_eq!(history.gap(&all, &Replay::after(Seq(7))), Some(4), "8, 9, 10 and 13");
    assert_eq!(history.gap(&all, &Replay::after(Seq(10))), Some(1), "13");
}

#[test]
fn a_gap_of_a_topic_counts_the_events_evicted_since_the_last_page() {
    let selectors = topics(&["a"]);
    let mut history = history(Retention { events_per_topic: 5, topics_max: 3, ..UNLIMITED });
    for _ in 0..8 {
        history.add(&["a"]);
        history.add(&["other"]);
    }
    let first = PageLimit { events: 1, ..NO_LIMIT };
    let earliest = history.resume(&Position::Earliest, &selectors).replay;
    let (seqs, page) = history.page(&selectors, &earliest, first);
    assert_eq!(seqs, [7]);
    history.add_many(1, "a");
    assert_eq!(history.gap(&selectors, &page.next), None);
    history.add_many(3, "a");
    assert_eq!(history.gap(&selectors, &page.next), Some(3), "9, 11 and 13");
    let names = [topics(&["a", "other"]), topics(&["other", "a"])];
    for (several, page) in names.map(|several| {
        let replay = history.resume(&Position::Earliest, &several).replay;
        let page = history.page(&several, &replay, first).1;
        (several, page)
    }) {
        history.add_many(5, "a");
        assert!(history.gap(&several, &page.next).unwrap() >= 4, "of `a`");
    }
    for name in ["x", "y", "z"] {
        history.add(&[name]);
    }
    while history.expire(Duration::ZERO, usize::MAX) {}
    history.add(&["a"]);
    let gap = history.gap(&selectors, &page.next);
    assert_eq!(gap, Some(4), "four were stored when it was read; what followed is not known");
}
