//! HTTP/1.1 messages as a client writes and reads them; what RFC 9112 does not allow is a panic.

use serde_json::Value;

/// A request.
#[derive(Clone)]
pub struct Request {
    pub(super) method: &'static str,
    target: String,
    version: &'static str,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    pub fn new(method: &'static str, target: &str) -> Self {
        let (target, headers) =
            (target.to_owned(), vec![("Host".to_owned(), "node.test".to_owned())]);
        Self { method, target, version: "HTTP/1.1", headers, body: Vec::new() }
    }

    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// Subscribes as an `EventSource` does.
    pub fn subscribe(query: &str) -> Self {
        let target =
            if query.is_empty() { "/events".to_owned() } else { format!("/events?{query}") };
        Self::get(&target).header("Accept", "text/event-stream")
    }

    /// Publishes plain data, with the other fields in the query.
    pub fn publish(query: &str, data: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", &format!("/events?{query}"))
            .body(data)
            .header("Content-Type", "text/plain")
    }

    pub fn form(fields: &[(&str, &str)]) -> Self {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let content_type = "application/x-www-form-urlencoded";
        Self::new("POST", "/events").body(body).header("Content-Type", content_type)
    }

    pub fn json(body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", "/events").body(body).header("Content-Type", "application/json")
    }

    /// Sends it as HTTP/1.0.
    pub fn http_1_0(mut self) -> Self {
        self.version = "HTTP/1.0";
        self
    }

    /// Sets a header, replacing one of that name.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a line with a header that may be there already.
    pub fn another_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the body and its length.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        let length = self.body.len().to_string();
        self.header("Content-Length", &length)
    }

    /// Only the head, for a body that is sent separately.
    pub fn head(&self) -> Vec<u8> {
        let mut out = format!("{} {} {}\r\n", self.method, self.target, self.version);
        for (name, value) in &self.headers {
            out.push_str(&format!("{name}: {value}\r\n"));
        }
        out.push_str("\r\n");
        out.into_bytes()
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        [self.head(), self.body.clone()].concat()
    }
}

/// A response.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// The value of a header, which may not be repeated.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} is there twice: {self:?}");
        value
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body of text is UTF-8")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a body of JSON is JSON")
    }

    /// The problem document (RFC 9457) of a refusal with this status: type, title and detail.
    pub fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("Content-Type"), Some("application/problem+json"));
        assert_eq!(self.header("Cache-Control"), Some("no-store"));
        let document = self.json();
        assert_eq!(document["status"], status);
        assert!(["type", "title"].iter().all(|name| document[name].is_string()), "{document}");
        assert!(document["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{document}");
        document
    }

    /// Whether the response announces that the connection closes.
    pub fn closes(&self) -> bool {
        self.header("Connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    /// How the length of the body is determined (RFC 9112 §6.3).
    pub fn framing(&self, method: &str) -> Framing {
        let length =
            self.header("Content-Length").map(|length| length.parse().expect("a length is digits"));
        let chunked =
            self.header("Transfer-Encoding").map(|coding| assert_eq!(coding, "chunked")).is_some();
        assert!(!(chunked && length.is_some()), "a length beside chunks: {self:?}");
        let none = method == "HEAD" || self.status == 204 || self.status < 200;
        match length {
            _ if none => Framing::Length(0),
            Some(length) => Framing::Length(length),
            None if chunked => Framing::Chunked { left: None },
            None => Framing::UntilClose,
        }
    }
}

/// How a body is framed, and how much of it is still to come.
#[derive(Clone, Copy, Debug)]
pub enum Framing {
    Length(usize),
    /// `left` is the rest of the current chunk; `None` before a chunk.
    Chunked {
        left: Option<usize>,
    },
    UntilClose,
    /// The last chunk has been read.
    Complete,
}

impl Response {
    /// Parses a head, up to and including the empty line; the body is empty.
    pub fn parse_head(head: &[u8]) -> Self {
        let head = std::str::from_utf8(head).expect("a head is ASCII");
        let mut lines =
            head.strip_suffix("\r\n\r\n").expect("a head ends with an empty line").split("\r\n");
        let status = lines.next().unwrap();
        let (version, status) = status.split_once(' ').expect("a status line has two spaces");
        assert!(matches!(version, "HTTP/1.1" | "HTTP/1.0"), "{version}");
        let (status, _) = status.split_once(' ').expect("a status line has two spaces");
        assert!(status.len() == 3 && status.bytes().all(|b| b.is_ascii_digit()), "{status}");
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(':').expect("a header has a colon");
            let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
            assert!(!name.is_empty() && name.bytes().all(token), "{line:?}");
            assert!(!value.bytes().any(|b| b.is_ascii_control() && b != b'\t'), "{line:?}");
            (name.to_owned(), value.trim_matches([' ', '\t']).to_owned())
        });
        Self { status: status.parse().unwrap(), headers: headers.collect(), body: Vec::new() }
    }
}
