//! The host, with real components: text ones for what must go wrong, the examples for what must go right.

mod command;
mod faults;
mod guests;
mod loopback;
mod outside;
mod prepare;
mod server;
mod sockets;
