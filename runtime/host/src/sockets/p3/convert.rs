//! Addresses and errors in the words of 0.3.

use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};

use super::bindings::wasi::sockets::ip_name_lookup;
use super::bindings::wasi::sockets::types::{
    ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress,
};
use crate::network::NetworkError;
use crate::sockets::address::Family;
use crate::sockets::failure::Refusal;

impl From<IpAddressFamily> for Family {
    fn from(family: IpAddressFamily) -> Self {
        match family {
            IpAddressFamily::Ipv4 => Family::V4,
            IpAddressFamily::Ipv6 => Family::V6,
        }
    }
}

impl From<Family> for IpAddressFamily {
    fn from(family: Family) -> Self {
        match family {
            Family::V4 => IpAddressFamily::Ipv4,
            Family::V6 => IpAddressFamily::Ipv6,
        }
    }
}

impl From<IpSocketAddress> for SocketAddr {
    fn from(address: IpSocketAddress) -> Self {
        match address {
            IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address }) => {
                SocketAddrV4::new(<[u8; 4]>::from(address).into(), port).into()
            }
            IpSocketAddress::Ipv6(Ipv6SocketAddress { port, flow_info, address, scope_id }) => {
                SocketAddrV6::new(<[u16; 8]>::from(address).into(), port, flow_info, scope_id).into()
            }
        }
    }
}

impl From<SocketAddr> for IpSocketAddress {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(address) => {
                IpSocketAddress::Ipv4(Ipv4SocketAddress { port: address.port(), address: address.ip().octets().into() })
            }
            SocketAddr::V6(address) => IpSocketAddress::Ipv6(Ipv6SocketAddress {
                port: address.port(),
                flow_info: address.flowinfo(),
                address: address.ip().segments().into(),
                scope_id: address.scope_id(),
            }),
        }
    }
}

impl From<IpAddr> for IpAddress {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => IpAddress::Ipv4(ip.octets().into()),
            IpAddr::V6(ip) => IpAddress::Ipv6(ip.segments().into()),
        }
    }
}

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
