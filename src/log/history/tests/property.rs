//! Property test: the history behaves like its [reference model](super::model) under any sequence
//! of appends, evictions and reads.
//!
//! Both store the same events at the same memory cost and resolve positions alike. A stream
//! receives every event stored when it was opened and every later one, in order and once, or a gap
//! announces the loss. There is no gap unless such an event was evicted before it was read.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::subsequence;

use super::model::{IDS, Model, TOPICS, incarnation, publisher_id};
use super::*;

#[derive(Clone, Debug)]
enum Op {
    Append { topics: Vec<usize>, id: Option<u64>, bytes: usize },
    Wait { millis: u64 },
    Expire { budget: usize },
    Resume { start: Start, all: bool, topics: Vec<usize> },
    Read { stream: usize, limit: PageLimit },
}

#[derive(Clone, Debug)]
enum Start {
    Live,
    Earliest,
    /// The node-assigned id this many events before the newest but two; two are in the future.
    Assigned(u64),
    Publisher(u64),
    OtherIncarnation,
}

fn op() -> impl Strategy<Value = Op> {
    let topics = |max| subsequence((0..TOPICS).collect::<Vec<_>>(), 1..=max);
    let start = prop_oneof![
        1 => Just(Start::Live),
        2 => Just(Start::Earliest),
        4 => (0..20u64).prop_map(Start::Assigned),
        3 => (0..IDS).prop_map(Start::Publisher),
        1 => Just(Start::OtherIncarnation),
    ];
    let limit = (0..6usize, 0..500usize).prop_map(|(events, bytes)| PageLimit { events, bytes });
    prop_oneof![
        8 => (topics(3), prop::option::weighted(0.3, 0..IDS), 0..200usize)
            .prop_map(|(topics, id, bytes)| Op::Append { topics, id, bytes }),
        1 => (0..15u64).prop_map(|millis| Op::Wait { millis }),
        1 => (0..4usize).prop_map(|budget| Op::Expire { budget }),
        3 => (start, prop::bool::weighted(0.25), topics(4))
            .prop_map(|(start, all, topics)| Op::Resume { start, all, topics }),
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

/// A stream during its replay.
struct Stream {
    all: bool,
    topics: Vec<usize>,
    replay: Replay,
    /// Newest seq when the stream was opened.
    opened_at: u64,
    /// The events stored then, each with the topics that stored it.
    stored: Vec<(u64, BTreeSet<usize>)>,
}

impl Stream {
    /// The selected topics whose storing of the event the stream relies on: those that stored it
    /// when the stream was opened, all of a later event.
    fn relies_on(&self, seq: u64, model: &Model) -> BTreeSet<usize> {
        let event = &model.event(seq).topics;
        let stored = self.stored.iter().find(|stored| stored.0 == seq);
        let is_selected = |topic: &&usize| self.all || self.topics.contains(topic);
        let was_stored = |topic: &&usize| {
            seq > self.opened_at || stored.is_some_and(|(_, topics)| topics.contains(topic))
        };
        event.iter().filter(is_selected).filter(was_stored).copied().collect()
    }
}

/// A history, its model, and the streams that replay from both.
struct Harness {
    model: Model,
    history: History,
    streams: Vec<Stream>,
}

impl Harness {
    fn run(&mut self, op: Op) {
        let Self { model, history, streams } = self;
        match op {
            Op::Append { topics, id, bytes } => self.append(&topics, id, bytes),
            Op::Wait { millis } => model.now += Duration::from_millis(millis),
            Op::Expire { budget } => {
                assert_eq!(history.expire(model.now, budget), model.expire(budget));
            }
            Op::Resume { start, all, topics } => self.resume(start, all, topics),
            Op::Read { stream, limit } if !streams.is_empty() => {
                let stream = stream % streams.len();
                self.read(stream, limit);
            }
            Op::Read { .. } => {}
        }
        let model = &self.model;
        let stats = Stats {
            events: model.stored().count(),
            topics: model.topics_stored().len(),
            bytes: model.bytes(),
        };
        assert_eq!(self.history.stats(), stats);
    }

    fn append(&mut self, topics: &[usize], id: Option<u64>, bytes: usize) {
        let Self { model, history, .. } = self;
        model.append(topics, id, bytes);
        let topics: Vec<_> = topics.iter().map(|&topic| model.topic(topic)).collect();
        let seq = history.next_seq();
        assert_eq!(seq.0, model.last());
        let id = id.map(|id| EventId::new(&publisher_id(id)).unwrap());
        let wire = Bytes::from(vec![seq.0 as u8; bytes]);
        history.append(seq, Encoded { topics: &topics, id, wire }, model.now);
    }

    fn resume(&mut self, start: Start, all: bool, topics: Vec<usize>) {
        let Self { model, history, streams } = self;
        let after = |id: String| Position::After(id.into());
        let position = match start {
            Start::Live => Position::Live,
            Start::Earliest => Position::Earliest,
            Start::Assigned(n) => {
                after(incarnation().id(Seq((model.last() + 2).saturating_sub(n))))
            }
            Start::Publisher(n) => after(publisher_id(n)),
            Start::OtherIncarnation => after(Incarnation::from_bits(98).id(Seq(1))),
        };
        let selectors = model.selectors(all, &topics);
        let resume = history.resume(&position, &selectors);
        let (seq, reset) = model.resume(&position, all, &topics);
        assert_eq!((resume.replay.seq(), &resume.reset), (Seq(seq), &reset));
        if let Some(Reset { from: Some(from), .. }) = reset {
            let again = history.resume(&after(incarnation().id(from)), &selectors);
            assert!(again.reset.is_none(), "the id of a reset resumes completely");
        }
        let (replay, opened_at) = (resume.replay, model.last());
        let stored_in = |seq| (seq, model.event(seq).stored_in.clone());
        let stored = model.stored().map(stored_in).collect();
        streams.push(Stream { all, topics, replay, opened_at, stored });
    }

    fn read(&mut self, n: usize, limit: PageLimit) {
        let Self { model, history, streams } = self;
        let stream = &streams[n];
        let Stream { all, ref topics, ref replay, .. } = *stream;
        let later: Vec<_> = (replay.seq().0 + 1..=model.last()).collect();
        let is_readable = |seq: u64| model.is_readable(seq, all, topics);
        let is_missed = |seq: u64| !stream.relies_on(seq, model).is_empty() && !is_readable(seq);
        let missed = later.iter().filter(|&&seq| is_missed(seq)).count();
        let mut out = Vec::new();
        match history.read(&model.selectors(all, topics), replay, limit, &mut out) {
            Ok(page) => {
                assert_eq!(missed, 0, "every loss is announced");
                let readable: Vec<_> = later.into_iter().filter(|&seq| is_readable(seq)).collect();
                let len = model.page_len(&readable, limit);
                let seqs: Vec<_> = out.iter().map(|(seq, _)| seq.0).collect();
                assert_eq!(seqs, readable[..len]);
                for (seq, wire) in out {
                    assert_eq!(*wire, vec![seq.0 as u8; model.event(seq.0).bytes]);
                }
                assert_eq!(page.more, len < readable.len());
                let next = if page.more { *seqs.last().unwrap() } else { model.last() };
                assert_eq!(page.next.seq().0, next);
                streams[n].replay = page.next;
            }
            Err(gap) => {
                assert!(out.is_empty());
                let missed_by = |topic: &usize| {
                    let is_missed = |seq: u64| {
                        let stored_in = &model.event(seq).stored_in;
                        stream.relies_on(seq, model).contains(topic) && !stored_in.contains(topic)
                    };
                    later.iter().filter(|&&seq| is_missed(seq)).count()
                };
                let most = if all { missed } else { topics.iter().map(missed_by).max().unwrap() };
                assert!(most > 0, "no false alarm");
                assert!((1..=most).contains(&(gap.missed_at_least as usize)));
                streams.swap_remove(n);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn a_history_behaves_like_its_model(
        retention in retention(),
        ops in prop::collection::vec(op(), 1..150),
    ) {
        let (model, history) = (Model::new(retention), History::new(retention, incarnation()));
        let mut harness = Harness { model, history, streams: Vec::new() };
        ops.into_iter().for_each(|op| harness.run(op));
        while harness.history.expire(Duration::MAX, 3) {}
        prop_assert_eq!(harness.history.stats(), Stats::default());
    }
}
