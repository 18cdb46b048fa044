//! Why the tool stopped, in one line, and the exit status that says so.

use std::fmt;

/// A reason to stop.
#[derive(Debug)]
pub enum Fault {
    /// The options or files given make no sense: exit 2.
    Usage(String),
    /// The machine or the server refused: exit 1.
    Failed(String),
}

impl Fault {
    /// An option that makes no sense; `message` says what would.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    /// A system call that failed while the tool was to `what`.
    pub fn system(what: &str, error: impl fmt::Display) -> Self {
        Self::Failed(format!("could not {what}: {error}"))
    }

    /// The process's exit status.
    pub fn status(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Failed(_) => 1,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) | Self::Failed(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Fault {}
