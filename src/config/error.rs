//! The error type of configuration loading, and its translation from clap's errors.
//!
//! Each error prints as one line that names the setting and the values it allows.

use std::ffi::OsStr;
use std::io::Write as _;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::command::{one_of, variable_of_flag};

/// Error of loading or checking the settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// `--help` or `--version` was requested: not a failure, but the node must not start.
    #[error("{0}")]
    HelpRequested(clap::Error),
    /// The value of a setting is invalid.
    #[error("{setting}: {problem}")]
    Value {
        /// The setting and its value: `FANFARE_HEARTBEAT=abc` or `--heartbeat=abc`.
        setting: String,
        /// What is wrong with the value, and the form of a valid one.
        problem: String,
    },
    /// The environment has a `FANFARE_` variable that is not a setting.
    #[error("{name} is not a setting; the closest is {closest} (all: fanfare --help)")]
    Unknown {
        /// The variable.
        name: String,
        /// The setting with the most similar name.
        closest: String,
    },
    /// The command line is invalid.
    #[error("{0} (all flags: fanfare --help)")]
    CommandLine(String),
    /// Two settings contradict each other.
    #[error("{0}")]
    Conflict(String),
}

/// Where a value that clap parses comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    CommandLine,
    Environment,
}

impl ConfigError {
    /// Prints the requested help or version to standard output, or the error as one line to
    /// standard error, and returns the exit code of the program: 0 or 2.
    pub fn report(&self) -> ExitCode {
        // A failed write is ignored: the exit code still reports the error.
        match self {
            Self::HelpRequested(text) => {
                let _ = text.print();
                ExitCode::SUCCESS
            }
            _ => {
                let _ = writeln!(std::io::stderr(), "fanfare: {self}");
                ExitCode::from(2)
            }
        }
    }

    /// Error of an environment variable's value.
    pub(super) fn value(name: &OsStr, value: &OsStr, problem: &str) -> Self {
        let setting = format!("{}={}", name.to_string_lossy(), value.to_string_lossy());
        Self::Value { setting: one_line(&setting), problem: problem.into() }
    }

    /// Translates an error of clap, which parses the flags and, as flags, the variables.
    pub(super) fn from_clap(error: clap::Error, source: Source) -> Self {
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Self::HelpRequested(error),
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

    /// A value that its parser refused; `None` for an error of another kind.
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
            // clap appends the placeholder of the value: `--heartbeat <DURATION>`.
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

/// Escapes control characters, which could break the line or alter the terminal.
fn one_line(text: &str) -> String {
    text.chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
        .collect()
}
