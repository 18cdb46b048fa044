//! Content codings of publish bodies: gzip and zstd (RFC 9110 §8.4, RFC 8878).
//!
//! A body is decoded when all of it has arrived, so a slow publisher holds no decoder, and in
//! steps, between which the shard runs its other tasks: a body can be made to take a hundred times
//! as long as others of its size. Beside the decoded body a decoder needs 300 KiB or less.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;
use hyper::header::{CONTENT_ENCODING, HeaderMap};
use zstd_safe::zstd_sys::ZSTD_ErrorCode;
use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, get_frame_content_size};

use super::problem::Problem;

/// `Accept-Encoding` of a response to a body in any other coding.
const ACCEPTED: &str = "gzip, zstd";

/// Size of the trailer of a gzip member, which ends with the size of the decoded data.
const GZIP_TRAILER_BYTES: usize = 8;

/// Members of a gzip body. Each has a decoder of its own, and can be empty.
const GZIP_MEMBERS_MAX: usize = 64;

/// Encoded bytes per step. At worst they take a millisecond, or as long as writing 4 MiB.
const STEP_BYTES: usize = 4096;

/// The coding of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    Zstd,
}

/// Why a body can't be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DecodeError {
    /// It is larger than the limit.
    TooLarge,
    /// It is not in its coding.
    Broken,
}

impl Coding {
    /// The coding that the request names; `None` if its body is sent as is.
    ///
    /// # Errors
    ///
    /// 415 for another coding, and for several.
    pub(super) fn of(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let unsupported = || Problem::unsupported_content_coding(ACCEPTED);
        let mut found = None;
        for line in headers.get_all(CONTENT_ENCODING) {
            let line = line.to_str().map_err(|_| unsupported())?;
            for name in line.split(',').map(str::trim).filter(|name| !name.is_empty()) {
                let coding = Self::named(name).filter(|_| found.is_none());
                found = Some(coding.ok_or_else(unsupported)?);
            }
        }
        Ok(found)
    }

    fn named(name: &str) -> Option<Self> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        // The older name means the same (RFC 9110 §8.4.1.3).
        if is("gzip") || is("x-gzip") {
            return Some(Self::Gzip);
        }
        is("zstd").then_some(Self::Zstd)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// The size of the decoded body as the body states it, which may be wrong; `None` if it does
    /// not.
    pub(super) fn stated_size(self, body: &[u8]) -> Option<u64> {
        match self {
            Self::Gzip if body.len() >= GZIP_TRAILER_BYTES => {
                body.last_chunk().map(|size| u32::from_le_bytes(*size).into())
            }
            Self::Gzip => None,
            Self::Zstd => get_frame_content_size(body).ok().flatten(),
        }
    }
}

/// A body that is being decoded.
pub(super) struct Decoder<'a> {
    decoded: Vec<u8>,
    limit: usize,
    state: State<'a>,
}

enum State<'a> {
    Gzip { member: Box<GzDecoder<Steps<'a>>>, members: usize },
    Zstd { context: DCtx<'static>, rest: &'a [u8], in_frame: bool },
}

impl<'a> Decoder<'a> {
    /// Decodes to at most `limit` bytes, and allocates no more than these.
    pub(super) fn new(coding: Coding, body: &'a [u8], limit: usize) -> Self {
        let state = match coding {
            Coding::Gzip => {
                let input = Steps { rest: body, left: 0 };
                State::Gzip { member: Box::new(GzDecoder::new(input)), members: 1 }
            }
            Coding::Zstd => {
                let mut context = DCtx::create();
                // The decoder then finds earlier data in the output, and needs no window.
                let stable = context.set_parameter(DParameter::StableOutBuffer(true));
                stable.expect("this zstd has the parameter");
                State::Zstd { context, rest: body, in_frame: true }
            }
        };
        Self { decoded: Vec::with_capacity(limit), limit, state }
    }

    /// Decodes the next [`STEP_BYTES`] of the body; true if these were the last.
    pub(super) fn step(&mut self) -> Result<bool, DecodeError> {
        match &mut self.state {
            State::Gzip { member, members } => {
                member.get_mut().left = STEP_BYTES;
                gunzip(member, members, &mut self.decoded, self.limit)
            }
            State::Zstd { context, rest, in_frame } => {
                let (now, later) = rest.split_at(rest.len().min(STEP_BYTES));
                *rest = later;
                unzstd(context, now, in_frame, &mut self.decoded)?;
                match (later, *in_frame) {
                    ([], true) => Err(DecodeError::Broken),
                    ([], false) => Ok(true),
                    _ => Ok(false),
                }
            }
        }
    }

