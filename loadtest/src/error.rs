//! The tool's error type and its exit statuses.

use std::fmt;

/// Why the tool stopped, as one line.
#[derive(Debug)]
pub(crate) enum Error {
    /// Invalid options or files: exit status 2.
    Usage(String),
    /// A failure of the machine, the server or a worker: exit status 1.
    Failed(String),
}

impl Error {
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    /// A system call failed; `action` is the verb phrase after "could not".
    pub(crate) fn system(action: &str, error: impl fmt::Display) -> Self {
        Self::Failed(format!("could not {action}: {error}"))
    }

    pub(crate) fn exit_status(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Failed(_) => 1,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) | Self::Failed(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Error {}
