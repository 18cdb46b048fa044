//! Where streams go on, and what they are told.

use super::*;

#[test]
fn a_topic_that_was_forgotten_still_knows_what_it_lost() {
    let mut history = history(KEEP_ALL);
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
        "nor does it forget when it is back"
    );
    assert_eq!(reason(&history.after(0, &topics(&["b"]))), None);
}

#[test]
fn topics_that_share_a_bucket_raise_false_alarms_and_hide_nothing() {
    let mut buckets = std::collections::HashMap::new();
    let mut names = (0..).map(|n| format!("{n}"));
    let (first, second) = names
        .find_map(|name| {
            let bucket = topic(&name).hash_key() >> 48;
            buckets.insert(bucket, name.clone()).map(|other| (other, name))
        })
        .unwrap();
    let mut history = history(Retention { topics_max: 1, ..KEEP_ALL });
    history.add(&[&first]);
    history.add(&["other"]);
    assert_eq!(reason(&history.after(0, &topics(&[&second]))), Some("expired"), "a false alarm");
    history.add(&[&second]);
    history.add(&["other"]);
    assert_eq!(reason(&history.after(0, &topics(&[&first]))), Some("expired"));
    assert_eq!(reason(&history.after(2, &topics(&[&second]))), Some("expired"));
    assert_eq!(reason(&history.after(3, &topics(&[&second]))), None);
}

#[test]
fn ids_lead_to_their_event_or_are_refused() {
    let mut history = history(KEEP_ALL);
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
    assert!(
        history.is_own(&history.incarnation().id(Seq(9)))
            && !history.is_own("x")
            && !history.is_own(&other)
    );
}

#[test]
fn an_id_used_twice_is_refused_until_none_of_its_events_is_kept() {
    let mut history = history(Retention { events_per_topic: 2, ..KEEP_ALL });
    let all = [Selector::All];
    history.add_with(&["a"], Some("x"), Duration::ZERO);
    history.add_with(&["a"], Some("x"), Duration::ZERO);
    assert_eq!(reason(&history.after_id("x", &all)), Some("repeated-id"));
    history.add(&["a"]);
    assert_eq!(reason(&history.after_id("x", &all)), Some("repeated-id"), "one of the two is kept");
    history.add(&["a"]);
    assert_eq!(reason(&history.after_id("x", &all)), Some("unknown-id"));
    history.add_with(&["a"], Some("x"), Duration::ZERO);
    assert_eq!(reason(&history.after_id("x", &all)), None);
}

#[test]
fn a_reset_carries_an_id_only_if_nothing_kept_lies_below_it() {
    let mut history = history(Retention { events_per_topic: 2, ..KEEP_ALL });
    for name in ["b", "a", "b", "b", "b", "b"] {
        history.add(&[name]);
    }
    // Topic `b` has lost 1, 3 and 4; 2 of topic `a` is kept.
    let from =
        |seq, names: &[&str]| history.after(seq, &topics(names)).reset.map(|reset| reset.from);
    assert_eq!(from(0, &["b"]), Some(Some(Seq(4))));
    assert_eq!(from(4, &["b"]), None);
    assert_eq!(from(0, &["a", "b"]), Some(None), "2 would be skipped");
    assert_eq!(from(2, &["a", "b"]), Some(Some(Seq(4))));
    assert_eq!(history.after(0, &topics(&["a", "b"])).reset.unwrap().oldest, Some(Seq(2)));
}

#[test]
fn losses_that_a_reset_has_announced_are_no_gaps() {
    let mut history = history(Retention { events_per_topic: 4, ..KEEP_ALL });
    history.add(&["quiet"]);
    history.add_many(9, "busy");
    let selectors = topics(&["quiet", "busy"]);
    let resume = history.after(0, &selectors);
    assert_eq!(reason(&resume), Some("expired"));
    let (seqs, slice) = history.seqs(&selectors, resume.replay, PageLimit { events: 1, ..MANY });
    assert_eq!(seqs, [1]);
    history.add(&["busy"]);
    assert_eq!(
        history.seqs(&selectors, slice.next, MANY).0,
        [8, 9, 10, 11],
        "7 went, as the reset said it might"
    );
    history.add_many(4, "busy");
    assert_eq!(history.gap(&selectors, slice.next), Some(1), "11 came after the reset");
}

#[test]
fn what_was_lost_before_the_earliest_replay_began_is_no_gap() {
    for selectors in [vec![Selector::All], topics(&["quiet", "busy"])] {
        let mut history = history(Retention { events_per_topic: 2, ..KEEP_ALL });
        history.add(&["quiet"]);
        history.add_many(4, "busy");
        let earliest = history.resume(&Position::Earliest, &selectors).replay;
        let (seqs, slice) = history.seqs(&selectors, earliest, PageLimit { events: 1, ..MANY });
        assert_eq!(seqs, [1]);
        assert_eq!(history.seqs(&selectors, slice.next, MANY).0, [4, 5]);
        history.add(&["busy"]);
        assert_eq!(history.gap(&selectors, slice.next), Some(1), "one that was kept then has gone");
    }
}

#[test]
fn a_gap_of_everything_counts_what_went_before_the_next_event_left() {
    let mut history = history(Retention { events_per_topic: 3, ..KEEP_ALL });
    history.add_many(10, "a");
    assert_eq!(history.gap(&[Selector::All], Replay::after(Seq(2))), Some(5));
    assert_eq!(history.gap(&[Selector::All], Replay::after(Seq(7))), None);
}
