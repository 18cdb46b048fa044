//! The template of subscription requests.

use serde::{Deserialize, Serialize};

use crate::scenario::{Scenario, Target, TopicNames};

/// `{topic}`, `{topics}` and `{stream}` are filled in, in path and headers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RequestTemplate {
    method: String,
    path: String,
    host: String,
    headers: Vec<String>,
    topics: TopicNames,
}

impl RequestTemplate {
    pub(crate) fn new(scenario: &Scenario, topics: TopicNames, target: &Target) -> Self {
        Self {
            method: scenario.subscribe_method.clone(),
            path: scenario.subscribe.clone(),
            host: target.host.clone(),
            headers: scenario.subscribe_headers.clone(),
            topics,
        }
    }

    /// The request of stream `stream` for topic `topic`, resuming after `last_id`.
    pub(crate) fn render(&self, stream: u64, topic: u32, last_id: Option<&[u8]>) -> Vec<u8> {
        let fill = |text: &str| {
            self.topics.fill_subscription(text, topic).replace("{stream}", &stream.to_string())
        };
        let Self { method, path, host, headers, .. } = self;
        let mut request =
            format!("{method} {} HTTP/1.1\r\nHost: {host}\r\n", fill(path)).into_bytes();
        request.extend_from_slice(b"Accept: text/event-stream\r\n");
        for header in headers {
            request.extend_from_slice(fill(header).as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        if let Some(id) = last_id {
            request.extend_from_slice(b"Last-Event-ID: ");
            request.extend_from_slice(id);
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_stream_and_id_are_filled_in() {
        let scenario = Scenario {
            subscribe: "/e?topic={topic}&me={stream}".into(),
            subscribe_headers: vec!["X-Me: {stream}".into()],
            topic: "t".into(),
            topics: 3,
            ..Scenario::default()
        };
        let target = Target::parse("http://127.0.0.1:1").expect("valid");
        let topics = scenario.groups().remove(0).names;
        let request = RequestTemplate::new(&scenario, topics, &target).render(7, 1, Some(b"9"));
        let expected = "GET /e?topic=t-1&me=7 HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\
            Accept: text/event-stream\r\nX-Me: 7\r\nLast-Event-ID: 9\r\n\r\n";
        assert_eq!(String::from_utf8(request).expect("text"), expected);
    }
}
