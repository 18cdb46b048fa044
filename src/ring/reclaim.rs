//! Interval-based memory reclamation: frees what the rings have unlinked once no reader can be
//! looking at it.
//!
//! Readers take no reference and no lock, so the writer can't know from an object alone whether it
//! is being read. Instead time is counted in *eras*. A [`Reader`](super::Reader) announces the
//! current era before it looks, and retracts when it has looked. An object records the era in which
//! it was published, its birth, and the one in which it was unlinked. A reader that announced era
//! `e` can look only at objects that were born in `e` or before and unlinked in `e` or after; every
//! other one can be freed. (Hazard eras: Ramalhete and Correia, SPAA 2017; interval-based
//! reclamation: Wen et al., PPoPP 2018.)
//!
//! Unlinked objects wait in a list. After every [`SCAN_ITEMS`] of them or [`SCAN_BYTES`], and when
//! the node is quiet, the writer begins a new era, reads all announcements, and frees what lived in
//! no announced era. [`SCAN_ITEMS`] is as many as there are readers, if that is more, and what the
//! last scan held back does not count; so what an object's share of a scan costs does not grow with
//! the number of readers.
//!
//! # Ordering
//!
//! | word | writer | readers | what becomes visible |
//! |---|---|---|---|
//! | `Era` | the writer, fence then Relaxed | readers, Relaxed then fence | what was unlinked |
//! | `Announcement` | its reader, Release | the writer, Acquire | the reader has looked |
//! | `Slot` ([`slot`](super::slot)) | the writer, Release | readers, Acquire | object, birth, era |
//! | fences, SeqCst | writer: unlink, fence, scan | reader: announce, fence, load | one or both |
//!
//! Models: `nothing_is_freed_while_it_is_read` and the others of `ring/model.rs`.
//!
//! Why that is enough. A reader announces era `e`, passes its fence and loads a pointer; then it
//! loads the era again and goes on only if that is still `e`.
//!
//! - *Born in `e` or before.* The writer reads the birth from `Era` before it stores the pointer.
//!   The reader's Acquire load of the pointer makes that era visible to its second load of `Era`,
//!   which yields at least the birth.
//! - *Unlinked in `e` or after.* If the object was unlinked in an earlier era, then before the
//!   fence that preceded the store of `e`. The reader's fence followed its load of `e`, so it
//!   synchronizes with the writer's, and the reader would have loaded what replaced the object.
//! - *The scan sees the announcement.* Of two SeqCst fences one comes first. If the writer's does,
//!   the reader's load finds the object unlinked. If the reader's does, the scan reads the
//!   announcement, or a later one of that reader, and then the reader has looked.
//! - *Through an object to another.* A ring's slots are in an array that is an object itself. A
//!   reader follows a pointer in it under the same announcement; if the era has changed, it begins
//!   again at the ring. An array that was replaced can hold pointers to epochs that are freed
//!   before it is; a reader that could see one announced an era that keeps both.
//!
//! # Bounds
//!
//! The list holds no more than what readers held back at the last scan, [`SCAN_BYTES`], and the
//! object that exceeds them. A reader holds back only what was in the rings in the era it announced
//! (with an array that it may be in, what the array held when it was replaced): objects born later
//! are freed past it, however long it stands still. A shard announces while it prepares the writes
//! of one call and never during a system call, so it stands still only while its thread is
//! preempted. What is held back counts as part of `FANFARE_WINDOW_BYTES`: the rings keep the less,
//! down to the two newest batches, so that a preempted shard makes the node neither wait nor grow.
#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::sync::{ArcSwap, AtomicU64, Liveness, Ordering, fence};

/// Unlinked objects after which the writer scans the announcements, at least.
pub(super) const SCAN_ITEMS: usize = 64;

/// Bytes of unlinked objects after which the writer scans, at least.
pub(crate) const SCAN_BYTES: usize = 1024 * 1024;

/// What a reader announces that looks at nothing. Eras count from 1.
const NONE: u64 = 0;

/// The current era. Alone on its cache lines (processors fetch them in pairs): every reader loads
/// it, and the writer stores it only when it scans.
#[repr(align(128))]
struct Era(AtomicU64);

/// The era in which a reader looks, or [`NONE`]. Alone on its cache lines, which stay with the
/// reader's core but for the scans.
#[repr(align(128))]
pub(super) struct Announcement(AtomicU64);

/// The readers of a set of rings, and what those rings have unlinked.
pub(super) struct Reclaimer {
    era: Era,
    /// Replaced as a whole when a reader registers or leaves, which waits for no writer.
    readers: ArcSwap<Vec<Arc<Announcement>>>,
    unlinked: Mutex<Unlinked>,
    scan_items: usize,
}

