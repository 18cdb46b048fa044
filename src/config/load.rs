//! Loading: command line and environment, parsed and checked into a [`Config`].

use std::ffi::OsString;

use clap::FromArgMatches as _;
use clap::parser::ValueSource;

use super::command::command;
use super::environment;
use super::error::{ConfigError, Source};
use super::settings::Config;
use super::values::AUTO;

impl Config {
    /// Reads the settings from the arguments and the environment of the process.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a setting is unknown or invalid, or if two contradict each other, and if
    /// `--help` or `--version` was requested; [`ConfigError::report`] handles all of these.
    #[expect(clippy::disallowed_methods, reason = "only config reads the environment (I8)")]
    pub fn load() -> Result<Self, ConfigError> {
        Self::from_sources(std::env::args_os().skip(1), std::env::vars_os())
    }

    /// Reads the settings from `args`, the arguments without the program's name, and from `env`,
    /// pairs of name and value.
    ///
    /// A flag has precedence over the variable of the same setting, whose value is then ignored.
    ///
    /// # Errors
    ///
    /// Those of [`Config::load`].
    pub fn from_sources<A, N, V>(
        args: impl IntoIterator<Item = A>,
        env: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, ConfigError>
    where
        A: Into<OsString>,
        N: Into<OsString>,
        V: Into<OsString>,
    {
        let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
        let env = env.into_iter().map(|(name, value)| (name.into(), value.into()));
        // clap itself would read only the environment of the process, so the variables are passed
        // as flags. The arguments are parsed alone first: an error of the second pass is then an
        // error in the environment.
        let given = matches(Vec::new(), &args, Source::CommandLine)?;
        let flags = environment::flags(&command(), &given, env)?;
        let matches = matches(flags, &args, Source::Environment)?;
        let mut config = Self::from_arg_matches(&matches)
            .map_err(|error| ConfigError::from_clap(error, Source::CommandLine))?;
        config.shards_for_streams = matches.get_raw("shards").is_some_and(|raw| raw.eq([AUTO]))
            && matches.value_source("streams_max") != Some(ValueSource::DefaultValue);
        config.check()?;
        Ok(config)
    }
}

/// The settings without arguments and environment variables.
impl Default for Config {
    fn default() -> Self {
        Self::from_sources([""; 0], [("", ""); 0]).expect("the defaults are valid")
    }
}

fn matches(
    flags: Vec<OsString>,
    args: &[OsString],
    source: Source,
) -> Result<clap::ArgMatches, ConfigError> {
    let line = std::iter::once("fanfare".into()).chain(flags).chain(args.iter().cloned());
    command().try_get_matches_from(line).map_err(|error| ConfigError::from_clap(error, source))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::command::{bare_command, settings_of, variable};
    use crate::config::cors::CorsOrigins;
    use crate::config::memory;
    use crate::config::words::{BusyAnswer, DescriptorTables, Io};

    fn load(args: &[&str], env: &[(&str, &str)]) -> Result<Config, String> {
        Config::from_sources(args, env.iter().copied()).map_err(|error| error.to_string())
    }

    fn refusal(args: &[&str], env: &[(&str, &str)]) -> String {
        let error = load(args, env).unwrap_err();
        assert_eq!(error.lines().count(), 1, "{error}");
        error
    }

    #[test]
    fn a_flag_has_precedence_over_the_variable() {
        let heartbeat =
            |args: &[&str], env: &[(&str, &str)]| load(args, env).unwrap().heartbeat.as_secs();
        assert_eq!(heartbeat(&["--heartbeat=1s"], &[]), 1);
        assert_eq!(heartbeat(&["--heartbeat", "1s"], &[]), 1);
        assert_eq!(heartbeat(&[], &[("FANFARE_HEARTBEAT", "2s")]), 2);
        assert_eq!(heartbeat(&["--heartbeat=1s"], &[("FANFARE_HEARTBEAT", "2s")]), 1);
        assert_eq!(heartbeat(&["--heartbeat=1s"], &[("FANFARE_HEARTBEAT", "abc")]), 1);
        assert_eq!(heartbeat(&[], &[("HEARTBEAT", "2s"), ("OTHER", "x")]), 30);
    }

    #[test]
    fn a_boolean_flag_without_a_value_means_true() {
        let switch =
            |args: &[&str], env: &[(&str, &str)]| load(args, env).unwrap().allow_anonymous_publish;
        assert!(switch(&["--allow-anonymous-publish"], &[]));
        assert!(switch(&["--allow-anonymous-publish=yes"], &[]));
        assert!(switch(&[], &[("FANFARE_ALLOW_ANONYMOUS_PUBLISH", "1")]));
        assert!(!switch(
            &["--allow-anonymous-publish=false"],
            &[("FANFARE_ALLOW_ANONYMOUS_PUBLISH", "1")]
        ));
        assert!(switch(&["--allow-anonymous-publish", "--window=7"], &[]));
        assert_eq!(
            refusal(&["--allow-anonymous-publish", "yes"], &[]),
            "yes is not a flag (all flags: fanfare --help)"
        );
    }

    #[test]
    fn a_wrong_value_is_refused_with_its_source() {
        let right = "not a duration; write numbers with units (ms, s, m, h, d), such as 250ms, 30s \
                     or 2m30s";
        assert_eq!(
            refusal(&[], &[("FANFARE_HEARTBEAT", "abc")]),
            format!("FANFARE_HEARTBEAT=abc: {right}")
        );
        assert_eq!(refusal(&["--heartbeat=abc"], &[]), format!("--heartbeat=abc: {right}"));
        assert_eq!(
            refusal(&["--heartbeat", "abc"], &[("FANFARE_WINDOW", "x")]),
            format!("--heartbeat=abc: {right}")
        );
        let error = refusal(&[], &[("FANFARE_ALLOW_ANONYMOUS_PUBLISH", "on")]);
        assert!(error.starts_with("FANFARE_ALLOW_ANONYMOUS_PUBLISH=on: not a boolean"), "{error}");
        let error = refusal(&["--allow-anonymous-publish=on"], &[]);
        assert!(error.starts_with("--allow-anonymous-publish=on: not a boolean"), "{error}");
    }

    #[test]
    fn an_unknown_word_is_refused_with_the_allowed_ones() {
        for (setting, words) in [
            ("FANFARE_BUSY_ANSWER", "stream or 503"),
            ("FANFARE_IO", "auto, uring, send or hyper"),
            ("FANFARE_DESCRIPTOR_TABLES", "auto, shared or own"),
        ] {
            for value in ["", "200", "Auto"] {
                let error = format!("{setting}={value}: unknown value; write {words}");
                assert_eq!(refusal(&[], &[(setting, value)]), error);
            }
        }
        let error = "--io=epoll: unknown value; write auto, uring, send or hyper";
        assert_eq!(refusal(&["--io=epoll"], &[]), error);
        assert_eq!(refusal(&["--io", "epoll"], &[]), error);
        assert_eq!(load(&["--busy-answer=503"], &[]).unwrap().busy_answer, BusyAnswer::Status503);
    }

    #[test]
    fn control_characters_of_a_wrong_value_are_escaped() {
        assert!(
            refusal(&[], &[("FANFARE_WINDOW", "1\n2")])
                .starts_with("FANFARE_WINDOW=1\\n2: not a whole number")
        );
        assert!(
            refusal(&["--cors-origins=a\u{1b}[0m\n"], &[])
                .contains("`a\\u{1b}[0m` isn't an origin")
        );
        assert!(refusal(&["--a\nb"], &[]).starts_with("--a\\nb is not a flag"));
        refusal(&[], &[("FANFARE_\n", "")]);
    }

    #[test]
    fn only_cors_origins_may_be_empty() {
        for arg in settings_of(&bare_command()) {
            let name = variable(arg.get_id().as_str());
            match load(&[], &[(&name, "")]) {
                Ok(config) => {
                    assert_eq!((name.as_str(), config), ("FANFARE_CORS_ORIGINS", Config::default()))
                }
                Err(error) => assert!(error.starts_with(&format!("{name}=: ")), "{error}"),
            }
        }
    }

    #[test]
    fn an_unknown_variable_is_refused() {
        assert_eq!(
            refusal(&[], &[("FANFARE_HEARTBAET", "1s")]),
            "FANFARE_HEARTBAET is not a setting; \
             the closest is FANFARE_HEARTBEAT (all: fanfare --help)"
        );
    }

    #[test]
    fn an_invalid_command_line_is_refused_in_one_line() {
        let end = "(all flags: fanfare --help)";
        assert_eq!(
            refusal(&["--heartbaet=1s"], &[]),
            format!("--heartbaet is not a flag; the closest is --heartbeat {end}")
        );
        assert_eq!(refusal(&["serve"], &[]), format!("serve is not a flag {end}"));
        for args in [&["--heartbeat"] as &[_], &["--heartbeat=1s", "--heartbeat=2s"]] {
            let error = refusal(args, &[]);
            assert!(error.contains("'--heartbeat <DURATION>'") && error.ends_with(end), "{error}");
        }
    }

    #[test]
    fn help_and_version_ignore_the_environment() {
        for arg in ["--help", "-h", "--version", "-V"] {
            let error = Config::from_sources([arg], [("FANFARE_WINDOW", "x")]).unwrap_err();
            assert!(matches!(error, ConfigError::HelpRequested(_)), "{arg}: {error}");
        }
    }

    #[test]
    fn without_a_key_only_loopback_addresses_are_allowed() {
        for addr in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "localhost:1"]
        {
            assert!(load(&["--addr", addr], &[]).is_ok(), "{addr}");
        }
        for addr in ["0.0.0.0:8080", "[::]:8080", "192.0.2.1:8080", "[::ffff:192.0.2.1]:8080"] {
            let error = refusal(&[], &[("FANFARE_ADDR", addr)]);
            assert!(
                error.starts_with(&format!("FANFARE_ADDR={addr}: anyone who can reach")),
                "{error}"
            );
            assert!(
                error.ends_with(
                    "such as 127.0.0.1:8080, or set FANFARE_ALLOW_ANONYMOUS_PUBLISH=true"
                ),
                "{error}"
            );
            assert!(load(&["--addr", addr, "--allow-anonymous-publish"], &[]).is_ok(), "{addr}");
        }
    }

