//! Parsers of the settings that are neither plain numbers nor words: the address, booleans,
//! `auto` or a number, and the log filter.
//!
//! All are pure. An error describes a valid value; the caller adds the name of the setting and the
//! refused value.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;

use tracing_subscriber::filter::{EnvFilter, LevelFilter};

use super::memory::Share;
use super::numbers::{bytes, count};

/// Upper bound of counts without a narrower one.
pub(super) const COUNT_MAX: u64 = 1_000_000_000;

/// Maximum number of shards, each of which is a thread.
pub(crate) const SHARDS_MAX: usize = 1024;

/// Parses an IP address with a port; the name `localhost` means 127.0.0.1, and no other name is
/// resolved.
pub(super) fn addr(text: &str) -> Result<SocketAddr, String> {
    let local = text.strip_prefix("localhost:").and_then(|port| port.parse().ok());
    match local {
        Some(port) => Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        None => text.parse().map_err(|_| {
            "not an IP address with a port; write one such as 127.0.0.1:8080, 0.0.0.0:8080, \
             [::]:8080 or localhost:8080"
                .into()
        }),
    }
}

/// Parses a boolean.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "1" => Ok(true),
        "false" | "no" | "0" => Ok(false),
        _ => Err("not a boolean; write true or false (or yes or no, or 1 or 0)".into()),
    }
}

/// The word that leaves a number to the node.
pub(super) const AUTO: &str = "auto";

/// Parses a number of shards; `auto` is the number of cores available to the process.
pub(super) fn shards(text: &str) -> Result<usize, String> {
    if text == AUTO {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        return Ok(cores.min(SHARDS_MAX));
    }
    count(1..=SHARDS_MAX as u64)(text).map_err(|error| error + ", or auto for one per core")
}

/// Parses a number of connections; `auto` is `None`.
pub(super) fn connections_max(text: &str) -> Result<Option<usize>, String> {
    if text == AUTO {
        return Ok(None);
    }
    count(1..=COUNT_MAX)(text)
        .map(Some)
        .map_err(|error| error + ", or auto to derive it from FANFARE_STREAMS_MAX")
}

/// A parser of byte sizes from `lowest` to `highest`; `auto` is a share of the memory that the
/// process may use.
pub(super) fn auto_bytes(
    share: Share,
    lowest: &str,
    highest: &str,
) -> impl Fn(&str) -> Result<u64, String> + Clone + Send + Sync + 'static {
    let parse = bytes::<u64>(lowest, highest);
    move |text| match text {
        "auto" => Ok(share.of_process()),
        _ => parse(text).map_err(|error| error + ", or auto for a share of the memory"),
    }
}

/// A parser of counts up to [`COUNT_MAX`]; `auto` is as many as a share of the memory has room for.
pub(super) fn auto_count(
    share: Share,
) -> impl Fn(&str) -> Result<usize, String> + Clone + Send + Sync + 'static {
    let parse = count::<usize>(1..=COUNT_MAX);
    move |text| match text {
        "auto" => Ok(usize::try_from(share.of_process()).unwrap_or(usize::MAX)),
        _ => parse(text).map_err(|error| error + ", or auto for a share of the memory"),
    }
}

