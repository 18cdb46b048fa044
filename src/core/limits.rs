//! How many connections and streams a node may have: what the settings allow, or what its
//! descriptor tables have room for.
#![forbid(unsafe_code)]

use crate::config::{Config, DescriptorTables, SHARDS_MAX};

/// Descriptors that are not connections: standard streams, the shards' own, `/proc` while it is
/// read.
const DESCRIPTORS_RESERVED: usize = 64;

/// Descriptors each shard needs for itself: listener, epoll, eventfd, and tokio's share of them.
const DESCRIPTORS_PER_SHARD: usize = 8;

/// Connections kept free for publishers and health checks; streams may not use them.
const CONNECTIONS_RESERVED: usize = 256;

/// Standard deviations by which a shard may hold more connections than the mean. The kernel chooses
/// a connection's shard by a hash, so their number is binomially distributed, nearly normally: one
/// shard in three million is more than five above.
const SKEW_DEVIATIONS: f64 = 5.0;

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
        let per_table = room(descriptors, config.shards);
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

/// How many shards the node has. `auto` makes more than one per core where `FANFARE_STREAMS_MAX`
/// was set and needs more descriptor tables of `descriptors` each: as few as hold the streams
/// however the kernel distributes them, or one per core if no number does.
///
/// `can_own_tables` is asked only if the answer depends on it.
pub(crate) fn shards_for_streams(
    config: &Config,
    descriptors: usize,
    can_own_tables: impl FnOnce() -> bool,
) -> usize {
    let configured = config.shards;
    let one_table_suffices = config.connections_limit() <= room(descriptors, configured);
    if !config.shards_for_streams || one_table_suffices {
        return configured;
    }
    let own_tables = match config.descriptor_tables {
        DescriptorTables::Auto => can_own_tables(),
        DescriptorTables::Shared => false,
        DescriptorTables::Own => true,
    };
    let holds = |&shards: &usize| {
        let room = room(descriptors, shards);
        let streams = config.streams_max.min(config.connections_limit());
        fullest(streams, shards) <= for_streams(room)
            && fullest(config.connections_limit(), shards) <= room
    };
    own_tables.then(|| (configured..=SHARDS_MAX).find(holds)).flatten().unwrap_or(configured)
}

/// Connections that fit into one table: also a shard's own one still holds the descriptors that
/// were open when it was copied.
fn room(descriptors: usize, shards: usize) -> usize {
    let own = DESCRIPTORS_RESERVED + shards * DESCRIPTORS_PER_SHARD;
    descriptors.saturating_sub(own).max(1)
}

/// Of `connections` spread over `shards`, those on the fullest shard.
fn fullest(connections: usize, shards: usize) -> usize {
    let mean = connections as f64 / shards as f64;
    (mean + SKEW_DEVIATIONS * mean.sqrt()).ceil() as usize
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

    fn shards(descriptors: usize, args: &[&str]) -> usize {
        let config = Config::from_sources(args, [("", ""); 0]).unwrap();
        let config = Config { shards: config.shards.min(2), ..config };
        shards_for_streams(&config, descriptors, || true)
    }

    #[test]
    fn auto_makes_as_many_shards_as_the_streams_that_were_asked_for_need() {
        let auto = shards(20_000, &[]);
        assert!(auto <= 2, "FANFARE_STREAMS_MAX is at its default");
        assert_eq!(shards(20_000, &["--streams-max=10000"]), auto);
        assert_eq!(shards(20_000, &["--streams-max=110000"]), 6);
        assert_eq!(shards(20_000, &["--streams-max=110000", "--shards=auto"]), 6);
        assert_eq!(shards(20_000, &["--streams-max=1000000"]), 54);
        assert_eq!(shards(20_000, &["--streams-max=1000000", "--connections-max=100000"]), 6);
        assert_eq!(shards(200_000, &["--streams-max=110000"]), auto, "one table has room");
    }

    #[test]
    fn auto_stays_at_one_per_core_where_more_shards_would_not_help() {
        let auto = shards(20_000, &[]);
        assert_eq!(shards(20_000, &["--streams-max=1000000000"]), auto, "no number suffices");
        assert_eq!(shards(20_000, &["--streams-max=110000", "--descriptor-tables=shared"]), auto);
        assert_eq!(shards(20_000, &["--streams-max=110000", "--shards=1"]), 1, "it was said");
        assert_eq!(shards(0, &["--streams-max=110000"]), auto);
        let config = Config { shards: 2, shards_for_streams: true, ..Config::default() };
        assert_eq!(shards_for_streams(&config, 20_000, || false), 2, "tables are shared");
    }

    #[test]
    fn the_limits_of_the_shards_that_auto_makes_hold_the_streams() {
        for streams in [40_000, 110_000, 333_333, 1_000_000] {
            let args = [format!("--streams-max={streams}")];
            let config = Config::from_sources(&args, [("", ""); 0]).unwrap();
            let shards = shards_for_streams(&config, 20_000, || true);
            let limits = ConnectionLimits::new(&Config { shards, ..config }, 20_000, || true);
            assert_eq!((limits.streams, limits.own_tables), (streams, true));
            assert!(limits.shard_connections_for_streams * shards > streams);
        }
    }
}
