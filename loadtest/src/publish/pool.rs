//! The publisher's connection pool: which connections have capacity, which are down.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::connection::Connection;
use super::message::PublishPlan;
use super::poller::Poller;
use crate::error::Error;
use crate::measure::clock::SECOND;
use crate::measure::stamp::Stamp;

/// From a failed connect to the next attempt.
const RECONNECT_INTERVAL: u64 = SECOND / 5;

pub(super) struct Pool {
    target: SocketAddr,
    /// Requests in flight on one connection.
    pipeline: usize,
    response_timeout: u64,
    connections: Vec<Connection>,
    /// Connections with capacity as a stack, so that a low rate uses a single connection.
    free: Vec<usize>,
    /// Connections that are down, with the time of the next attempt, in order.
    down: VecDeque<(u64, usize)>,
}

impl Pool {
    pub(super) fn open(plan: &PublishPlan, poller: &Poller) -> Result<Self, Error> {
        let PublishPlan { target, connections, pipeline, response_timeout, .. } = *plan;
        let mut pool = Self {
            target,
            pipeline,
            response_timeout,
            connections: Vec::with_capacity(connections),
            free: (0..connections).rev().collect(),
            down: VecDeque::new(),
        };
        for index in 0..connections {
            let connection = open_polled(target, index, poller).map_err(Error::Failed)?;
            pool.connections.push(connection);
        }
        Ok(pool)
    }

    /// A connection with capacity.
    pub(super) fn free(&self) -> Option<usize> {
        self.free.last().copied()
    }

    pub(super) fn get(&mut self, index: usize) -> &mut Connection {
        &mut self.connections[index]
    }

    /// True if no request is in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.connections.iter().all(|connection| connection.in_flight.is_empty())
    }

    /// Appends a request, written by `render`, to the output of the connection on top of the stack.
    pub(super) fn push(
        &mut self,
        index: usize,
        stamp: Stamp,
        now: u64,
        render: impl FnOnce(&mut Vec<u8>),
    ) {
        let connection = &mut self.connections[index];
        render(&mut connection.out);
        if connection.in_flight.is_empty() {
            connection.waiting_since = now;
        }
        connection.in_flight.push_back(stamp);
        if connection.in_flight.len() >= self.pipeline {
            self.free.pop();
        }
    }

    /// A response has been read: the connection has capacity again.
    pub(super) fn release(&mut self, index: usize, now: u64) {
        let connection = &mut self.connections[index];
        connection.waiting_since = now;
        if connection.in_flight.len() + 1 == self.pipeline {
            self.free.push(index);
        }
    }

    /// The next connection at or after `from` whose oldest request has timed out.
    pub(super) fn timed_out(&self, from: usize, now: u64) -> Option<usize> {
        let overdue = |connection: &Connection| {
            !connection.in_flight.is_empty()
                && now.saturating_sub(connection.waiting_since) > self.response_timeout
        };
        (from..self.connections.len()).find(|&index| overdue(&self.connections[index]))
    }

    /// Closes a connection; returns the events that have no response.
    pub(super) fn close(&mut self, index: usize) -> VecDeque<Stamp> {
        self.free.retain(|&free| free != index);
        self.connections[index].close()
    }

    /// Opens a closed connection, or schedules the next attempt; false if it failed.
    pub(super) fn connect(&mut self, index: usize, now: u64, poller: &Poller) -> bool {
        match open_polled(self.target, index, poller) {
            Ok(connection) => {
                self.connections[index] = connection;
                self.free.push(index);
                true
            }
            Err(_) => {
                self.down.push_back((now + RECONNECT_INTERVAL, index));
                false
            }
        }
    }

    /// Takes a connection whose next connect is due.
    pub(super) fn take_reconnect(&mut self, now: u64) -> Option<usize> {
        let (_, index) = self.down.pop_front_if(|(due, _)| *due <= now)?;
        Some(index)
    }

    pub(super) fn next_reconnect(&self) -> Option<u64> {
        self.down.front().map(|&(due, _)| due)
    }
}

fn open_polled(target: SocketAddr, index: usize, poller: &Poller) -> Result<Connection, String> {
    let connection = Connection::open(target)?;
    if let Some(socket) = &connection.socket {
        poller
            .add(socket, index as u64)
            .map_err(|error| format!("could not poll a connection: {error}"))?;
    }
    Ok(connection)
}