/// Validates filter directives of tracing-subscriber and removes blanks around commas.
///
/// A bare word that isn't a level is refused: the filter would interpret it as a target, so
/// `FANFARE_LOG=inof` would disable all logging.
pub(super) fn log(text: &str) -> Result<String, String> {
    let right = "write a level (off, error, warn, info, debug, trace), or levels by target such as \
                 info,fanfare::shard=debug";
    // The filter refuses blanks after a comma.
    let parts: Vec<_> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    if parts.is_empty() {
        return Err(format!("no log filter; {right}"));
    }
    let is_word =
        |part: &str| part.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | ':' | '-'));
    if let Some(word) =
        parts.iter().find(|part| is_word(part) && part.parse::<LevelFilter>().is_err())
    {
        return Err(format!("`{word}` isn't a level; {right}"));
    }
    let text = parts.join(",");
    match EnvFilter::builder().parse(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(format!("{error}; {right}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::memory::{QUEUE, TOPICS};

    #[test]
    fn an_address_is_an_ip_address_or_localhost_with_a_port() {
        for (text, expected) in [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("0.0.0.0:0", "0.0.0.0:0"),
            ("[::1]:80", "[::1]:80"),
            ("localhost:8080", "127.0.0.1:8080"),
            ("localhost:0", "127.0.0.1:0"),
        ] {
            assert_eq!(addr(text), Ok(expected.parse().unwrap()), "{text}");
        }
        for text in [
            "",
            "8080",
            ":8080",
            "127.0.0.1",
            "localhost",
            "localhost:",
            "localhost:99999",
            "a.example:80",
        ] {
            assert!(
                addr(text).unwrap_err().starts_with("not an IP address with a port; write"),
                "{text}"
            );
        }
    }

    #[test]
    fn booleans_are_words_or_digits() {
        for (text, on) in [
            ("true", true),
            ("TRUE", true),
            ("yes", true),
            ("1", true),
            ("false", false),
            ("no", false),
            ("0", false),
        ] {
            assert_eq!(switch(text), Ok(on), "{text}");
        }
        for text in ["", "on", "2", "maybe"] {
            assert!(
                switch(text).unwrap_err().starts_with("not a boolean; write true or false"),
                "{text}"
            );
        }
    }

    #[test]
    fn automatic_shards_are_within_the_bound() {
        assert!((1..=SHARDS_MAX).contains(&shards("auto").unwrap()));
        assert_eq!(shards("3"), Ok(3));
        assert_eq!(
            shards("0"),
            Err("too low; 1 to 1024 is allowed, or auto for one per core".into())
        );
        assert!(
            shards("all")
                .unwrap_err()
                .ends_with("such as 1024 or 1_000_000, or auto for one per core")
        );
    }

    #[test]
    fn automatic_connections_have_no_number() {
        assert_eq!(connections_max("auto"), Ok(None));
        assert_eq!(connections_max("10"), Ok(Some(10)));
        assert!(
            connections_max("0")
                .unwrap_err()
                .ends_with(", or auto to derive it from FANFARE_STREAMS_MAX")
        );
    }

    #[test]
    fn automatic_sizes_are_shares_of_the_memory() {
        let parse = auto_bytes(QUEUE, "1KiB", "1GiB");
        assert_eq!(parse("auto"), Ok(QUEUE.of_process()));
        assert_eq!(parse("2MiB"), Ok(2 << 20));
        assert_eq!(
            parse("0"),
            Err("too low; 1KiB to 1GiB is allowed, or auto for a share of the memory".into())
        );
        assert!(parse("Auto").unwrap_err().ends_with(", or auto for a share of the memory"));
        assert_eq!(auto_count(TOPICS)("auto"), Ok(TOPICS.of_process() as usize));
        assert_eq!(auto_count(TOPICS)("1_000"), Ok(1000));
    }

    #[test]
    fn a_log_filter_is_levels_and_targets() {
        for text in [
            "info",
            "WARN",
            "off",
            "info,fanfare::shard=debug",
            "fanfare=trace",
            "fanfare[span{a=1}]=debug",
        ] {
            assert_eq!(log(text), Ok(text.into()), "{text}");
        }
        assert_eq!(log(" info, fanfare=debug,"), Ok("info,fanfare=debug".into()));
        for (text, what) in [
            ("", "no log filter; write a level"),
            (" , ", "no log filter"),
            ("inof", "`inof` isn't a level; write a level (off, error, warn, info, debug, trace)"),
            ("info,fanfare", "`fanfare` isn't a level"),
            ("fanfare=loud", "error parsing level filter"),
            ("[span{a,b}]=debug", "invalid filter directive; write a level"),
        ] {
            let error = log(text).unwrap_err();
            assert!(error.starts_with(what), "{text}: {error}");
        }
    }
}
