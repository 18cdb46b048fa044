//! SIGINT and SIGTERM as a flag.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::error::Error;

/// Installs the signal handlers; the flag is set by either signal.
pub(crate) fn flag() -> Result<Arc<AtomicBool>, Error> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&flag))
            .map_err(|error| Error::system("install a signal handler", error))?;
    }
    Ok(flag)
}