    /// The decoded body, after the last step.
    pub(super) fn finish(self) -> Vec<u8> {
        self.decoded
    }
}

/// Decodes until the input blocks; true at its end. Several members in a row are one body, as for
/// gzip(1).
fn gunzip(
    member: &mut GzDecoder<Steps<'_>>,
    members: &mut usize,
    decoded: &mut Vec<u8>,
    limit: usize,
) -> Result<bool, DecodeError> {
    loop {
        let room = (limit - decoded.len()) as u64;
        let mut ended = member.by_ref().take(room).read_to_end(decoded);
        if ended.is_ok() {
            // Also reads the checksum if the data ended exactly at the limit.
            ended = member.read(&mut [0]);
        }
        match ended {
            Ok(0) => {}
            Ok(_) => return Err(DecodeError::TooLarge),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(_) => return Err(DecodeError::Broken),
        }
        let input = *member.get_ref();
        if input.rest.is_empty() {
            return Ok(true);
        }
        if *members == GZIP_MEMBERS_MAX {
            return Err(DecodeError::Broken);
        }
        *members += 1;
        *member = GzDecoder::new(input);
    }
}

/// Decodes all of `input`. Several frames in a row are one body, as for zstd(1).
fn unzstd(
    context: &mut DCtx<'_>,
    input: &[u8],
    in_frame: &mut bool,
    decoded: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    const TOO_SMALL: usize = (ZSTD_ErrorCode::ZSTD_error_dstSize_tooSmall as usize).wrapping_neg();
    const FULL: usize =
        (ZSTD_ErrorCode::ZSTD_error_noForwardProgress_destFull as usize).wrapping_neg();
    let mut input = InBuffer::around(input);
    while input.pos() < input.src.len() {
        let at = decoded.len();
        let mut output = OutBuffer::around_pos(decoded, at);
        match context.decompress_stream(&mut output, &mut input) {
            // 0 at the end of a frame, else a hint about the input.
            Ok(hint) => *in_frame = hint != 0,
            Err(TOO_SMALL | FULL) => return Err(DecodeError::TooLarge),
            Err(_) => return Err(DecodeError::Broken),
        }
    }
    Ok(())
}

/// The rest of a body, which would block after each step.
#[derive(Clone, Copy)]
struct Steps<'a> {
    rest: &'a [u8],
    /// Bytes left of this step.
    left: usize,
}

