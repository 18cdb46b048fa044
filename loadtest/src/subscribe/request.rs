//! A stream's request, from its template.

use super::message::RequestTemplate;

/// The name of topic `index` of `topics`: the base alone if there is but one.
pub fn topic_name(base: &str, index: u32, topics: u32) -> String {
    if topics == 1 { base.to_owned() } else { format!("{base}-{index}") }
}

impl RequestTemplate {
    /// The request of stream `stream`, which asks for topic `topic`, after the event `last_id` if
    /// it has one.
    pub(super) fn render(
        &self,
        stream: u64,
        topic: u32,
        topics: u32,
        last_id: Option<&[u8]>,
    ) -> Vec<u8> {
        let fill = |text: &str| {
            text.replace("{topic}", &topic_name(&self.topic, topic, topics))
                .replace("{stream}", &stream.to_string())
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
        let template = RequestTemplate {
            method: "GET".into(),
            path: "/e?topic={topic}&me={stream}".into(),
            host: "h:1".into(),
            headers: vec!["X-Me: {stream}".into()],
            topic: "t".into(),
        };
        let request = template.render(7, 1, 3, Some(b"9"));
        let wanted = "GET /e?topic=t-1&me=7 HTTP/1.1\r\nHost: h:1\r\nAccept: text/event-stream\r\nX-Me: 7\r\n\
            Last-Event-ID: 9\r\n\r\n";
        assert_eq!(String::from_utf8(request).expect("text"), wanted);
    }
}
