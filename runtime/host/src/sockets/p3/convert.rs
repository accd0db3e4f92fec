//! Addresses and errors in the words of 0.3.

use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};

use super::bindings::wasi::sockets::ip_name_lookup;
use super::bindings::wasi::sockets::types::{
    ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress,
};
use crate::network::NetworkError;
use crate::sockets::address::Family;
use crate::sockets::failure::Refusal;

crate::sockets::addresses::addresses!();

impl From<Refusal> for ErrorCode {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::InvalidState | Refusal::Conflict | Refusal::NotInProgress => ErrorCode::InvalidState,
            Refusal::InvalidArgument => ErrorCode::InvalidArgument,
            Refusal::Network(error) => error.into(),
            // 0.3 waits where 0.2 says so.
            Refusal::WouldBlock => ErrorCode::Other(None),
        }
    }
}

impl From<NetworkError> for ErrorCode {
    fn from(error: NetworkError) -> Self {
        match error {
            NetworkError::Denied => ErrorCode::AccessDenied,
            NetworkError::Unsupported => ErrorCode::NotSupported,
            NetworkError::NotLocal => ErrorCode::AddressNotBindable,
            NetworkError::InUse => ErrorCode::AddressInUse,
            NetworkError::Refused => ErrorCode::ConnectionRefused,
            NetworkError::Unreachable => ErrorCode::RemoteUnreachable,
            NetworkError::TimedOut => ErrorCode::Timeout,
            NetworkError::Reset => ErrorCode::ConnectionReset,
            NetworkError::Aborted => ErrorCode::ConnectionAborted,
            NetworkError::Broken => ErrorCode::ConnectionBroken,
            NetworkError::TooLarge => ErrorCode::DatagramTooLarge,
            NetworkError::TooMany
            | NetworkError::NoSuchName
            | NetworkError::ResolverBusy
            | NetworkError::ResolverFailed
            | NetworkError::Other(_) => ErrorCode::Other(Some(error.to_string())),
        }
    }
}

impl From<Refusal> for ip_name_lookup::ErrorCode {
    fn from(refusal: Refusal) -> Self {
        use ip_name_lookup::ErrorCode;
        match refusal {
            Refusal::InvalidArgument => ErrorCode::InvalidArgument,
            Refusal::Network(NetworkError::Denied) => ErrorCode::AccessDenied,
            Refusal::Network(NetworkError::NoSuchName) => ErrorCode::NameUnresolvable,
            Refusal::Network(NetworkError::ResolverBusy | NetworkError::TimedOut) => {
                ErrorCode::TemporaryResolverFailure
            }
            Refusal::Network(NetworkError::ResolverFailed) => ErrorCode::PermanentResolverFailure,
            Refusal::Network(error) => ErrorCode::Other(Some(error.to_string())),
            Refusal::InvalidState | Refusal::Conflict | Refusal::NotInProgress | Refusal::WouldBlock => {
                ErrorCode::Other(None)
            }
        }
    }
}
