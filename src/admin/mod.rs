//! What operators ask a node.

mod health;

pub use health::health;
