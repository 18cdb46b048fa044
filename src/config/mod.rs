//! The settings of the node: each a flag (`--heartbeat`) and an environment variable
//! (`FANFARE_HEARTBEAT`).
//!
//! Called once, by `main`, before any other thread runs. Only this module reads the environment
//! (I8): everything else is handed its settings. What it hands out is within bounds and fits
//! together ([`Config::check`]).
#![forbid(unsafe_code)]

mod cors;
mod environment;
mod error;
mod listing;
mod settings;
mod units;
mod values;

use std::ffi::OsString;

use clap::{Args as _, Command, FromArgMatches as _};

use environment::variable;
use error::Source;
use listing::{default_text, settings_of};
use units::{bytes_text, duration_text};

pub use cors::CorsOrigins;
pub use error::ConfigError;
pub use listing::{Setting, markdown_table};
pub use settings::Config;
pub use values::{BusyAnswer, DescriptorTables, Io};

impl Config {
    /// Reads the settings from the program's arguments and its environment.
    ///
    /// On an error the program ends with what [`ConfigError::report`] prints and returns.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the environment (I8)"
    )]
    pub fn load() -> Result<Self, ConfigError> {
        Self::from_sources(std::env::args_os().skip(1), std::env::vars_os())
    }

    /// Reads the settings from `args`, as they stand after the program's name, and from `env`,
    /// pairs of name and value.
    ///
    /// A flag wins over the variable of the same setting, which then isn't looked at.
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
        // clap would read the process environment itself. Instead the variables become flags, and
        // what clap refuses only then was wrong in the environment.
        let given = matches(Vec::new(), &args, Source::CommandLine)?;
        let flags = environment::flags(&command(), &given, env)?;
        let matches = matches(flags, &args, Source::Environment)?;
        let config = Self::from_arg_matches(&matches)
            .map_err(|error| ConfigError::from_clap(error, Source::CommandLine))?;
        config.check()?;
        Ok(config)
    }

    /// Checks what no setting can check alone.
    ///
    /// [`Config::from_sources`] has done it; a `Config` that was put together by hand can be
    /// checked here.
    pub fn check(&self) -> Result<(), ConfigError> {
        let conflict = |message: String| Err(ConfigError::Conflict(message));
        if !self.addr.ip().to_canonical().is_loopback() && !self.allow_anonymous_publish {
            return conflict(format!(
                "FANFARE_ADDR={}: anyone who reaches this address may publish, since no key is configured; listen on \
                 a loopback address such as 127.0.0.1:{}, or set FANFARE_ALLOW_ANONYMOUS_PUBLISH=true",
                self.addr,
                self.addr.port()
            ));
        }
        if self.retry_min > self.retry_max {
            return conflict(format!(
                "FANFARE_RETRY_MIN={} is longer than FANFARE_RETRY_MAX={}; lower the one or raise the other",
                duration_text(self.retry_min),
                duration_text(self.retry_max)
            ));
        }
        let holds = [
            ("FANFARE_WINDOW_BYTES", self.window_bytes, "FANFARE_BATCH_BYTES", self.batch_bytes),
            (
                "FANFARE_QUEUE_BYTES",
                self.queue_bytes,
                "FANFARE_EVENT_BYTES_MAX",
                self.event_bytes_max,
            ),
        ];
        for (whole, whole_bytes, part, part_bytes) in holds {
            if whole_bytes < part_bytes as u64 {
                return conflict(format!(
                    "{whole}={} can't hold even one of {part}={}; raise the one or lower the other",
                    bytes_text(whole_bytes),
                    bytes_text(part_bytes as u64)
                ));
            }
        }
        Ok(())
    }
}