    #[test]
    fn contradicting_settings_are_refused_by_name() {
        let cases = [
            (
                ["--retry-min=6s", "--retry-max=5s"],
                ["--retry-min=5s", "--retry-max=5s"],
                "FANFARE_RETRY_MIN=6s is longer than FANFARE_RETRY_MAX=5s; \
                 lower the first or raise the second",
            ),
            (
                ["--window-bytes=1MiB", "--batch-bytes=2MiB"],
                ["--window-bytes=2MiB", "--batch-bytes=2MiB"],
                "FANFARE_WINDOW_BYTES=1MiB is less than FANFARE_BATCH_BYTES=2MiB; \
                 raise the first or lower the second",
            ),
            (
                ["--queue-bytes=1MiB", "--event-bytes-max=2MiB"],
                ["--queue-bytes=2MiB", "--event-bytes-max=2MiB"],
                "FANFARE_QUEUE_BYTES=1MiB is less than FANFARE_EVENT_BYTES_MAX=2MiB; \
                 raise the first or lower the second",
            ),
            (
                ["--unsent-bytes=2MiB", "--event-bytes-max=2MiB"],
                ["--unsent-bytes=2304KiB", "--event-bytes-max=2MiB"],
                "FANFARE_UNSENT_BYTES=2MiB is less than a batch can be, FANFARE_BATCH_BYTES=256KiB \
                 plus FANFARE_EVENT_BYTES_MAX=2MiB; raise the first or lower the others",
            ),
        ];
        for (refused, allowed, message) in cases {
            assert_eq!(refusal(&refused, &[]), message);
            assert!(load(&allowed, &[]).is_ok(), "{allowed:?}");
        }
    }

