//! Running wasm: a component becomes a [`Workload`], a workload a [`Server`] or a [`Command`].
//!
//! The host has never heard of a Pod. It takes a component and its digest, compiles it once, maps the compiled code on
//! every later start, and runs instances of it under a [`Spec`]: arguments, environment, mounts, where output goes, and
//! what it may use ([`Ledger`]). A guest reaches the outside only through the [`Outside`] it was given, for
//! HTTP, and the [`Network`] of its Spec, for sockets and names; no socket of the node is behind either. What it keeps by
//! `wasi:keyvalue` is in the [`Buckets`] of its Spec.
//!
//! ```text
//! Host::prepare(digest, source) ──► Workload ──┬─ serve(spec, outside) ─► Server::handle(request) ─► response | Fault
//!                                              └─ run(spec, stdin, outside) ─► Command::wait() ─► Exit
//! ```
//!
//! What holds:
//! - Guests run on threads of their own and give way at every tick; who computes on and on does so behind, on threads of a lower
//!   priority, so a busy loop delays nobody by more than a few ticks, and soon by nothing.
//! - A request gets a fresh instance unless the [`Spec`] says otherwise; nothing of one request is seen by the next.
//! - Dropping the last [`Server`] or [`Command`] ends its instances at once; no task outlives its owner.
//! - Compiled code is native code: it is read only from a directory that belongs to this user alone, and checked first.

mod artifact;
mod blobs;
mod body;
mod cache;
mod command;
pub mod compile;
mod compose;
mod config;
mod engine;
mod fault;
mod files;
mod guest;
mod host;
mod keyvalue;
mod kind;
mod ledger;
mod link;
mod logging;
mod map;
mod meter;
mod network;
mod outside;
mod prepare;
mod quota;
mod server;
mod settings;
mod shares;
mod sink;
mod sockets;
mod spec;
mod stdio;
mod threads;
mod ticker;
mod workload;

pub use artifact::{Digest, InvalidDigest, Linked, NotWasm, Source};
pub use body::{Body, BodyError, empty, full};
pub use command::{Command, Exit};
pub use compose::ComposeError;
pub use config::{Config, instances_for};
pub use fault::Fault;
pub use host::{Host, StartError};
pub use keyvalue::{Asking, Bucket, BucketError, Buckets, Found, Version};
pub use kind::{Wasi, WorkloadKind};
pub use ledger::{Ledger, Limits, Usage};
pub use network::{
    Connecting, Connection, Datagrams, Listener, Network, NetworkError, Port, Reader, Resolving, Writer,
};
pub use outside::{Nowhere, Outside, OutsideError, Sending, Timeouts};
pub use prepare::{Asked, PrepareError};
pub use quota::{Keeper, Quota};
pub use server::Server;
pub use sink::{Discard, Pipe, PipeReader, Sink, SinkClosed, pipe};
pub use spec::{Folder, InstancePolicy, Mode, Mount, RequestPolicy, Spec, Streams};
pub use stdio::Stdin;
pub use workload::{NotACommand, NotAServer, Workload};
