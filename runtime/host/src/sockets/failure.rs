//! Why a call of a guest fails, before it is said in the words of one generation of WASI.

use wasmtime::component::ResourceTableError;

use crate::network::NetworkError;

/// What the guest is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The socket is not in a state for it.
    InvalidState,
    /// It makes no sense, whatever the state.
    InvalidArgument,
    /// Nothing was started that could be finished.
    NotInProgress,
    /// It is not done yet.
    WouldBlock,
    /// Something else was started and not finished.
    Conflict,
    /// It is the network's answer.
    Network(NetworkError),
}

/// A refusal, or an end of the instance.
#[derive(Debug)]
pub(crate) enum Failure {
    Refused(Refusal),
    Trap(wasmtime::Error),
}

// === impl Refusal ===

impl From<NetworkError> for Refusal {
    fn from(error: NetworkError) -> Self {
        Refusal::Network(error)
    }
}

// === impl Failure ===

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Failure::Refused(refusal)
    }
}

impl From<NetworkError> for Failure {
    fn from(error: NetworkError) -> Self {
        Failure::Refused(error.into())
    }
}

impl From<ResourceTableError> for Failure {
    fn from(error: ResourceTableError) -> Self {
        Failure::Trap(error.into())
    }
}
