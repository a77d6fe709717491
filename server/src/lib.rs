//! The kvwal store over TCP: lines of text for netcat, RESP for Redis clients, on one port. `OK` means durable.
//!
//! The [event loop](event_loop) does all the socket I/O, and parses ([`protocol`]) what comes into a
//! [connection]. What the commands ([`command`]) do to keys they do through [`keyspace`]: on the store as it is, in the
//! event loop; or in a transaction, on the committer's thread ([`workers`]). The binary is the [command line](cli) and [`run`].
//!
//! Nothing here is an interface for other crates; it is a library so that tests and fuzzers can reach it.

pub mod auth;
pub mod budget;
pub mod cli;
pub mod command;
pub mod config;
pub mod connection;
pub mod event_loop;
pub mod glob;
pub mod info;
pub mod input;
pub mod keyspace;
pub mod latency;
pub mod log;
pub mod metrics;
pub mod output;
pub mod protocol;
pub mod run;
pub mod server;
pub mod turn;
pub mod unit;
pub mod workers;
