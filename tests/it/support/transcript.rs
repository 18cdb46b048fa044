//! A subscriber's transcript: every event and reset it received, checked against the events that
//! were published.

/// A set of the topics of a round, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topics(u8);

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

impl Topics {
    pub fn all() -> Self {
        Self((1 << NAMES.len()) - 1)
    }

    /// Up to `count` topics.
    pub fn some(count: usize, random: &mut fastrand::Rng) -> Self {
        Self((0..count).fold(0, |bits, _| bits | 1 << random.usize(..NAMES.len())))
    }

    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES
            .into_iter()
            .enumerate()
            .filter(move |(bit, _)| self.0 & 1 << bit != 0)
            .map(|(_, name)| name)
    }

    fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// An event whose publish was acknowledged.
#[derive(Clone, Debug)]
pub struct Published {
    pub data: String,
    pub topics: Topics,
    /// The clock when it was sent: how many events had been sent before, or were about to be.
    pub sent_at: u64,
    pub id: String,
}

impl Published {
    /// Its sequence number, if the node assigned its id.
    pub fn seq(&self) -> Option<u64> {
        seq(&self.id)
    }
}

fn seq(id: &str) -> Option<u64> {
    id.split_once('-')?.1.parse().ok()
}

/// An entry of a transcript.
#[derive(Debug)]
pub enum Entry {
    /// An event's data.
    Event(String),
    /// A `reset`, which announces a loss.
    Reset {
        /// The clock when it was read: it does not cover events sent later.
        at: u64,
        /// The id of the oldest event kept.
        oldest: Option<String>,
    },
}

/// Everything one subscriber received, over all of its connections.
#[derive(Debug)]
pub struct Transcript {
    /// `None` selects every topic.
    selected: Option<Topics>,
    /// Whether it began at the earliest event kept; events before that may have been evicted.
    earliest: bool,
    pub entries: Vec<Entry>,
    /// The clock when its first stream was known to be open: every event sent later must be in the
    /// transcript.
    pub opened_at: Option<u64>,
}

impl Transcript {
    pub fn new(selected: Option<Topics>, earliest: bool) -> Self {
        Self { selected, earliest, entries: Vec::new(), opened_at: None }
    }

    pub fn query(&self) -> String {
        let topics = self.selected.iter().flat_map(|topics| topics.names());
        topics.map(|topic| format!("topic={topic}")).collect::<Vec<_>>().join("&")
    }

    pub fn resets(&self) -> usize {
        self.entries.iter().filter(|entry| matches!(entry, Entry::Reset { .. })).count()
    }

    /// Panics unless it holds the selected events of `published`, each once and in order, but for
    /// losses that were announced.
    pub fn check(&self, published: &[Published]) {
        let wanted =
            |event: &&Published| self.selected.is_none_or(|topics| topics.meets(event.topics));
        let expected: Vec<_> = published.iter().filter(wanted).collect();
        let (mut next, mut resets) = (0, Vec::new());
        for entry in &self.entries {
            let data = match entry {
                Entry::Event(data) => data,
                Entry::Reset { at, oldest } => {
                    resets.push((*at, oldest.as_deref().and_then(seq)));
                    continue;
                }
            };
            let found = expected[next..].iter().position(|event| event.data == *data);
            let Some(skipped) = found else {
                panic!("repeated, out of order or not selected: {data:?} in {self:#?}")
            };
            self.check_skipped(&expected[next..next + skipped], next == 0, &resets);
            next += skipped + 1;
        }
        self.check_skipped(&expected[next..], next == 0, &resets);
    }

    /// Skipped events must be from before the stream was open, or covered by a reset.
    fn check_skipped(&self, skipped: &[&Published], first: bool, resets: &[(u64, Option<u64>)]) {
        let opened_at = self.opened_at.expect("it was open");
        for event in skipped {
            let too_early = (first || self.earliest) && event.sent_at < opened_at;
            let announced = resets
                .iter()
                .any(|&(at, oldest)| event.sent_at < at && !self.was_kept(event, oldest));
            assert!(too_early || announced, "lost: {event:?} in {self:#?}");
        }
    }

    /// Of a single topic the oldest events are evicted first, so an event that is not older than
    /// the oldest one kept was kept as well, and had to follow the reset.
    fn was_kept(&self, event: &Published, oldest: Option<u64>) -> bool {
        let single = self.selected.is_some_and(|topics| topics.0.count_ones() == 1);
        single && oldest.is_some_and(|oldest| event.seq().expect("no ids of their own") >= oldest)
    }
}
