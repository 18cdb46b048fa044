//! Lifecycle state machine of a connection: HTTP, opened, flushed, detached, closed.

use std::cell::Cell;

/// The state of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    /// hyper reads and writes.
    #[default]
    Http,
    /// hyper has the stream's preamble and waits for more of the body; its next flush sends the
    /// preamble.
    Opened,
    /// hyper has sent the preamble.
    Flushed,
    /// The pump writes.
    Detached,
    /// The connection is neither read nor written any more.
    Closed,
}

#[derive(Debug, Default)]
pub(crate) struct Lifecycle {
    stage: Cell<Stage>,
    may_detach: Cell<bool>,
    abort: Cell<bool>,
}

impl Lifecycle {
    pub(crate) fn stage(&self) -> Stage {
        self.stage.get()
    }

    /// Whether the pump writes.
    pub(crate) fn is_detached(&self) -> bool {
        self.stage() == Stage::Detached
    }

    /// Whether the stream may be detached: only over HTTP/1.1, because the encoder writes HTTP/1.1
    /// chunks, and not with `FANFARE_IO=hyper`.
    pub(super) fn set_may_detach(&self, may: bool) {
        self.may_detach.set(may);
    }

    pub(super) fn may_detach(&self) -> bool {
        self.may_detach.get()
    }

    /// hyper has the stream's preamble.
    pub(super) fn opened(&self) {
        if self.stage() == Stage::Http {
            self.stage.set(Stage::Opened);
        }
    }

    /// hyper has flushed everything.
    pub(crate) fn flushed(&self) {
        if self.stage() == Stage::Opened {
            self.stage.set(Stage::Flushed);
        }
    }

    /// The pump takes over.
    pub(crate) fn detached(&self) {
        self.stage.set(Stage::Detached);
    }

    /// Ends the connection; false if it had ended before.
    pub(crate) fn close(&self) -> bool {
        self.stage.replace(Stage::Closed) != Stage::Closed
    }

    /// Asks for the connection to be aborted (TCP RST) at its next visit; unsent bytes are
    /// discarded.
    pub(crate) fn request_abort(&self) {
        self.abort.set(true);
    }

    /// Whether an abort was asked for.
    pub(crate) fn is_abort_requested(&self) -> bool {
        self.abort.get()
    }
}
