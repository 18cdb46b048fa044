//! Runs the tool as a user does, against correct servers and faulty ones.

mod account;
mod compare;
mod fair;
mod fanfare;
mod latency;
mod layers;
mod options;
mod pause;
mod scenarios;
mod selectors;
mod support;
