//! The HTTP interface: routes, request parsing, content negotiation, CORS, problem details.
//!
//! Called once per request, on the thread of its connection; nothing here runs per event. Every
//! loop is bounded by the size of the request's head, or of its body.
//!
//! Files, in dependency order: `excerpt`, `header`, `urlencoded` (readers of text), `publication`
//! and `query` (what a request asks for), `negotiate`, `cors`, `problem` (errors as responses),
//! `screen` (what every request must have), `coding`, `body` (reads one), `response`, `refuse`,
//! `publish` and `subscribe` (handlers), `service` (routes).
#![forbid(unsafe_code)]

mod body;
mod coding;
mod cors;
mod excerpt;
mod header;
mod negotiate;
mod problem;
mod publication;
mod publish;
mod query;
mod refuse;
mod response;
mod screen;
mod service;
mod subscribe;
mod urlencoded;

pub(crate) use service::Service;
