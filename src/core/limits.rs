//! How many connections and streams a node may have: what the settings allow, or what its
//! descriptor tables have room for.
#![forbid(unsafe_code)]

use crate::config::{Config, DescriptorTables};

/// Descriptors that are not connections: standard streams, the shards' own, `/proc` while it is
/// read.
const DESCRIPTORS_RESERVED: usize = 64;

/// Descriptors each shard needs for itself: listener, epoll, eventfd, and tokio's share of them.
const DESCRIPTORS_PER_SHARD: usize = 8;

/// Connections kept free for publishers and health checks; streams may not use them.
const CONNECTIONS_RESERVED: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionLimits {
    /// Connections of the node.
    pub(crate) connections: usize,
    /// Streams of the node.
    pub(crate) streams: usize,
    /// Connections of one shard.
    pub(crate) shard_connections: usize,
    /// A shard with more connections than this opens no further stream.
    pub(crate) shard_connections_for_streams: usize,
    /// Whether each shard takes its own descriptor table.
    pub(crate) own_tables: bool,
}

impl ConnectionLimits {
    /// The limits with tables of `descriptors` each. `can_own_tables` is asked only where the
    /// setting is `auto` and one table is too small.
    pub(crate) fn new(
        config: &Config,
        descriptors: usize,
        can_own_tables: impl FnOnce() -> bool,
    ) -> Self {
        let own = DESCRIPTORS_RESERVED + config.shards * DESCRIPTORS_PER_SHARD;
        // A shard's own table still holds the descriptors that were open when it was copied.
        let per_table = descriptors.saturating_sub(own).max(1);
        let own_tables = match config.descriptor_tables {
            DescriptorTables::Auto => config.connections_limit() > per_table && can_own_tables(),
            DescriptorTables::Shared => false,
            DescriptorTables::Own => true,
        };
        let tables = if own_tables { config.shards } else { 1 };
        let connections = config.connections_limit().min(per_table.saturating_mul(tables));
        Self {
            connections,
            streams: config.streams_max.min(for_streams(connections)),
            shard_connections: per_table,
            shard_connections_for_streams: for_streams(per_table),
            own_tables,
        }
    }
}

fn for_streams(connections: usize) -> usize {
    connections - CONNECTIONS_RESERVED.min(connections / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(config: &Config, descriptors: usize, own_tables: bool) -> (usize, usize) {
        let limits = ConnectionLimits::new(config, descriptors, || own_tables);
        (limits.connections, limits.streams)
    }

    #[test]
    fn streams_leave_descriptors_for_publishers_and_health_checks() {
        let config = Config { shards: 2, streams_max: 1_000_000, ..Config::default() };
        assert_eq!(limits(&config, 20_000, false), (19_920, 19_664));
        assert_eq!(limits(&config, 20_000, true), (39_840, 39_584));
        let config = Config { streams_max: 10, connections_max: Some(12), ..config };
        assert_eq!(limits(&config, 20_000, false), (12, 6));
        assert_eq!(limits(&config, 0, false), (1, 1));
    }

    #[test]
    fn where_descriptors_abound_the_settings_decide() {
        let config = Config { streams_max: 500, ..Config::default() };
        assert_eq!(limits(&config, 1 << 30, false), (500 + 4096, 500));
    }

    #[test]
    fn shards_take_their_own_tables_when_one_is_too_small() {
        let config = |descriptor_tables| Config {
            streams_max: 10_000,
            shards: 2,
            descriptor_tables,
            ..Config::default()
        };
        for (tables, descriptors, own) in [
            (DescriptorTables::Auto, 20_000, false),
            (DescriptorTables::Auto, 10_000, true),
            (DescriptorTables::Shared, 10_000, false),
            (DescriptorTables::Own, 20_000, true),
        ] {
            let limits = ConnectionLimits::new(&config(tables), descriptors, || true);
            assert_eq!(limits.own_tables, own, "{tables} {descriptors}");
        }
    }
}
