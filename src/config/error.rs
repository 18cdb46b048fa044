//! What keeps a node from starting for its settings, each told in one line that names the setting.

use std::ffi::OsStr;
use std::io::Write as _;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::command::{one_of, variable_of_flag};

/// Why [`Config::load`](super::Config::load) has no settings to give.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// `--help` or `--version` was asked for: no mistake, but nothing to start either.
    #[error("{0}")]
    Asked(clap::Error),
    /// A setting can't have this value.
    #[error("{setting}: {problem}")]
    Value {
        /// The setting as it was given: `FANFARE_HEARTBEAT=abc` or `--heartbeat=abc`.
        setting: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A `FANFARE_` variable that is no setting.
    #[error("{name} is not a setting; the closest is {closest} (all: fanfare --help)")]
    Unknown {
        /// The variable as it was given.
        name: String,
        /// The known variable most like it.
        closest: String,
    },
    /// A command line that can't be read.
    #[error("{0} (all flags: fanfare --help)")]
    CommandLine(String),
    /// Two settings that contradict each other, by name and value, and what would be right.
    #[error("{0}")]
    Conflict(String),
}

/// Where clap had what it complains about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    CommandLine,
    Environment,
}

impl ConfigError {
    /// Prints what was asked for, or one line that says what is wrong; the code is what the program
    /// ends with: 0 or 2.
    pub fn report(&self) -> ExitCode {
        // Whoever closed the output has no use for the message, and the exit code still tells.
        match self {
            Self::Asked(text) => {
                let _ = text.print();
                ExitCode::SUCCESS
            }
            _ => {
                let _ = writeln!(std::io::stderr(), "fanfare: {self}");
                ExitCode::from(2)
            }
        }
    }

    /// A refused value of an environment variable.
    pub(super) fn value(name: &OsStr, value: &OsStr, problem: &str) -> Self {
        let setting = format!("{}={}", name.to_string_lossy(), value.to_string_lossy());
        Self::Value { setting: one_line(&setting), problem: problem.into() }
    }

    /// Translates an error of clap, which parses the flags and, as flags, the variables.
    pub(super) fn from_clap(error: clap::Error, source: Source) -> Self {
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Self::Asked(error),
            ErrorKind::UnknownArgument => Self::unknown_flag(&error),
            _ => Self::refused_value(&error, source).unwrap_or_else(|| Self::first_line(&error)),
        }
    }

    fn unknown_flag(error: &clap::Error) -> Self {
        let flag = text_of(error, ContextKind::InvalidArg).unwrap_or_default();
        let closest = text_of(error, ContextKind::SuggestedArg);
        let hint = closest.map(|flag| format!("; the closest is {flag}")).unwrap_or_default();
        Self::CommandLine(format!("{} is not a flag{hint}", one_line(flag)))
    }

    /// A value that its parser refused, or that is none of the words of its setting.
    fn refused_value(error: &clap::Error, source: Source) -> Option<Self> {
        let flag = text_of(error, ContextKind::InvalidArg)?;
        let value = text_of(error, ContextKind::InvalidValue)?;
        let problem = match error.get(ContextKind::ValidValue) {
            Some(ContextValue::Strings(words)) => {
                format!("unknown value; write {}", one_of(words)?)
            }
            _ => one_line(&std::error::Error::source(error)?.to_string()),
        };
        let name = match source {
            Source::Environment => variable_of_flag(flag),
            // Without the placeholder of its value: `--heartbeat <DURATION>`.
            Source::CommandLine => flag.split([' ', '[', '=']).next().unwrap_or(flag).to_owned(),
        };
        Some(Self::Value { setting: one_line(&format!("{name}={value}")), problem })
    }

    fn first_line(error: &clap::Error) -> Self {
        let rendered = error.to_string();
        let first = rendered.lines().next().unwrap_or_default();
        Self::CommandLine(first.trim_start_matches("error: ").to_owned())
    }
}

fn text_of(error: &clap::Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text),
        ContextValue::Strings(texts) => texts.first().map(String::as_str),
        _ => None,
    }
}

/// A value as given, with what would break the line or the terminal escaped.
fn one_line(text: &str) -> String {
    text.chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
        .collect()
}
