//! Addresses and errors in the words of 0.2.

use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};

use super::bindings::wasi::sockets::network::{
    ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress,
};
use crate::network::NetworkError;
use crate::sockets::address::Family;
use crate::sockets::failure::Refusal;

crate::sockets::addresses::addresses!();

impl From<Refusal> for ErrorCode {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::InvalidState => ErrorCode::InvalidState,
            Refusal::InvalidArgument => ErrorCode::InvalidArgument,
            Refusal::NotInProgress => ErrorCode::NotInProgress,
            Refusal::WouldBlock => ErrorCode::WouldBlock,
            Refusal::Conflict => ErrorCode::ConcurrencyConflict,
            Refusal::Network(error) => error.into(),
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
            NetworkError::TooMany => ErrorCode::NewSocketLimit,
            NetworkError::Refused => ErrorCode::ConnectionRefused,
            NetworkError::Unreachable => ErrorCode::RemoteUnreachable,
            NetworkError::TimedOut => ErrorCode::Timeout,
            NetworkError::Reset => ErrorCode::ConnectionReset,
            NetworkError::Aborted => ErrorCode::ConnectionAborted,
            NetworkError::TooLarge => ErrorCode::DatagramTooLarge,
            NetworkError::NoSuchName => ErrorCode::NameUnresolvable,
            NetworkError::ResolverBusy => ErrorCode::TemporaryResolverFailure,
            NetworkError::ResolverFailed => ErrorCode::PermanentResolverFailure,
            // 0.2 says it by closing the stream.
            NetworkError::Broken => ErrorCode::Unknown,
            NetworkError::Other(_) => ErrorCode::Unknown,
        }
    }
}
