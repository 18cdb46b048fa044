//! Health check of `GET /healthz`.

use bytes::Bytes;
use hyper::StatusCode;
use serde_json::json;

use crate::core::Core;

/// Returns the status and the JSON document.
///
/// A response proves that the answering shard is alive. `status` is `ok`, or `failed` with 503 if
/// the node can no longer accept events and must be restarted. Sizes are in bytes; `resident_bytes`
/// is null if `/proc` is unavailable.
pub(crate) fn health(core: &Core) -> (StatusCode, Bytes) {
    let history = core.log.stats();
    // While a connection is open, the queue is closed only if the sequencer or a shard has failed:
    // a drain closes it after the last connection.
    let failed = core.queue.is_closed();
    let document = json!({
        "status": if failed { "failed" } else { "ok" },
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": core.started.elapsed().as_secs(),
        "shards": core.config.shards,
        "io": core.io.to_string(),
        "connections": core.connections.used(),
        "streams": core.streams.used(),
        "events": core.watermark.reached().0,
        "topics": { "read": core.registry.topics(), "kept": history.topics },
        "history": { "events": history.events, "bytes": history.bytes },
        "memory": { "resident_bytes": resident_bytes(), "unsent_bytes": core.unsent.used() },
    });
    let status = if failed { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (status, (document.to_string() + "\n").into())
}

/// Resident set size of the process: `VmRSS` in `/proc/self/status`, which is in KiB.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(target_os = "linux")]
    fn resident_memory_is_read_from_proc() {
        assert!(super::resident_bytes().unwrap() > 1024 * 1024);
    }
}
