//! Reads the body of a publish, within the limits of its size, its time, its rate and the node's
//! `FANFARE_QUEUE_BYTES`.
//!
//! Memory is reserved from that budget as the body arrives, not by what a publisher announces: a
//! slow one holds what it has sent. When the budget is spent, the body that needs more of it is
//! refused, which frees what it had for the others.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::{Body as _, Incoming};
use tokio::task::yield_now;
use tokio::time::{Instant, timeout_at};

use super::coding::{Coding, DecodeError, Decoder};
use super::problem::Problem;
use super::publication::PublishError;
use crate::conn::ShardHandle;
use crate::core::Core;
use crate::sequencer::{ByteReservation, QueueFull};

/// How often the rate of a body is checked. Shorter, and a lost packet would look like a slow
/// publisher.
const RATE_INTERVAL: Duration = Duration::from_secs(5);

/// A whole body, with its share of the byte budget.
pub(super) struct Body {
    pub(super) bytes: Bytes,
    pub(super) reservation: ByteReservation,
}

/// Reads a body and, if it has one, removes its content coding.
///
/// # Errors
///
/// The limit it exceeds; 400 if it is broken.
///
/// # Cancel safety
///
/// Dropped, it returns its share of the budget.
pub(super) async fn read(
    shard: &ShardHandle,
    body: &mut Incoming,
    coding: Option<Coding>,
) -> Result<Body, Problem> {
    let buffer = collect(&shard.core, body).await?;
    let Some(coding) = coding else { return Ok(buffer.finish()) };
    let _permit = shard.decoder.acquire().await.expect("it is never closed");
    decode(&shard.core, &buffer, coding).await
}

