//! What keeps a node from starting for its settings, each told in one line that names the setting.

use std::ffi::OsStr;
use std::io::Write as _;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::command::variable_of_flag;

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

    /// What clap says about the flags, or about the variables that were given to it as flags.
    pub(super) fn from_clap(error: clap::Error, source: Source) -> Self {
        let context = |kind| match error.get(kind) {
            Some(ContextValue::String(text)) => Some(text.as_str()),
            Some(ContextValue::Strings(texts)) => texts.first().map(String::as_str),
            _ => None,
        };
        let problem =
            std::error::Error::source(&error).map(|problem| one_line(&problem.to_string()));
        match (
            error.kind(),
            context(ContextKind::InvalidArg),
            context(ContextKind::InvalidValue),
            problem,
        ) {
            (ErrorKind::DisplayHelp | ErrorKind::DisplayVersion, ..) => Self::Asked(error),
            (ErrorKind::ValueValidation, Some(flag), Some(value), Some(problem)) => {
                let name = match source {
                    Source::Environment => variable_of_flag(flag),
                    // Without the placeholder of its value: `--heartbeat <DURATION>`.
                    Source::CommandLine => {
                        flag.split([' ', '[', '=']).next().unwrap_or(flag).to_owned()
                    }
                };
                Self::Value { setting: one_line(&format!("{name}={value}")), problem }
            }
            (ErrorKind::UnknownArgument, Some(flag), ..) => {
                let closest = context(ContextKind::SuggestedArg);
                let hint =
                    closest.map_or(String::new(), |closest| format!("; the closest is {closest}"));
                Self::CommandLine(format!("{} is not a flag{hint}", one_line(flag)))
            }
            _ => {
                let rendered = error.to_string();
                let first = rendered.lines().next().unwrap_or_default();
                Self::CommandLine(first.trim_start_matches("error: ").to_owned())
            }
        }
    }
}

/// A value as given, with what would break the line or the terminal escaped.
fn one_line(text: &str) -> String {
    text.chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
        .collect()
}
