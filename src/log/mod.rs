//! The log: the ordered record every delivered event comes out of (I2).
//!
//! [`history`] is what of it a node holds in memory, so that a stream can go on where its client left off.

pub mod history;

pub use history::History;