async fn collect(core: &Core, body: &mut Incoming) -> Result<Buffer, Problem> {
    let config = &core.config;
    let limit = config.event_bytes_max;
    let announced = body.size_hint().exact();
    if announced.is_some_and(|announced| announced > limit as u64) {
        return Err(PublishError::TooLarge { limit }.into());
    }
    let expected = announced.map_or(limit, |announced| announced as usize);
    let mut buffer = Buffer::new(core.queue.reserve(0)?, expected);
    let now = Instant::now();
    let deadline = now + config.body_timeout;
    let mut rate = Rate::new(config.body_rate_min, now);
    loop {
        let Ok(frame) = timeout_at(deadline.min(rate.due()), body.frame()).await else {
            let now = Instant::now();
            if now >= deadline {
                return Err(Problem::timeout(config.body_timeout));
            }
            if !rate.check(buffer.bytes.len(), now) {
                return Err(Problem::too_slow(config.body_rate_min));
            }
            continue;
        };
        let Some(frame) = frame else { return Ok(buffer) };
        let frame = frame.map_err(|error| {
            Problem::new(StatusCode::BAD_REQUEST, format!("the body could not be read: {error}"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if buffer.bytes.len() + data.len() > limit {
            return Err(PublishError::TooLarge { limit }.into());
        }
        buffer.push(&data)?;
    }
}

/// Removes a body's coding. Both forms are reserved until the encoded one is dropped.
async fn decode(core: &Core, encoded: &Buffer, coding: Coding) -> Result<Body, Problem> {
    let budget = usize::try_from(core.config.queue_bytes).unwrap_or(usize::MAX);
    // More than the whole budget would be refused each time.
    let room = budget.saturating_sub(encoded.reserved);
    let limit = core.config.event_bytes_max.min(room);
    let too_large = || Problem::from(PublishError::TooLargeDecoded { limit });
    let stated = coding.stated_size(&encoded.bytes);
    // What a body states of itself saves memory if it is true, and a second attempt costs no more
    // than the first if it is not.
    let first = stated.and_then(|stated| usize::try_from(stated).ok()).unwrap_or(limit).min(limit);
    let mut reservation = core.queue.reserve(first)?;
    let mut decoded = decode_to(first, &encoded.bytes, coding).await;
    if decoded == Err(DecodeError::TooLarge) && first < limit {
        reservation.extend(limit - first)?;
        decoded = decode_to(limit, &encoded.bytes, coding).await;
    }
    match decoded {
        Ok(mut decoded) => {
            decoded.shrink_to_fit();
            reservation.shrink_to(decoded.len());
            Ok(Body { bytes: decoded.into(), reservation })
        }
        Err(DecodeError::TooLarge) => Err(too_large()),
        Err(DecodeError::Broken) => Err(PublishError::BadCoding { coding: coding.name() }.into()),
    }
}

async fn decode_to(limit: usize, body: &[u8], coding: Coding) -> Result<Vec<u8>, DecodeError> {
    let mut decoder = Decoder::new(coding, body, limit);
    while !decoder.step()? {
        yield_now().await;
    }
    Ok(decoder.finish())
}

/// The part of a body that has arrived.
struct Buffer {
    bytes: Vec<u8>,
    reservation: ByteReservation,
    /// The bytes in `reservation`: the capacity of `bytes`.
    reserved: usize,
    /// The body's size, or the most it can be.
    expected: usize,
}

impl Buffer {
    fn new(reservation: ByteReservation, expected: usize) -> Self {
        Self { bytes: Vec::new(), reservation, reserved: 0, expected }
    }

    /// Appends data. The capacity is doubled when it is used up, as far as the body can need it and
    /// the budget has it.
    fn push(&mut self, data: &[u8]) -> Result<(), QueueFull> {
        let needed = self.bytes.len() + data.len();
        if needed > self.reserved {
            let ample = (2 * self.reserved).min(self.expected).max(needed);
            let grown = match self.reservation.extend(ample - self.reserved) {
                Ok(()) => ample,
                Err(_) => {
                    self.reservation.extend(needed - self.reserved)?;
                    needed
                }
            };
            self.bytes.reserve_exact(grown - self.bytes.len());
            self.reserved = grown;
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    fn finish(self) -> Body {
        Body { bytes: self.bytes.into(), reservation: self.reservation }
    }
}

/// The rate at which a body arrives, checked once per [`RATE_INTERVAL`]: a body that came fast and
/// then stops is noticed as well.
struct Rate {
    min: u64,
    since: Instant,
    had: usize,
}

impl Rate {
    fn new(min: u64, now: Instant) -> Self {
        Self { min, since: now, had: 0 }
    }

    /// When to call [`check`](Self::check) next.
    fn due(&self) -> Instant {
        self.since + RATE_INTERVAL
    }

    /// Whether enough has arrived since the last check; `received` is the body's size so far.
    fn check(&mut self, received: usize, now: Instant) -> bool {
        let (elapsed, arrived) = (now - self.since, received - self.had);
        (self.since, self.had) = (now, received);
        // Later than that, the node itself stood still, and what has arrived was not read yet.
        let on_time = elapsed < 2 * RATE_INTERVAL;
        !on_time || arrived as f64 >= self.min as f64 * elapsed.as_secs_f64()
    }
}

#[cfg(all(test, not(ring_loom)))]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::sequencer::Queue;

    fn buffer(queue: &Queue, expected: usize) -> Buffer {
        Buffer::new(queue.reserve(0).unwrap(), expected)
    }

    fn used(queue: &Queue, budget: usize) -> usize {
        let left = (0..=budget).rev().find(|&bytes| queue.reserve(bytes).is_ok());
        budget - left.unwrap()
    }

    #[test]
    fn a_body_reserves_what_has_arrived_and_returns_it() {
        let queue = Queue::new(1, 1000);
        let mut body = buffer(&queue, 800);
        assert_eq!(used(&queue, 1000), 0);
        for (piece, reserved) in [(10, 10), (1, 20), (9, 20), (200, 220), (200, 440), (380, 800)] {
            body.push(&vec![b'x'; piece]).unwrap();
            assert_eq!((used(&queue, 1000), body.bytes.capacity()), (reserved, reserved));
        }
        let body = body.finish();
        assert_eq!(body.bytes.len(), 800);
        assert_eq!(used(&queue, 1000), 800);
        drop(body);
        assert_eq!(used(&queue, 1000), 0);
    }

    #[test]
    fn a_body_takes_the_rest_of_the_budget_before_it_is_refused() {
        let queue = Queue::new(1, 100);
        let (mut first, mut second) = (buffer(&queue, 100), buffer(&queue, 100));
        first.push(&[0; 40]).unwrap();
        second.push(&[0; 40]).unwrap();
        // Not doubled: 20 are left.
        first.push(&[0; 15]).unwrap();
        assert_eq!(second.push(&[0; 6]), Err(QueueFull::Bytes(100)));
        drop(second);
        first.push(&[0; 45]).unwrap();
        assert_eq!(used(&queue, 100), 100);
    }

    async fn decoded(
        config: &Config,
        encoded: &[u8],
        coding: Coding,
    ) -> Result<(usize, usize), u16> {
        let budget = usize::try_from(config.queue_bytes).unwrap();
        let core = Core::for_test(config.clone());
        let mut body = buffer(&core.queue, encoded.len());
        body.push(encoded).unwrap();
        let decoded = decode(&core, &body, coding).await;
        let decoded = decoded.map_err(|problem| problem.status.as_u16());
        drop(body);
        decoded.map(|body| (body.bytes.len(), used(&core.queue, budget)))
    }

    #[tokio::test]
    async fn a_decoded_body_reserves_its_size_whatever_it_states() {
        let config = Config { event_bytes_max: 2000, queue_bytes: 4000, ..Config::default() };
        let frame = |body: &[u8]| {
            let mut frame = Vec::with_capacity(zstd_safe::compress_bound(body.len()));
            zstd_safe::compress(&mut frame, body, 3).unwrap();
            frame
        };
        for (body, result) in [
            (frame(&[0; 1500]), Ok((1500, 1500))),
            // The first of two frames states its own size.
            ([frame(&[0; 10]), frame(&[0; 90])].concat(), Ok((100, 100))),
            (frame(&[0; 2001]), Err(413)),
            (b"not zstd".to_vec(), Err(400)),
        ] {
            assert_eq!(decoded(&config, &body, Coding::Zstd).await, result);
        }
        // Beside its encoded form it would exceed the whole budget, now and later.
        let small = Config { queue_bytes: 2000, ..config };
        assert_eq!(decoded(&small, &frame(&[0; 2000]), Coding::Zstd).await, Err(413));
    }

    #[test]
    fn a_rate_is_that_of_each_interval() {
        let start = Instant::now();
        let mut rate = Rate::new(100, start);
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        assert_eq!(rate.due(), at(5));
        assert!(rate.check(100_000, at(5)), "fast");
        assert!(rate.check(100_500, at(10)), "just fast enough");
        assert!(!rate.check(100_999, at(15)), "too slow, although fast at first");
        let mut rate = Rate::new(100, start);
        assert!(rate.check(0, at(60)), "the node stood still");
        assert!(!rate.check(499, at(65)));
        assert!(Rate::new(0, start).check(0, at(5)), "no minimum");
    }
}
