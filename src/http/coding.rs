//! Content codings of publish bodies: gzip and zstd (RFC 9110 §8.4, RFC 8878).
//!
//! A body is decoded when all of it has arrived, in one call on its shard, so a slow publisher
//! holds no decoder. Decoding 1 MiB takes 1 to 4 ms. Beside the decoded body it needs 160 KiB or
//! less, and no window: zstd finds earlier data in the output.

use std::io::Read as _;

use flate2::bufread::GzDecoder;
use hyper::header::{CONTENT_ENCODING, HeaderMap};
use zstd_safe::zstd_sys::ZSTD_ErrorCode;
use zstd_safe::{DCtx, get_frame_content_size};

use super::problem::Problem;

/// `Accept-Encoding` of a response to a body in any other coding.
const ACCEPTED: &str = "gzip, zstd";

/// Size of the trailer of a gzip member, which ends with the size of the decoded data.
const GZIP_TRAILER_BYTES: usize = 8;

/// Members of a gzip body. Each has a decoder of its own, and can be empty.
const GZIP_MEMBERS_MAX: usize = 64;

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

    /// Decodes a body of at most `limit` bytes, and allocates no more than these.
    pub(super) fn decode(self, body: &[u8], limit: usize) -> Result<Vec<u8>, DecodeError> {
        let mut decoded = Vec::with_capacity(limit);
        match self {
            Self::Gzip => gunzip(body, &mut decoded, limit)?,
            Self::Zstd => unzstd(body, &mut decoded)?,
        }
        Ok(decoded)
    }
}

/// Several members in a row are one body, as for gzip(1).
fn gunzip(body: &[u8], decoded: &mut Vec<u8>, limit: usize) -> Result<(), DecodeError> {
    let mut rest = body;
    for _ in 0..GZIP_MEMBERS_MAX {
        let mut member = GzDecoder::new(rest);
        let mut within = member.by_ref().take((limit - decoded.len()) as u64);
        within.read_to_end(decoded).map_err(|_| DecodeError::Broken)?;
        // Also reads the checksum if the data ended exactly at the limit.
        match member.read(&mut [0]) {
            Ok(0) => rest = member.into_inner(),
            Ok(_) => return Err(DecodeError::TooLarge),
            Err(_) => return Err(DecodeError::Broken),
        }
        if rest.is_empty() {
            return Ok(());
        }
    }
    Err(DecodeError::Broken)
}

/// Several frames in a row are one body, as for zstd(1).
fn unzstd(body: &[u8], decoded: &mut Vec<u8>) -> Result<(), DecodeError> {
    const TOO_SMALL: usize = (ZSTD_ErrorCode::ZSTD_error_dstSize_tooSmall as usize).wrapping_neg();
    match DCtx::create().decompress(decoded, body) {
        // No frame at all is no error to zstd.
        Ok(_) if body.is_empty() => Err(DecodeError::Broken),
        Ok(_) => Ok(()),
        Err(TOO_SMALL) => Err(DecodeError::TooLarge),
        Err(_) => Err(DecodeError::Broken),
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
