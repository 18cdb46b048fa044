//! The history against its [model](super::model), whatever is appended, dropped and read in
//! between: the two keep the same, place the same, and a stream has every event it has a claim to,
//! in order and once, or is told.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::subsequence;

use super::model::{IDS, Model, TOPICS, custom, incarnation, names};
use super::*;
use crate::event::Position;

#[derive(Clone, Debug)]
enum Op {
    Append { topics: Vec<usize>, id: Option<u64>, bytes: usize },
    Wait { millis: u64 },
    Expire { budget: usize },
    Resume { position: Ask, all: bool, topics: Vec<usize> },
    Read { stream: usize, limit: PageLimit },
}

#[derive(Clone, Debug)]
enum Ask {
    Live,
    Earliest,
    /// The own id this far back; two are in the future.
    Back(u64),
    Custom(u64),
    Unknown,
}

fn op() -> impl Strategy<Value = Op> {
    let topics = |limit| subsequence((0..TOPICS).collect::<Vec<_>>(), 1..=limit);
    let ask = prop_oneof![
        1 => Just(Ask::Live),
        2 => Just(Ask::Earliest),
        4 => (0..20u64).prop_map(Ask::Back),
        3 => (0..IDS).prop_map(Ask::Custom),
        1 => Just(Ask::Unknown),
    ];
    let limit = (0..6usize, 0..500usize).prop_map(|(events, bytes)| PageLimit { events, bytes });
    prop_oneof![
        8 => (topics(3), prop::option::weighted(0.3, 0..IDS), 0..200usize)
            .prop_map(|(topics, id, bytes)| Op::Append { topics, id, bytes }),
        1 => (0..15u64).prop_map(|millis| Op::Wait { millis }),
        1 => (0..4usize).prop_map(|budget| Op::Expire { budget }),
        3 => (ask, prop::bool::weighted(0.25), topics(4))
            .prop_map(|(position, all, topics)| Op::Resume { position, all, topics }),
        6 => (any::<usize>(), limit).prop_map(|(stream, limit)| Op::Read { stream, limit }),
    ]
}

fn retention() -> impl Strategy<Value = Retention> {
    (0..6usize, 1..60u64, 0..8_000u64, 0..=TOPICS).prop_map(
        |(events_per_topic, age, bytes, topics_max)| Retention {
            events_per_topic,
            age: Duration::from_millis(age),
            bytes,
            topics_max,
        },
    )
}

/// A stream that replays.
struct Stream {
    all: bool,
    topics: Vec<usize>,
    replay: Replay,
    earliest: bool,
    /// Seqs it is to have, of those published when it began.
    claims: BTreeSet<u64>,
    /// It is to have everything after this one, too.
    began: u64,
}

/// A history, its model, and the streams that replay from both.
struct Pair {
    model: Model,
    history: History,
    streams: Vec<Stream>,
}

impl Pair {
    fn step(&mut self, op: Op) {
        match op {
            Op::Append { topics, id, bytes } => self.append(&topics, id, bytes),
            Op::Wait { millis } => self.model.now += Duration::from_millis(millis),
            Op::Expire { budget } => {
                self.repeats(|pair| {
                    assert_eq!(
                        pair.history.expire(pair.model.now, budget),
                        pair.model.trim(budget)
                    );
                });
            }
            Op::Resume { position, all, topics } => self.resume(position, all, topics),
            Op::Read { stream, limit } if !self.streams.is_empty() => {
                self.read(stream % self.streams.len(), limit);
            }
            Op::Read { .. } => {}
        }
        let model = &self.model;
        let stats = Stats {
            events: model.kept().count(),
            topics: model.topics_kept().len(),
            bytes: model.bytes(),
        };
        assert_eq!(self.history.stats(), stats);
    }

    /// Does something that may drop events, then lets go of ids that no kept event bears any more.
    fn repeats(&mut self, change: impl FnOnce(&mut Self)) {
        change(self);
        let model = &mut self.model;
        let kept: BTreeSet<_> = model.kept().filter_map(|seq| model.at(seq).id).collect();
        model.repeated.retain(|id| kept.contains(id));
    }

