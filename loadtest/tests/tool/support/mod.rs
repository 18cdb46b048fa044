//! What the tests share: running the tool, and a small server that can misbehave.

pub(crate) mod rust;
pub(crate) mod server;
pub(crate) mod tool;
