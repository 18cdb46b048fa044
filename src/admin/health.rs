//! What operators ask a node: `GET /healthz`.

use bytes::Bytes;
use hyper::StatusCode;
use serde_json::json;

use crate::node::Core;

/// The node's health: status and JSON document.
///
/// Liveness: that it is answered says that the shard asked is alive. `status` is `ok`, or `failed`
/// with 503 when the node can't take events any more and should be started anew. Sizes are bytes;
/// `resident_bytes` is null where `/proc` is not.
pub fn health(core: &Core) -> (StatusCode, Bytes) {
    let kept = core.log.stats();
    // The queue closes before the last connection does only if the sequencer or a shard has ended
    // by itself.
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
        "topics": { "read": core.registry.len(), "kept": kept.topics },
        "history": { "events": kept.events, "bytes": kept.bytes },
        "memory": { "resident_bytes": resident_bytes() },
    });
    let status = if failed { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (status, (document.to_string() + "\n").into())
}

/// Resident memory of the process, from `/proc/self/status` (`VmRSS`, KiB).
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
