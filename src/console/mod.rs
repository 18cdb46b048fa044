//! The page at `/`: a publish form and a live list of events, in one self-contained document.
#![forbid(unsafe_code)]

use bytes::Bytes;

/// What the page may do, for `Content-Security-Policy`: run its own script and wear its own style,
/// known by their hashes, and talk to its own node. Whoever changes the page is told the new hashes
/// by the browser's test (`tests/it/page/`), which fails while they are old.
pub const POLICY: &str = "default-src 'none'; \
    script-src 'sha256-SRKpDXWK2TTuM308Lz9WzvdUGZCZFKZC3efy3ZMF9wE='; \
    style-src 'sha256-DefS2JIK2g71xIfFC27y9CFSxD5DKVHZeORtlLl8WIc='; \
    connect-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The page, HTML.
pub fn page() -> Bytes {
    Bytes::from_static(include_bytes!("index.html"))
}
