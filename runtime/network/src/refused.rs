//! Why there is no connection, and why an address could not be taken.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::{BoxError, Fault};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Nobody listens at the address.
    #[error("nobody answers at {0}")]
    Nobody(SocketAddr),
    /// There is no way to the address.
    #[error("there is no way to {0}")]
    Unreachable(SocketAddr),
    /// Policy forbids it.
    #[error("{to} is not to be reached from {from}")]
    Denied {
        /// Who asked.
        from: String,
        /// For what.
        to: SocketAddr,
    },
    /// The service has no endpoint that is ready.
    #[error("{service} has no endpoint that is ready")]
    NoEndpoint {
        /// The service and its port, such as `shop/web:80`.
        service: String,
    },
    /// The service does not have the port.
    #[error("{service} has no port {port}")]
    NoPort {
        /// The service, such as `shop/web`.
        service: String,
        /// The port asked for.
        port: u16,
    },
    /// No connection stood in time.
    #[error("no connection to {to} within {limit:?}")]
    TimedOut {
        /// Where to.
        to: SocketAddr,
        /// How long it was waited for.
        limit: Duration,
    },
    /// A real connection failed.
    #[error("the connection to {to} failed")]
    Failed {
        /// Where to.
        to: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Why an address could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody has it.
    #[error("{0} is in use")]
    InUse(SocketAddr),
    /// The address is not one of the pod's.
    #[error("{0} is not an address of this pod")]
    NotOwn(SocketAddr),
    /// All ports that are given out are in use.
    #[error("no port is free")]
    NoPort,
    /// The node does not let it be taken.
    #[error("{address} cannot be taken")]
    Failed {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

// === impl Refused ===

impl Refused {
    /// Whether another endpoint might take the connection that this one did not.
    pub fn is_worth_another_try(&self) -> bool {
        matches!(self, Self::Nobody(_) | Self::Unreachable(_) | Self::TimedOut { .. } | Self::Failed { .. })
    }

    /// Whether there was nobody who could have taken it.
    pub(crate) fn is_nobody(&self) -> bool {
        matches!(self, Self::NoEndpoint { .. } | Self::Nobody(_) | Self::Unreachable(_))
    }

    /// A real connection that failed with `source`, in the word that fits it.
    pub(crate) fn failed(to: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::ConnectionRefused => Self::Nobody(to),
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Self::Unreachable(to),
            _ => Self::Failed { to, source },
        }
    }
}

impl From<Refused> for Fault {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Nobody(to) | Refused::Unreachable(to) => Self::Unreachable(to),
            Refused::Denied { to, .. } => Self::Denied(to.ip()),
            Refused::NoEndpoint { service } => Self::NoEndpoint { service },
            Refused::NoPort { service, port } => Self::NoPort { service, port: port.to_string() },
            Refused::TimedOut { limit, .. } => Self::TimedOut(limit),
            Refused::Failed { .. } => Self::Connection(BoxError::from(refused)),
        }
    }
}

// === impl BindError ===

impl BindError {
    /// A real address that could not be taken because of `source`.
    pub(crate) fn failed(address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse(address),
            io::ErrorKind::AddrNotAvailable => Self::NotOwn(address),
            _ => Self::Failed { address, source },
        }
    }
}
