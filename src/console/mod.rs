//! Web console at `/`: one self-contained HTML page with a publish form and a live list of events.

#![forbid(unsafe_code)]

use bytes::Bytes;

/// Content Security Policy of the page: allows only its inline script and style, identified by
/// their hashes, and connections to its own node. After a change of the page, the browser test
/// (`tests/it/page.rs`) fails and prints the new hashes.
pub const POLICY: &str = "default-src 'none'; \
    script-src 'sha256-Cn0Ra8O/bNsv95TUrVN7BrIISX9Kv1NekeAsvwG/iOA='; \
    style-src 'sha256-zKcjYXsdSs9Pbcvvlv7rHCswgs/EasepoMRtGeV/y1w='; \
    connect-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The HTML document.
pub(crate) fn page() -> Bytes {
    Bytes::from_static(include_bytes!("index.html"))
}
