//! What a node does, seen from outside: over real sockets, one module per behaviour.

mod bad_clients;
mod burst;
mod churn;
mod crowd;
mod encodings;
mod handover;
mod health;
mod lifecycle;
mod limits;
mod memory;
mod origins;
mod page;
mod pause;
mod publishing;
mod readme;
mod refusals;
mod resuming;
mod sandbox;
mod screening;
mod settings;
mod slow;
mod slow_body;
mod source_tree;
mod subscribing;
mod support;
mod topics;
