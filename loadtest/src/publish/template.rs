//! The template of publish requests.

use crate::measure::stamp::{self, Stamp};
use crate::scenario::{Scenario, Target, TopicNames};

/// `{topic}`, `{topics}`, `{data}` and `{number}` are filled in, in path, headers and body.
#[derive(Clone, Debug)]
pub(crate) struct PublishTemplate {
    method: String,
    path: String,
    host: String,
    content_type: String,
    headers: Vec<String>,
    body: String,
    topics: TopicNames,
}

impl PublishTemplate {
    pub(crate) fn new(scenario: &Scenario, topics: TopicNames, target: &Target) -> Self {
        Self {
            method: scenario.publish_method.clone(),
            path: scenario.publish.clone(),
            host: target.host.clone(),
            content_type: scenario.content_type.clone(),
            headers: scenario.publish_headers.clone(),
            body: scenario.body.clone(),
            topics,
        }
    }

    /// Appends the request of one event to `out`.
    pub(super) fn render(&self, run_id: u32, stamp: Stamp, size: usize, out: &mut Vec<u8>) {
        let data = stamp::data(run_id, stamp, size);
        let fill = |text: &str| {
            self.topics
                .fill_event(text, stamp.topic, stamp.number)
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
