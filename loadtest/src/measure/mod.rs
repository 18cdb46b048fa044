//! What is measured, and how: stamps, clocks, histograms, accounts, and what the server costs. Pure
//! but for `/proc`.

pub mod arrivals;
pub mod clock;
pub mod latency;
pub mod sequence;
pub mod server;
pub mod stamp;
