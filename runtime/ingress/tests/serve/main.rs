//! The edge on real sockets, as clients see it.

mod acme;
mod limits;
mod protocols;
mod proxies;
mod requests;
mod smuggling;
mod tls;
mod world;
