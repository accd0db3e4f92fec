//! Why a request got no answer. Faults are values: each says what a client would be told.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;

use crate::{BoxError, Request};

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Nobody answers at the address: what a refused connection is elsewhere.
    #[error("nobody answers at {0}")]
    Unreachable(SocketAddr),
    /// The handler did not begin with the request, and gives it back for another to try.
    #[error("{}", .0.reason)]
    Refused(Box<GivenBack>),
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
        port: String,
    },
    /// There is no such host.
    #[error("there is no host {0}")]
    NoHost(String),
    /// The request itself cannot be sent.
    #[error("the request cannot be sent: {0}")]
    BadRequest(&'static str),
    /// Policy forbids the address.
    #[error("{0} is not to be reached from a pod")]
    Denied(IpAddr),
    /// The request has come through too many pods.
    #[error("the request has come through more than {0} pods")]
    TooManyHops(u8),
    /// The component trapped, was stopped, or ended without an answer.
    #[error("the component failed")]
    Trapped(#[source] BoxError),
    /// The connection to a host outside the cluster failed.
    #[error("the connection failed")]
    Connection(#[source] BoxError),
    /// No answer came in time.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

/// A request that its handler gives back untouched, and why.
#[derive(Debug)]
pub struct GivenBack {
    reason: &'static str,
    // A request may be sent to another thread but not shared; a fault may be shared, as errors are.
    request: Mutex<Request>,
}

// === impl Fault ===

impl Fault {
    /// `request` was not begun with, for `reason`; another endpoint may have it.
    pub fn refused(request: Request, reason: &'static str) -> Self {
        Self::Refused(Box::new(GivenBack { reason, request: Mutex::new(request) }))
    }

    /// Whether it tells something of the endpoint that was asked, rather than of the request or of policy.
    pub(crate) fn is_the_endpoints(&self) -> bool {
        matches!(
            self,
            Self::Unreachable(_) | Self::Refused(_) | Self::Trapped(_) | Self::Connection(_) | Self::TimedOut(_)
        )
    }

    /// What an HTTP client is told.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Unreachable(_) | Self::Refused(_) | Self::NoEndpoint { .. } | Self::NoPort { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Denied(_) => StatusCode::FORBIDDEN,
            Self::TooManyHops(_) => StatusCode::LOOP_DETECTED,
            Self::NoHost(_) | Self::Trapped(_) | Self::Connection(_) => StatusCode::BAD_GATEWAY,
            Self::TimedOut(_) => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}

// === impl GivenBack ===

impl GivenBack {
    /// The request, as it was.
    pub fn into_request(self) -> Request {
        self.request.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why it was not begun with.
    pub fn reason(&self) -> &'static str {
        self.reason
    }
}