/// The right to change the slots of a reclaimer's rings.
pub(super) struct Writer<'a> {
    reclaimer: &'a Reclaimer,
    unlinked: MutexGuard<'a, Unlinked>,
}

/// An object that readers may look at, with the era in which it was published.
#[derive(Debug)]
pub(super) struct Dated<T> {
    born: u64,
    alive: Liveness,
    value: T,
}

/// What an object keeps allocated.
pub(super) trait Footprint: Send + Sync + 'static {
    /// An address that is the same for all objects that keep the same memory, and its size.
    fn footprint(&self) -> (usize, usize);
}

/// A [`Dated`] object of any type, which frees what it has when it is dropped.
trait Object: Send + Sync {
    /// Tells a model that the object is freed from here on.
    #[cfg(ring_loom)]
    fn end(&self);
}

/// What readers may still look at.
#[derive(Default)]
struct Unlinked {
    items: Vec<Item>,
    /// Bytes of `items`. Those of objects that were unlinked one after the other and keep the same
    /// memory count once.
    bytes: usize,
    /// The bytes that the last scan held back.
    held_bytes: usize,
    /// What the last object unlinked keeps allocated.
    last: usize,
    /// Items and bytes at which the writer scans.
    scan_at: (usize, usize),
    /// Eras announced, ascending; scratch of a scan.
    announced: Vec<u64>,
    /// In models nothing is deallocated before the end, so that a late use is found.
    #[cfg(ring_loom)]
    freed: Vec<Item>,
}

struct Item {
    born: u64,
    unlinked: u64,
    bytes: usize,
    #[cfg_attr(not(ring_loom), expect(dead_code, reason = "dropping it frees the object"))]
    object: Arc<dyn Object>,
}

impl Era {
    fn new() -> Self {
        Self(AtomicU64::new(NONE + 1))
    }

    /// The current era.
    fn current(&self) -> u64 {
        // Ordering: Relaxed. Before an announcement: the fence in `Announcement::announce` acquires
        // what was unlinked before this era. After the load of a slot: that load has acquired the
        // era in which its object was born. Pairs with `advance`. Models:
        // nothing_is_freed_while_it_is_read, a_held_era_does_not_cover_what_is_born_later.
        self.0.load(Ordering::Relaxed)
    }

