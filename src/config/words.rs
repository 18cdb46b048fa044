//! Settings whose value is one of a few words, as clap value enums.
//!
//! `fanfare --help` prints the doc comments of the variants.

use std::fmt;

use clap::ValueEnum;

/// Response to a stream request that the node can't serve for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BusyAnswer {
    /// To an EventSource, 200 with `retry:` and `event: busy`, then the end of the stream: a
    /// browser reconnects only after 200. To other clients, 503 with Retry-After
    Stream,
    /// 503 with Retry-After to every client
    #[value(name = "503")]
    Status503,
}

/// How events are written to the sockets of streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Io {
    /// uring where the node can send by it, else send
    Auto,
    /// The shard writes to detached streams many at a time by io_uring; the node does not start if
    /// the kernel or a container profile forbids io_uring
    Uring,
    /// The shard writes to detached streams with one send(2) per stream
    Send,
    /// Streams stay with hyper, one task each, which uses more processor time and memory; for
    /// comparison
    Hyper,
}

/// Whether each shard has its own descriptor table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DescriptorTables {
    /// own if one table can't hold FANFARE_CONNECTIONS_MAX and the system allows it, else shared
    Auto,
    /// One table for the process, which all shards share
    Shared,
    /// One table per shard, each with the full descriptor limit
    Own,
}

impl fmt::Display for BusyAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&word(self))
    }
}

impl fmt::Display for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&word(self))
    }
}

impl fmt::Display for DescriptorTables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&word(self))
    }
}

fn word(value: &impl ValueEnum) -> String {
    value.to_possible_value().expect("no variant is skipped").get_name().to_owned()
}
