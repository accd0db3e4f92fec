//! Addresses in the words of the interfaces. Both generations have the same ones, as types of their own, so the conversions are
//! written once and made for each.

/// The conversions for the types of the module where this stands, which are imported there under their own names, as are
/// `Family`, `IpAddr`, `SocketAddr`, `SocketAddrV4` and `SocketAddrV6`.
macro_rules! addresses {
    () => {
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
                    SocketAddr::V4(address) => IpSocketAddress::Ipv4(Ipv4SocketAddress {
                        port: address.port(),
                        address: address.ip().octets().into(),
                    }),
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
    };
}

pub(super) use addresses;