impl Read for Steps<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Steps<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.left == 0 && !self.rest.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(&self.rest[..self.rest.len().min(self.left)])
    }

    fn consume(&mut self, read: usize) {
        self.rest = &self.rest[read..];
        self.left -= read;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use hyper::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const BOTH: [Coding; 2] = [Coding::Gzip, Coding::Zstd];

    fn encode(coding: Coding, body: &[u8]) -> Vec<u8> {
        match coding {
            Coding::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(body).unwrap();
                encoder.finish().unwrap()
            }
            Coding::Zstd => {
                let mut encoded = Vec::with_capacity(zstd_safe::compress_bound(body.len()));
                zstd_safe::compress(&mut encoded, body, 3).unwrap();
                encoded
            }
        }
    }

    impl Coding {
        fn decode(self, body: &[u8], limit: usize) -> Result<Vec<u8>, DecodeError> {
            let mut decoder = Decoder::new(self, body, limit);
            while !decoder.step()? {}
            Ok(decoder.finish())
        }
    }

    fn of(lines: &[&str]) -> Result<Option<Coding>, Option<&'static str>> {
        let lines = lines.iter().map(|line| HeaderValue::from_bytes(line.as_bytes()).unwrap());
        let headers = lines.map(|line| (CONTENT_ENCODING, line)).collect();
        Coding::of(&headers).map_err(|problem| {
            assert_eq!(problem.status.as_u16(), 415);
            problem.accept_encoding
        })
    }

    #[test]
    fn a_body_has_one_known_coding_or_none() {
        for none in [&[][..], &[""], &[",", " "]] {
            assert_eq!(of(none), Ok(None), "{none:?}");
        }
        for (line, coding) in [
            ("gzip", Coding::Gzip),
            ("GZip", Coding::Gzip),
            ("x-gzip", Coding::Gzip),
            (" zstd ,", Coding::Zstd),
        ] {
            assert_eq!(of(&[line]), Ok(Some(coding)), "{line}");
        }
        for other in [
            &["br"][..],
            &["deflate"],
            &["identity"],
            &["gzip, gzip"],
            &["gzip", "zstd"],
            &["gzip;q=1"],
            &["é"],
        ] {
            assert_eq!(of(other), Err(Some("gzip, zstd")), "{other:?}");
        }
    }

    #[test]
    fn a_body_up_to_the_limit_is_decoded_without_growing() {
        for coding in BOTH {
            for body in [&b""[..], b"x", &[b'x'; 100_000]] {
                let encoded = encode(coding, body);
                assert_eq!(coding.stated_size(&encoded), Some(body.len() as u64));
                let decoded = coding.decode(&encoded, body.len()).unwrap();
                assert_eq!((&decoded[..], decoded.capacity()), (body, body.len()), "{coding:?}");
                assert_eq!(coding.decode(&encoded, body.len() + 1).unwrap(), body);
                if let Some(less) = body.len().checked_sub(1) {
                    assert_eq!(coding.decode(&encoded, less), Err(DecodeError::TooLarge));
                }
            }
        }
    }

    /// Random data does not compress, so that the body takes many steps.
    #[test]
    fn a_body_of_many_steps_is_decoded_whole() {
        let mut random = fastrand::Rng::with_seed(1);
        let body: Vec<u8> = (0..50 * STEP_BYTES).map(|_| random.u8(..)).collect();
        for coding in BOTH {
            let encoded = encode(coding, &body);
            let mut decoder = Decoder::new(coding, &encoded, body.len());
            let mut steps = 1;
            while !decoder.step().unwrap() {
                steps += 1;
            }
            assert!(decoder.finish() == body, "{coding:?}");
            assert_eq!(steps, encoded.len().div_ceil(STEP_BYTES), "{coding:?}");
            let less = coding.decode(&encoded, body.len() - 1);
            assert_eq!(less, Err(DecodeError::TooLarge), "{coding:?}");
        }
    }

    #[test]
    fn members_and_frames_in_a_row_are_one_body() {
        for coding in BOTH {
            let encoded = [encode(coding, b"one "), encode(coding, b"two")].concat();
            assert_eq!(coding.decode(&encoded, 7).unwrap(), b"one two");
            assert_eq!(coding.decode(&encoded, 6), Err(DecodeError::TooLarge));
        }
        let empty = |members| encode(Coding::Gzip, b"").repeat(members);
        assert_eq!(Coding::Gzip.decode(&empty(GZIP_MEMBERS_MAX), 0), Ok(vec![]));
        let more = Coding::Gzip.decode(&empty(GZIP_MEMBERS_MAX + 1), 0);
        assert_eq!(more, Err(DecodeError::Broken));
    }

    #[test]
    fn a_broken_body_is_refused_wherever_it_is_broken() {
        for coding in BOTH {
            let encoded = encode(coding, &b"some data, some more data ".repeat(20));
            for end in 0..encoded.len() {
                assert!(coding.decode(&encoded[..end], 1000).is_err(), "{coding:?} {end}");
            }
            let trailing = [&encoded, &b"x"[..]].concat();
            assert_eq!(coding.decode(&trailing, 1000), Err(DecodeError::Broken), "{coding:?}");
            assert_eq!(coding.decode(b"not encoded", 1000), Err(DecodeError::Broken));
        }
        let mut wrong = encode(Coding::Gzip, b"data");
        let checksum = wrong.len() - GZIP_TRAILER_BYTES;
        wrong[checksum] ^= 1;
        for limit in [4, 5] {
            assert_eq!(Coding::Gzip.decode(&wrong, limit), Err(DecodeError::Broken));
        }
    }

    #[test]
    fn a_body_that_decodes_to_gigabytes_stops_at_the_limit() {
        let gigabyte = {
            let member = encode(Coding::Gzip, &vec![0; 1 << 24]);
            member.repeat(64)
        };
        assert_eq!(Coding::Gzip.decode(&gigabyte, 1000), Err(DecodeError::TooLarge));
        let frames = encode(Coding::Zstd, &vec![0; 1 << 24]).repeat(64);
        assert_eq!(Coding::Zstd.decode(&frames, 1000), Err(DecodeError::TooLarge));
    }

    proptest! {
        #[test]
        fn any_body_is_decoded_as_it_was_encoded(body: Vec<u8>) {
            for coding in BOTH {
                let decoded = coding.decode(&encode(coding, &body), body.len());
                prop_assert_eq!(decoded, Ok(body.clone()));
            }
        }

        #[test]
        fn no_input_panics_or_exceeds_the_limit(body: Vec<u8>, limit in 0..100usize) {
            let magics = [&b"\x1f\x8b\x08\0"[..], b"\x28\xb5\x2f\xfd"];
            for (coding, magic) in BOTH.into_iter().zip(magics) {
                for input in [body.clone(), [magic, &body].concat()] {
                    coding.stated_size(&input);
                    if let Ok(decoded) = coding.decode(&input, limit) {
                        prop_assert!(decoded.len() <= limit);
                    }
                }
            }
        }
    }
}
