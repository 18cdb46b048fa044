//! A run from the first connect to the report.

pub mod conductor;
pub mod pacing;
pub mod record;
mod session;
mod summary;
pub mod workers;
