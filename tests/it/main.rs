//! What a node does, seen from outside: over real sockets, one module per behaviour.

mod page;
mod readme;
mod slow_body;
mod process;
mod subscriber;
mod support;

mod burst;
mod churn;
mod handover;
mod health;
mod lifecycle;
mod limits;
mod origins;
mod publishing;
mod refusals;
mod resuming;
mod settings;
mod slow;
mod subscribing;
mod topics;
mod trouble;
