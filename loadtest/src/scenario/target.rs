//! The server's address, from a scenario's URL.

use std::net::{SocketAddr, ToSocketAddrs};

use crate::error::Error;

#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The `Host` header: host and port as written in the URL.
    pub(crate) host: String,
    pub(crate) address: SocketAddr,
}

impl Target {
    /// Parses and resolves `http://host[:port]`; TLS and paths are refused.
    pub(crate) fn parse(url: &str) -> Result<Self, Error> {
        let bad = |why: &str| Error::usage(format!("--url {url}: {why}"));
        let Some(rest) = url.strip_prefix("http://") else {
            return Err(bad(
                "only http://host:port is supported (measure behind the TLS terminator)",
            ));
        };
        let host = rest.trim_end_matches('/');
        if host.is_empty() || host.contains('/') {
            return Err(bad("give host and port here, and the paths as --subscribe and --publish"));
        }
        let with_port = if host.rsplit(']').next().unwrap_or(host).contains(':') {
            host.to_owned()
        } else {
            format!("{host}:80")
        };
        let address = with_port.to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
        let address = address.ok_or_else(|| bad("the host does not resolve"))?;
        Ok(Self { host: host.to_owned(), address })
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
            let error = Target::parse(url).expect_err(url);
            assert!(!error.to_string().contains('\n'));
            assert_eq!(error.exit_status(), 2);
        }
    }
}
