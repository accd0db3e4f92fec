//! The door as clients see it: over TLS, on a real port.

mod access;
mod audit;
mod charges;
mod connect;
mod harness;
mod images;
mod limits;
mod link;
mod lists;
mod objects;
mod resize;
mod services;
mod tokens;
mod watches;
