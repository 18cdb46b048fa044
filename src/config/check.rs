//! Rules between settings.

use super::duration::duration_text;
use super::error::ConfigError;
use super::numbers::bytes_text;
use super::settings::Config;

impl Config {
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
