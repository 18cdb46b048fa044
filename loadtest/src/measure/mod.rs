//! What is measured, and how: stamps, clocks, histograms, accounts, and what the server costs. Pure
//! but for `/proc`.

pub mod clock;
pub mod latency;
pub mod ledger;
pub mod server;
pub mod stamp;
pub mod tally;
