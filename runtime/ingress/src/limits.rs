//! What clients may ask of the edge.

use std::time::Duration;

use crate::terms::SizeMax;

/// What clients may ask of the edge. Where an Ingress has terms of its own, they count instead.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long the head of an answer may take, counted from the last of the request that came; after it a body may
    /// stream for as long as it likes.
    pub response_timeout: Duration,
    /// How long a request's head may take to arrive, also the first of a connection and the TLS handshake before it, and
    /// how long a kept connection of HTTP/1.1 may wait for its next.
    pub head_timeout: Duration,
    /// How long a body may be silent, in either direction; how long a client may take nothing of its answer; and how long
    /// at least a connection of HTTP/2 is kept on which nothing is under way.
    pub idle_timeout: Duration,
    /// How large a request's head may be, in bytes.
    pub head_bytes_max: usize,
    /// How large a request's body may be.
    pub body_size_max: SizeMax,
    /// How many connections each listener holds; more wait in the kernel.
    pub connections_max: usize,
    /// How many connections of one listener one address may have, unless it is a trusted proxy; more are closed.
    pub connections_per_client_max: usize,
    /// How long requests under way may take to end at shutdown.
    pub drain: Duration,
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            response_timeout: Duration::from_mins(1),
            head_timeout: Duration::from_secs(30),
            // Longer than the heartbeats of what streams for hours: server-sent events, WebSockets, gRPC.
            idle_timeout: Duration::from_mins(5),
            head_bytes_max: 64 * 1024,
            // Bodies stream and cost no memory here; what takes longer than this is not an upload.
            body_size_max: SizeMax::Bytes(10 << 30),
            connections_max: 10_000,
            connections_per_client_max: 2_000,
            drain: Duration::from_secs(10),
        }
    }
}
