//! A publish request, from its template.

use crate::measure::stamp::{self, Stamp};
use crate::subscribe::request::topic_name;

/// How a publish is put together: `{topic}`, `{data}` and `{number}` are filled in, in path,
/// headers and body.
#[derive(Clone, Debug)]
pub struct PublishTemplate {
    /// Such as POST.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The `Host` header.
    pub host: String,
    /// The `Content-Type` header.
    pub content_type: String,
    /// Further header lines, without line ends.
    pub headers: Vec<String>,
    /// The body.
    pub body: String,
    /// The name of the topic, or what the names of several start with.
    pub topic: String,
}

impl PublishTemplate {
    /// Appends the request of one event to `out`.
    pub(super) fn render(
        &self,
        run: u32,
        stamp: Stamp,
        topics: u32,
        size: usize,
        out: &mut Vec<u8>,
    ) {
        let topic = topic_name(&self.topic, stamp.topic, topics);
        let data = stamp::data(run, stamp, size);
        let fill = |text: &str| {
            text.replace("{topic}", &topic)
                .replace("{data}", &data)
                .replace("{number}", &stamp.number.to_string())
        };
        let body = fill(&self.body);
        let Self { method, path, host, content_type, .. } = self;
        let path = fill(path);
        out.extend_from_slice(format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n").as_bytes());
        out.extend_from_slice(format!("Content-Type: {content_type}\r\n").as_bytes());
        for header in &self.headers {
            out.extend_from_slice(fill(header).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(format!("Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes());
    }
}
