//! From a scenario's text to addresses and requests.

use std::net::{SocketAddr, ToSocketAddrs};

use super::Scenario;
use crate::error::Fault;
use crate::publish::template::PublishTemplate;
use crate::subscribe::message::RequestTemplate;

/// Where a URL points: the `Host` header and the address.
#[derive(Clone, Debug)]
pub struct Target {
    /// Host and port as written.
    pub host: String,
    /// What it resolves to.
    pub address: SocketAddr,
}

impl Target {
    /// Of `http://host[:port]`. Neither TLS nor a path belongs here.
    pub fn parse(url: &str) -> Result<Self, Fault> {
        let bad = |why: &str| Fault::usage(format!("--url {url}: {why}"));
        let Some(rest) = url.strip_prefix("http://") else {
            return Err(bad(
                "only http://host:port is spoken (put TLS in front of it, or measure behind it)",
            ));
        };
        let host = rest.trim_end_matches('/');
        if host.is_empty() || host.contains('/') {
            return Err(bad("give host and port here, the paths with --subscribe and --publish"));
        }
        let with_port = if host.rsplit(']').next().unwrap_or(host).contains(':') {
            host.to_owned()
        } else {
            format!("{host}:80")
        };
        let address = with_port.to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
        let address = address.ok_or_else(|| bad("the host is unknown"))?;
        Ok(Self { host: host.to_owned(), address })
    }
}

impl Scenario {
    /// A subscription's request.
    pub fn request(&self, target: &Target) -> RequestTemplate {
        RequestTemplate {
            method: self.subscribe_method.clone(),
            path: self.subscribe.clone(),
            host: target.host.clone(),
            headers: self.subscribe_headers.clone(),
            topic: self.topic.clone(),
        }
    }

    /// A publish's request.
    pub fn publish_template(&self, target: &Target) -> PublishTemplate {
        PublishTemplate {
            method: self.publish_method.clone(),
            path: self.publish.clone(),
            host: target.host.clone(),
            content_type: self.content_type.clone(),
            headers: self.publish_headers.clone(),
            body: self.body.clone(),
            topic: self.topic.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_host_and_port() {
        let target = Target::parse("http://127.0.0.1:8080/").expect("valid");
        assert_eq!((target.host.as_str(), target.address.port()), ("127.0.0.1:8080", 8080));
        assert_eq!(Target::parse("http://127.0.0.1").expect("valid").address.port(), 80);
        assert_eq!(Target::parse("http://[::1]:90").expect("valid").address.port(), 90);
    }

    #[test]
    fn other_schemes_and_paths_are_refused_in_one_line() {
        for url in ["https://x", "x:80", "http://", "http://127.0.0.1:1/events"] {
            let fault = Target::parse(url).expect_err(url);
            assert!(!fault.to_string().contains('\n'));
            assert_eq!(fault.status(), 2);
        }
    }
}
