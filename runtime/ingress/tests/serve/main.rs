//! The edge on real sockets, as clients see it.

mod limits;
mod protocols;
mod proxies;
mod requests;
mod smuggling;
mod tls;
mod world;