/// What the program uses when nothing is given.
impl Default for Config {
    fn default() -> Self {
        Self::from_sources([""; 0], [("", ""); 0]).expect("the defaults are allowed")
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

/// The command line, with the variable and the default of every setting in its help.
fn command() -> Command {
    let command = bare_command();
    let ids: Vec<_> = settings_of(&command).map(|arg| arg.get_id().clone()).collect();
    ids.into_iter().fold(command, |command, id| {
        command.mut_arg(&id, |arg| {
            let sources =
                format!("[env: {}] [default: {}]", variable(id.as_str()), default_text(&arg));
            let short = arg.get_help().expect("every setting is explained").to_string();
            let long =
                arg.get_long_help().expect("every setting is explained at length").to_string();
            arg.help(format!("{short} {sources}"))
                .long_help(format!("{long}\n\n{sources}"))
                .hide_default_value(true)
        })
    })
}

/// The command line with the settings as [`Config`] declares them.
fn bare_command() -> Command {
    Config::augment_args(Command::new("fanfare"))
        .version(env!("CARGO_PKG_VERSION"))
        .about("Push server: publishers POST events, and every stream that asked for them has them.")
        .long_about(
            "Push server: publishers POST events, and every Server-Sent Events stream that asked for them has them.\n\n\
             Each setting is a flag and an environment variable; the flag wins. Durations are written like 250ms, 30s or \
             2m30s, sizes like 64KiB, 1.5GiB or 4MB, counts like 1024 or 1_000_000.",
        )
        .max_term_width(110)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(args: &[&str], env: &[(&str, &str)]) -> Result<Config, String> {
        Config::from_sources(args, env.iter().copied()).map_err(|error| error.to_string())
    }

    fn refusal(args: &[&str], env: &[(&str, &str)]) -> String {
        let error = load(args, env).unwrap_err();
        assert_eq!(error.lines().count(), 1, "{error}");
        error
    }

    #[test]
    fn a_setting_comes_from_its_flag_or_its_variable_and_the_flag_wins() {
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
    fn a_switch_is_on_as_a_flag_alone() {
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
    fn a_wrong_value_names_where_it_came_from() {
        let right = "not a duration; write numbers with units (ms, s, m, h, d), longest first, such as 250ms, 30s or 2m30s";
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
        assert!(
            error.starts_with("FANFARE_ALLOW_ANONYMOUS_PUBLISH=on: neither on nor off"),
            "{error}"
        );
        let error = refusal(&["--allow-anonymous-publish=on"], &[]);
        assert!(error.starts_with("--allow-anonymous-publish=on: neither on nor off"), "{error}");
    }

    #[test]
    fn a_wrong_value_of_many_lines_is_told_in_one() {
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
    fn an_empty_value_is_refused_except_for_a_list() {
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
            "FANFARE_HEARTBAET is not a setting; the closest is FANFARE_HEARTBEAT (all: fanfare --help)"
        );
    }

    #[test]
    fn a_command_line_that_cannot_be_read_is_refused_in_one_line() {
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
    fn help_and_version_are_no_mistakes_even_with_a_wrong_environment() {
        for arg in ["--help", "-h", "--version", "-V"] {
            let error = Config::from_sources([arg], [("FANFARE_WINDOW", "x")]).unwrap_err();
            assert!(matches!(error, ConfigError::Asked(_)), "{arg}: {error}");
        }
    }

    #[test]
    fn without_a_key_only_loopback_is_listened_on() {
        for addr in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "localhost:1"]
        {
            assert!(load(&["--addr", addr], &[]).is_ok(), "{addr}");
        }
        for addr in ["0.0.0.0:8080", "[::]:8080", "192.0.2.1:8080", "[::ffff:192.0.2.1]:8080"] {
            let error = refusal(&[], &[("FANFARE_ADDR", addr)]);
            assert!(
                error.starts_with(&format!("FANFARE_ADDR={addr}: anyone who reaches")),
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
    fn settings_that_contradict_each_other_are_refused_by_name() {
        let cases = [
            (
                ["--retry-min=6s", "--retry-max=5s"],
                ["--retry-min=5s", "--retry-max=5s"],
                "FANFARE_RETRY_MIN=6s is longer than FANFARE_RETRY_MAX=5s; lower the one or raise the other",
            ),
            (
                ["--window-bytes=1MiB", "--batch-bytes=2MiB"],
                ["--window-bytes=2MiB", "--batch-bytes=2MiB"],
                "FANFARE_WINDOW_BYTES=1MiB can't hold even one of FANFARE_BATCH_BYTES=2MiB; raise the one or lower the other",
            ),
            (
                ["--queue-bytes=1MiB", "--event-bytes-max=2MiB"],
                ["--queue-bytes=2MiB", "--event-bytes-max=2MiB"],
                "FANFARE_QUEUE_BYTES=1MiB can't hold even one of FANFARE_EVENT_BYTES_MAX=2MiB; raise the one or lower \
                 the other",
            ),
        ];
        for (refused, allowed, message) in cases {
            assert_eq!(refusal(&refused, &[]), message);
            assert!(load(&allowed, &[]).is_ok(), "{allowed:?}");
        }
    }

    #[test]
    fn help_groups_the_settings_and_gives_variable_and_default() {
        let long = command().render_long_help().to_string();
        for heading in
            ["Listening:", "Publishing:", "Streams:", "Delivery:", "History:", "Operation:"]
        {
            assert!(long.lines().any(|line| line == heading), "{heading}\n{long}");
        }
        let short = command().render_help().to_string();
        // Wrapped lines break the brackets anywhere, so blanks are evened out first.
        let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let (long, short) = (flat(&long), flat(&short));
        for arg in settings_of(&bare_command()) {
            let sources = format!(
                "[env: {}] [default: {}]",
                variable(arg.get_id().as_str()),
                default_text(arg)
            );
            assert!(long.contains(&sources), "{sources}\n{long}");
            assert!(short.contains(&sources), "{sources}\n{short}");
            assert!(arg.get_help_heading().is_some(), "{arg}");
            assert!(arg.get_help().unwrap().to_string().len() <= 100, "{arg}");
        }
        command().debug_assert();
    }
}
