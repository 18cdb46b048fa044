//! The page at `/`: a publish form and a live list of events, in one self-contained document.

use bytes::Bytes;

/// The page, HTML.
pub fn page() -> Bytes {
    Bytes::from_static(include_bytes!("index.html"))
}
