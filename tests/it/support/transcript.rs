//! What one subscriber has had, held against what was published.

/// Some of the topics of a round, one bit each.
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

/// An event that was acknowledged.
#[derive(Clone, Debug)]
pub struct Published {
    pub data: String,
    pub topics: Topics,
    /// How many others had been sent, or were about to be.
    pub sent_at: u64,
    pub id: String,
}

impl Published {
    /// Its place in the log, if the node gave it its id.
    pub fn seq(&self) -> Option<u64> {
        seq(&self.id)
    }
}

fn seq(id: &str) -> Option<u64> {
    id.split_once('-')?.1.parse().ok()
}

/// What a subscriber notes down.
#[derive(Debug)]
pub enum Entry {
    /// An event's data.
    Event(String),
    /// A loss was announced.
    Reset {
        /// The clock when it was read: what was sent later is not covered.
        at: u64,
        /// The id of the oldest event that is left.
        oldest: Option<String>,
    },
}

/// Everything one subscriber has had, over all of its connections.
#[derive(Debug)]
pub struct Tale {
    /// `None` is everything.
    selected: Option<Topics>,
    /// Whether it asked for what was kept, of which anything may already have been gone.
    earliest: bool,
    pub entries: Vec<Entry>,
    /// The clock when its first stream was known to be open: what was sent later is owed to it.
    pub opened_at: Option<u64>,
}

impl Tale {
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

    /// Compares it with all that was published, in order.
    pub fn check(&self, published: &[Published]) {
        let wanted =
            |event: &&Published| self.selected.is_none_or(|topics| topics.meets(event.topics));
        let owed: Vec<_> = published.iter().filter(wanted).collect();
        let (mut next, mut resets) = (0, Vec::new());
        for entry in &self.entries {
            let data = match entry {
                Entry::Event(data) => data,
                Entry::Reset { at, oldest } => {
                    resets.push((*at, oldest.as_deref().and_then(seq)));
                    continue;
                }
            };
            let found = owed[next..].iter().position(|event| event.data == *data);
            let Some(skipped) = found else {
                panic!("repeated, out of order or not asked for: {data:?} in {self:#?}")
            };
            self.excuse(&owed[next..next + skipped], next == 0, &resets);
            next += skipped + 1;
        }
        self.excuse(&owed[next..], next == 0, &resets);
    }

    /// What was skipped must be from before the stream was open, or a reset must have said so.
    fn excuse(&self, skipped: &[&Published], nothing_had: bool, resets: &[(u64, Option<u64>)]) {
        let opened_at = self.opened_at.expect("it was open");
        for event in skipped {
            let too_early = (nothing_had || self.earliest) && event.sent_at < opened_at;
            let told = resets
                .iter()
                .any(|&(at, oldest)| event.sent_at < at && !self.was_left(event, oldest));
            assert!(too_early || told, "lost: {event:?} in {self:#?}");
        }
    }

    /// Of a single topic the oldest go first, so what is not older than the oldest was left and had
    /// to follow.
    fn was_left(&self, event: &Published, oldest: Option<u64>) -> bool {
        let single = self.selected.is_some_and(|topics| topics.0.count_ones() == 1);
        single && oldest.is_some_and(|oldest| event.seq().expect("no ids of their own") >= oldest)
    }
}
