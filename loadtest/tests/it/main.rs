//! The tool as people run it, against servers that are honest and servers that are not.

mod account;
mod compare;
mod fanfare;
mod latency;
mod options;
mod scenarios;
mod server;
mod tool;
