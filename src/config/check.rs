//! Cross-field validation: rules that involve more than one setting.

use super::duration::duration_text;
use super::error::ConfigError;
use super::numbers::bytes_text;
use super::settings::Config;

impl Config {
    /// Checks the rules between settings; [`Config::load`] and [`Config::from_sources`] apply them,
    /// so this is for a `Config` built field by field.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Conflict`] for the first rule that is violated.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.check_addr()?;
        if self.retry_min > self.retry_max {
            return Err(ConfigError::Conflict(format!(
                "FANFARE_RETRY_MIN={} is longer than FANFARE_RETRY_MAX={}; \
                 lower the first or raise the second",
                duration_text(self.retry_min),
                duration_text(self.retry_max)
            )));
        }
        let (window, batch) = (self.window_bytes, self.batch_bytes);
        check_capacity(("FANFARE_WINDOW_BYTES", window), ("FANFARE_BATCH_BYTES", batch))?;
        let (queue, event) = (self.queue_bytes, self.event_bytes_max);
        check_capacity(("FANFARE_QUEUE_BYTES", queue), ("FANFARE_EVENT_BYTES_MAX", event))?;
        if self.unsent_bytes < (batch + event) as u64 {
            return Err(ConfigError::Conflict(format!(
                "FANFARE_UNSENT_BYTES={} is less than a batch can be, FANFARE_BATCH_BYTES={} plus \
                 FANFARE_EVENT_BYTES_MAX={}; raise the first or lower the others",
                bytes_text(self.unsent_bytes),
                bytes_text(batch as u64),
                bytes_text(event as u64)
            )));
        }
        Ok(())
    }

    fn check_addr(&self) -> Result<(), ConfigError> {
        if self.addr.ip().to_canonical().is_loopback() || self.allow_anonymous_publish {
            return Ok(());
        }
        Err(ConfigError::Conflict(format!(
            "FANFARE_ADDR={}: anyone who can reach this address could publish, because publishing \
             is not authenticated; listen on a loopback address such as 127.0.0.1:{}, or set \
             FANFARE_ALLOW_ANONYMOUS_PUBLISH=true",
            self.addr,
            self.addr.port()
        )))
    }
}

fn check_capacity(whole: (&str, u64), part: (&str, usize)) -> Result<(), ConfigError> {
    let part = (part.0, part.1 as u64);
    if whole.1 >= part.1 {
        return Ok(());
    }
    Err(ConfigError::Conflict(format!(
        "{}={} is less than {}={}; raise the first or lower the second",
        whole.0,
        bytes_text(whole.1),
        part.0,
        bytes_text(part.1)
    )))
}
