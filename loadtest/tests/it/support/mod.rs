//! What the tests share: running the tool, and a small server that can misbehave.

pub mod server;
pub mod tool;
