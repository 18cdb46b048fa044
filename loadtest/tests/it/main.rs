//! Runs the tool as a user does, against correct servers and faulty ones.

mod account;
mod compare;
mod fanfare;
mod latency;
mod options;
mod scenarios;
mod support;
