//! Measuring instruments: the clock, event stamps, histograms, delivery accounts, and the server's
//! resource usage from `/proc`.

pub(crate) mod account;
pub(crate) mod arrivals;
pub(crate) mod clock;
pub(crate) mod latency;
pub(crate) mod sequence;
pub(crate) mod server;
pub(crate) mod stamp;
