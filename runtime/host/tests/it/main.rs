//! The host, with real components: text ones for what must go wrong, the examples for what must go right.

mod command;
mod guests;
mod prepare;
mod server;