    /// Begins the next era. The writer only.
    fn advance(&self) {
        // Ordering: Relaxed: the writer alone stores here, and the fence before it in
        // `Writer::scan` releases what was unlinked before the new era. Pairs with the fence in
        // `Announcement::announce`. Model: nothing_is_freed_while_it_is_read.
        self.0.store(self.0.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

impl Announcement {
    /// Announces `era` before a load of a slot. Its reader only.
    fn announce(&self, era: u64) {
        // Ordering: Release: a reader that announces a later era has looked at what it found in an
        // earlier one. Pairs with `announced`. Model: a_held_reader_announces_anew.
        self.0.store(era, Ordering::Release);
        // Ordering: SeqCst: the loads of slots that follow find what the writer has unlinked, or
        // the writer's scan finds the announcement. Pairs with the fence in `Writer::scan`. It also
        // acquires the era that was loaded before. Model: nothing_is_freed_while_it_is_read.
        fence(Ordering::SeqCst);
    }

    /// Announces that the reader looks at nothing. Its reader only.
    pub(super) fn retract(&self) {
        // Ordering: Release: the reader has looked. Pairs with `announced`. Model:
        // nothing_is_freed_while_it_is_read.
        self.0.store(NONE, Ordering::Release);
    }

    /// The era in which the reader looks.
    fn announced(&self) -> Option<u64> {
        // Ordering: Acquire: what the reader did before is done before anything is freed. Pairs
        // with `announce` and `retract`. Model: nothing_is_freed_while_it_is_read.
        Some(self.0.load(Ordering::Acquire)).filter(|&era| era != NONE)
    }
}

impl Reclaimer {
    /// Without readers.
    pub(super) fn new() -> Self {
        Self::scanning_every(SCAN_ITEMS)
    }

    /// Scans once `items` objects are unlinked, at least.
    pub(super) fn scanning_every(items: usize) -> Self {
        Self {
            era: Era::new(),
            readers: ArcSwap::from_pointee(Vec::new()),
            unlinked: Mutex::new(Unlinked { scan_at: (items, SCAN_BYTES), ..Unlinked::default() }),
            scan_items: items,
        }
    }

    /// Adds a reader, which looks at nothing yet.
    pub(super) fn register(&self) -> Arc<Announcement> {
        let new = Arc::new(Announcement(AtomicU64::new(NONE)));
        self.readers.rcu(|readers| readers.iter().chain([&new]).cloned().collect::<Vec<_>>());
        new
    }

    /// Removes a reader that looks at nothing.
    pub(super) fn deregister(&self, gone: &Arc<Announcement>) {
        let stays = |reader: &&Arc<Announcement>| !Arc::ptr_eq(reader, gone);
        self.readers.rcu(|readers| readers.iter().filter(stays).cloned().collect::<Vec<_>>());
    }

    /// Announces the current era by `announcement`, and returns it.
    pub(super) fn announce(&self, announcement: &Announcement) -> u64 {
        let era = self.era.current();
        announcement.announce(era);
        era
    }

    /// Whether the era is still this one.
    pub(super) fn is_current(&self, era: u64) -> bool {
        self.era.current() == era
    }

    /// Waits for whoever changes a ring of this reclaimer.
    pub(super) fn writer(&self) -> Writer<'_> {
        // A panic can't leave the list half changed.
        let unlinked = self.unlinked.lock().unwrap_or_else(PoisonError::into_inner);
        Writer { reclaimer: self, unlinked }
    }
}

impl Writer<'_> {
    /// Dates a new object, which is published in the current era or later.
    pub(super) fn date<T>(&self, value: T) -> Arc<Dated<T>> {
        Arc::new(Dated { born: self.reclaimer.era.current(), alive: Liveness::new(), value })
    }

    /// Keeps an object that no slot points to any more until no reader can be looking at it.
    pub(super) fn retire<T: Footprint>(&mut self, object: Arc<Dated<T>>) {
        let (address, mut bytes) = object.value.footprint();
        let unlinked = &mut *self.unlinked;
        if std::mem::replace(&mut unlinked.last, address) == address {
            bytes = 0;
        }
        unlinked.bytes += bytes;
        let (born, now) = (object.born, self.reclaimer.era.current());
        unlinked.items.push(Item { born, unlinked: now, bytes, object });
        if unlinked.items.len() >= unlinked.scan_at.0 || unlinked.bytes >= unlinked.scan_at.1 {
            self.scan();
        }
    }

    /// The bytes that readers held back at the last scan.
    pub(super) fn held_bytes(&self) -> usize {
        self.unlinked.held_bytes
    }

    /// Frees every unlinked object that no reader can be looking at.
    pub(super) fn scan(&mut self) {
        let unlinked = &mut *self.unlinked;
        if unlinked.items.is_empty() {
            return;
        }
        // Ordering: SeqCst: a reader whose announcement is not found below, or who announces the
        // new era, finds everything in `items` unlinked. Pairs with the fence in
        // `Announcement::announce`. Model: nothing_is_freed_while_it_is_read.
        fence(Ordering::SeqCst);
        self.reclaimer.era.advance();
        unlinked.announced.clear();
        let readers = self.reclaimer.readers.load();
        unlinked.announced.extend(readers.iter().filter_map(|reader| reader.announced()));
        unlinked.announced.sort_unstable();
        unlinked.free_unseen();
        let items = 2 * unlinked.items.len() + self.reclaimer.scan_items.max(readers.len());
        unlinked.scan_at = (items, unlinked.bytes + SCAN_BYTES);
        unlinked.items.shrink_to(2 * items);
    }
}

impl Unlinked {
    /// Frees the items that lived in none of the eras announced.
    fn free_unseen(&mut self) {
        let announced = &self.announced;
        let is_seen = |item: &Item| {
            let from = announced.partition_point(|&era| era < item.born);
            announced.get(from).is_some_and(|&era| era <= item.unlinked)
        };
        let freed = self.items.extract_if(.., |item| !is_seen(item));
        #[cfg(not(ring_loom))]
        freed.for_each(drop);
        #[cfg(ring_loom)]
        self.freed.extend(freed.inspect(|item| item.object.end()));
        self.bytes = self.items.iter().map(|item| item.bytes).sum();
        self.held_bytes = self.bytes;
        // The memory of the last item may be another one's by now.
        self.last = 0;
    }
}

impl<T> Dated<T> {
    /// The object, which must not have been freed.
    pub(super) fn get(&self) -> &T {
        self.alive.check();
        &self.value
    }
}

impl<T: Footprint> Object for Dated<T> {
    #[cfg(ring_loom)]
    fn end(&self) {
        self.alive.end();
    }
}