    #[test]
    fn more_shards_are_made_only_for_a_number_of_streams_that_was_set() {
        let may = |args: &[&str], env: &[(&str, &str)]| load(args, env).unwrap().shards_for_streams;
        assert!(!may(&[], &[]));
        assert!(may(&["--streams-max=1000000"], &[]), "that is the default, but it was set");
        assert!(may(&["--shards=auto"], &[("FANFARE_STREAMS_MAX", "7")]));
        assert!(!may(&["--streams-max=7"], &[("FANFARE_SHARDS", "2")]));
        assert!(!may(&[], &[("FANFARE_SHARDS", "auto")]));
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let cores = std::thread::available_parallelism().unwrap().get();
        let documented = Config {
            addr: "127.0.0.1:8080".parse().unwrap(),
            allow_anonymous_publish: false,
            shards: cores.min(1024),
            shards_for_streams: false,
            descriptor_tables: DescriptorTables::Auto,
            backlog: 4096,
            connections_max: None,
            request_connections_max: memory::REQUESTS.of_process() as usize,
            head_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            body_rate_min: 1 << 10,
            event_bytes_max: 1 << 20,
            event_topics_max: 100,
            topic_bytes_max: 1024,
            queue_events: 8192,
            queue_bytes: memory::QUEUE.of_process(),
            batch_events: 1024,
            batch_bytes: 256 << 10,
            streams_max: memory::STREAMS.of_process() as usize,
            selectors_max: 100,
            subscriptions_max: memory::SUBSCRIPTIONS.of_process() as usize,
            topics_max: memory::TOPICS.of_process() as usize,
            busy_answer: BusyAnswer::Stream,
            cors_origins: CorsOrigins::None,
            retry_min: Duration::from_secs(1),
            retry_max: Duration::from_secs(5),
            heartbeat: Duration::from_secs(30),
            write_timeout: Duration::from_secs(15),
            send_buffer_bytes: 32 << 10,
            window: 65_536,
            window_bytes: memory::WINDOW.of_process(),
            lag_max: Duration::from_secs(300),
            unsent_bytes: memory::UNSENT.of_process(),
            io: Io::Auto,
            quantum_streams: 128,
            history_events: 1000,
            history_age: Duration::from_secs(600),
            history_bytes: memory::HISTORY.of_process(),
            drain: Duration::from_secs(10),
            log: "info".into(),
        };
        assert_eq!(Config::default(), documented);
        let documented = Config { streams_max: 1_000_000, ..documented };
        assert_eq!(documented.connections_limit(), 1_004_096);
        assert_eq!(Config { connections_max: Some(7), ..documented }.connections_limit(), 7);
    }

