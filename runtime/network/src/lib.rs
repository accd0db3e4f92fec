//! Addresses and who answers at them: the pod network, inside the runtime.
//!
//! Pods reach the outside only through host calls, so the network is ours. Anything that answers a request is a
//! [`Handler`]; the [`Fabric`] knows which handler stands at which address of this node; the [`ServiceTable`] says which
//! addresses stand behind a service, and [`balance`] which of them is next; [`Outbound`] is what a pod's own requests go
//! through. A call between two pods of a node is a function call: no socket, no bytes on a wire.
//!
//! Nothing here calls the API: tables are functions of a snapshot, made anew by [`published`] when what they are made of
//! changes, and read without a lock. What is not here: sockets inside pods, and addresses on other nodes. Both join at
//! [`Fabric::dial`], the one place where an address becomes somebody who answers.

pub mod balance;
mod fabric;
mod fault;
mod latest;
mod message;
pub mod names;
mod origin;
mod outbound;
pub mod policy;
pub mod ports;
mod readiness;
mod refused;
mod remote;
mod services;
mod stream;
pub mod tunnel;
#[cfg(test)]
mod world;

pub use fabric::{Attachment, Binding, Citizen, Datagrams, Fabric, Listener, Row, Security, Socket, Waiting};
pub use fault::{Fault, GivenBack};
pub use latest::{Latest, published, published_beside};
pub use message::{
    Body, BoxError, Client, Handler, Hops, PriorKnowledge, Request, Response, call, empty, full, handler, text,
};
pub use origin::Origin;
pub use outbound::{Config, EgressPolicy, From, Outbound, Reach};
pub use policy::{Policy, PolicyTable};
pub use readiness::Readiness;
pub use refused::{BindError, Refused};
pub use remote::Remote;
pub use services::{
    Affinity, Endpoint, Member, Port, PortRef, Service, ServiceKind, ServiceTable, Services, Traffic, services,
    services_on,
};
pub use stream::{Reader, Stream, Writer, carry};