    fn append(&mut self, topics: &[usize], id: Option<u64>, bytes: usize) {
        self.repeats(|Self { model, history, .. }| {
            model.append(topics, id, bytes);
            let names: Vec<_> = topics.iter().map(|&topic| model.names[topic].clone()).collect();
            let seq = history.next_seq();
            assert_eq!(seq.0, model.last());
            let id = id.map(|id| EventId::new(&custom(id)).unwrap());
            let wire = Bytes::from(vec![seq.0 as u8; bytes]);
            history.append(seq, Encoded { topics: &names, id, wire }, model.now);
        });
    }

    fn resume(&mut self, ask: Ask, all: bool, topics: Vec<usize>) {
        let Self { model, history, streams } = self;
        let position = match ask {
            Ask::Live => Position::Live,
            Ask::Earliest => Position::Earliest,
            Ask::Back(n) => {
                Position::After(incarnation().id(Seq((model.last() + 2).saturating_sub(n))).into())
            }
            Ask::Custom(n) => Position::After(custom(n).into()),
            Ask::Unknown => Position::After(Incarnation::from_bits(98).id(Seq(1)).into()),
        };
        let selectors = model.selectors(all, &topics);
        let resume = history.resume(&position, &selectors);
        let (seq, reset, claims) = model.resume(&position, all, &topics);
        assert_eq!((resume.replay.seq(), &resume.reset), (Seq(seq), &reset));
        if let Some(Reset { from: Some(from), .. }) = reset {
            let again = history.resume(&Position::After(incarnation().id(from).into()), &selectors);
            // A publisher's id that reads like ours goes before it; queue refuses those.
            let clash = incarnation().id(from) == custom(0);
            assert!(again.reset.is_none() || clash, "the reset's own id is complete");
        }
        let earliest = position == Position::Earliest;
        let began = model.last();
        streams.push(Stream { all, topics, replay: resume.replay, earliest, claims, began });
    }

    fn read(&mut self, n: usize, limit: PageLimit) {
        let Self { model, history, streams } = self;
        let Stream { all, ref topics, replay, earliest, ref claims, began } = streams[n];
        let later: Vec<_> = (replay.seq().0 + 1..=model.last()).collect();
        let claimed =
            |seq: u64| claims.contains(&seq) || (seq > began && model.is_for(seq, all, topics));
        let is_readable = |seq: u64| model.is_readable(seq, all, topics);
        let missed = later.iter().filter(|&&seq| claimed(seq) && !is_readable(seq)).count();
        let mut out = Vec::new();
        match history.read(&model.selectors(all, topics), replay, limit, &mut out) {
            Ok(slice) => {
                assert_eq!(missed, 0, "a loss was not announced");
                let left: Vec<_> = later.into_iter().filter(|&seq| is_readable(seq)).collect();
                let taken = model.bounded(&left, limit);
                let seqs: Vec<_> = out.iter().map(|(seq, _)| seq.0).collect();
                assert_eq!(seqs, left[..taken]);
                assert!(
                    out.iter()
                        .all(|(seq, wire)| **wire == vec![seq.0 as u8; model.at(seq.0).bytes])
                );
                assert_eq!(slice.more, taken < left.len());
                let next = if slice.more { *seqs.last().unwrap() } else { model.last() };
                assert_eq!(slice.next.seq().0, next);
                streams[n].replay = slice.next;
            }
            Err(gap) => {
                assert!(out.is_empty());
                assert!(
                    later.iter().any(|&seq| model.is_lost(seq, all, topics)),
                    "nothing was lost"
                );
                let exact = (all || topics.len() == 1) && !earliest;
                assert!(missed > 0 || !exact, "a false alarm");
                assert!((1..=missed.max(1)).contains(&(gap.missed_at_least as usize)));
                streams.swap_remove(n);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn a_history_keeps_places_and_replays_what_a_vec_would(
        retention in retention(), ops in prop::collection::vec(op(), 1..150)
    ) {
        let (now, names) = (Duration::ZERO, names());
        let (past, repeated) = Default::default();
        let model = Model { names, retention, now, past, repeated };
        let mut pair = Pair { model, history: History::new(retention, incarnation()), streams: Vec::new() };
        ops.into_iter().for_each(|op| pair.step(op));
        while pair.history.expire(Duration::MAX, 3) {}
        prop_assert_eq!(pair.history.stats(), Stats::default());
    }
}