    /// Ensures that each setting accepts its bounds, refuses values outside of them and states them
    /// in its help. The bounds are read from the refusals and compared with the documented ones.
    #[test]
    fn bounds_are_enforced_and_documented() {
        let command = bare_command();
        let mut found = Vec::new();
        for arg in settings_of(&command) {
            let id = arg.get_id().as_str();
            let is_duration = arg.get_value_names().is_some_and(|names| names[0] == "DURATION");
            let set = |value: &str| {
                let flag = format!("--{}={value}", arg.get_long().unwrap());
                matches(vec![flag.into()], &[], Source::CommandLine)
                    .map_err(|error| error.to_string())
            };
            let highest = if is_duration { "9999d" } else { "18_446_744_073_709_551_615" };
            let Some((_, after)) = set(highest).err().and_then(|error| {
                error
                    .split_once("too high; ")
                    .map(|(before, after)| (before.to_owned(), after.to_owned()))
            }) else {
                continue;
            };
            let (bounds, _) = after.split_once(" is allowed").unwrap();
            let (lowest, highest) = bounds.split_once(" to ").unwrap();
            assert!(set(lowest).is_ok() && set(highest).is_ok(), "{id}: {bounds}");
            if let Err(error) = set(if is_duration { "0s" } else { "0" }) {
                assert!(error.contains(&format!("too low; {bounds} is allowed")), "{error}");
            } else {
                assert!(lowest.starts_with('0'), "{id}: {bounds}");
            }
            let help = arg.get_long_help().unwrap().to_string();
            assert!(help.contains(bounds), "{id}: {help}");
            found.push(format!("{id}: {bounds}"));
        }
        let documented = [
            "shards: 1 to 1024",
            "backlog: 1 to 1_048_576",
            "connections_max: 1 to 1_000_000_000",
            "request_connections_max: 1 to 1_000_000_000",
            "head_timeout: 100ms to 1d",
            "body_timeout: 100ms to 1d",
            "body_rate_min: 0B to 1GiB",
            "event_bytes_max: 1KiB to 64MiB",
            "event_topics_max: 1 to 65_536",
            "topic_bytes_max: 1B to 64KiB",
            "queue_events: 1 to 1_048_576",
            "queue_bytes: 1KiB to 1024TiB",
            "batch_events: 1 to 65_536",
            "batch_bytes: 4KiB to 16MiB",
            "streams_max: 1 to 1_000_000_000",
            "selectors_max: 1 to 65_536",
            "subscriptions_max: 1 to 1_000_000_000",
            "topics_max: 1 to 1_000_000_000",
            "retry_min: 1ms to 1d",
            "retry_max: 1ms to 1d",
            "heartbeat: 100ms to 1h",
            "write_timeout: 100ms to 1d",
            "send_buffer_bytes: 4KiB to 16MiB",
            "window: 2 to 1_048_576",
            "window_bytes: 1MiB to 1024TiB",
            "lag_max: 0s to 1d",
            "unsent_bytes: 1MiB to 1024TiB",
            "quantum_streams: 1 to 65_536",
            "history_events: 0 to 1_000_000_000",
            "history_age: 0s to 365d",
            "history_bytes: 0B to 1024TiB",
            "drain: 0s to 1h",
        ];
        assert_eq!(found, documented);
    }
}
