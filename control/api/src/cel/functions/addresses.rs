//! Addresses and ranges of them: `ip('10.0.0.1')`, `cidr('10.0.0.0/8')`.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::cel::budget::Fault;
use crate::cel::evaluate::Machine;
use crate::cel::signature::Kind::{Bool, Int, Opaque, String};
use crate::cel::signature::{Answer, Overload, function, member};
use crate::cel::value::Value;

const IP: crate::cel::signature::Kind = Opaque("net.IP");
const CIDR: crate::cel::signature::Kind = Opaque("net.CIDR");

pub(crate) static TABLE: &[Overload] = &[
    function("ip", &[String], IP, ip),
    function("isIP", &[String], Bool, is_ip),
    function("ip.isCanonical", &[String], Bool, is_canonical),
    member("family", &[IP], Int, family),
    member("isUnspecified", &[IP], Bool, is_unspecified),
    member("isLoopback", &[IP], Bool, is_loopback),
    member("isLinkLocalMulticast", &[IP], Bool, is_link_local_multicast),
    member("isLinkLocalUnicast", &[IP], Bool, is_link_local_unicast),
    member("isGlobalUnicast", &[IP], Bool, is_global_unicast),
    function("cidr", &[String], CIDR, cidr),
    function("isCIDR", &[String], Bool, is_cidr),
    member("containsIP", &[CIDR, IP], Bool, contains_ip),
    member("containsIP", &[CIDR, String], Bool, contains_ip),
    member("containsCIDR", &[CIDR, CIDR], Bool, contains_cidr),
    member("containsCIDR", &[CIDR, String], Bool, contains_cidr),
    member("ip", &[CIDR], IP, address_of),
    member("masked", &[CIDR], CIDR, masked),
    member("prefixLength", &[CIDR], Int, prefix_length),
];

/// An address in one of its usual forms: no zone, and no IPv4 in the clothes of IPv6.
fn address(text: &str) -> Result<IpAddr, Fault> {
    let parsed: IpAddr = text.parse().map_err(|_| {
        Fault::error(format!(
            "IP Address {text:?} parse error during conversion from string: ParseAddr({text:?}): unable to parse IP"
        ))
    })?;
    match parsed {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            Err(Fault::error(format!("IPv4-mapped IPv6 address {text:?} is not allowed")))
        }
        parsed => Ok(parsed),
    }
}

fn range(text: &str) -> Result<IpNet, Fault> {
    text.parse().map_err(|_| {
        Fault::error(format!("network address parse error during conversion from string: netip.ParsePrefix({text:?}): unable to parse prefix"))
    })
}

fn said<'v>(given: &'v [Value<'_>], place: usize) -> Result<&'v str, Fault> {
    given.get(place).and_then(Value::as_str).ok_or_else(Fault::no_overload)
}

fn ip<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    address(said(given, 0)?).map(Value::Ip)
}

fn is_ip<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    Ok(Value::Bool(address(said(given, 0)?).is_ok()))
}

fn is_canonical<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    let text = said(given, 0)?;
    Ok(Value::Bool(address(text)?.to_string() == text))
}

fn asked<'a>(given: &[Value<'a>], question: fn(&IpAddr) -> bool) -> Answer<'a> {
    match given {
        [Value::Ip(address)] => Ok(Value::Bool(question(address))),
        _ => Err(Fault::no_overload()),
    }
}

fn family<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    match given {
        [Value::Ip(address)] => Ok(Value::Int(if address.is_ipv4() { 4 } else { 6 })),
        _ => Err(Fault::no_overload()),
    }
}

fn is_unspecified<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    asked(given, IpAddr::is_unspecified)
}

fn is_loopback<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    asked(given, IpAddr::is_loopback)
}

fn is_link_local_multicast<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    asked(given, link_local_multicast)
}

fn link_local_multicast(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
        IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
    }
}

fn link_local_unicast(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

fn is_link_local_unicast<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    asked(given, link_local_unicast)
}

fn is_global_unicast<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    asked(given, |address| {
        let is_broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
        !is_broadcast
            && !address.is_unspecified()
            && !address.is_loopback()
            && !address.is_multicast()
            && !link_local_unicast(address)
    })
}

fn cidr<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    range(said(given, 0)?).map(Value::Cidr)
}

fn is_cidr<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    Ok(Value::Bool(range(said(given, 0)?).is_ok()))
}

fn contains_ip<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    let Value::Cidr(range) = given[0] else { return Err(Fault::no_overload()) };
    let address = match &given[1] {
        Value::Ip(address) => *address,
        _ => address(said(given, 1)?)?,
    };
    Ok(Value::Bool(range.contains(&address)))
}

fn contains_cidr<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    let Value::Cidr(outer) = given[0] else { return Err(Fault::no_overload()) };
    let inner = match &given[1] {
        Value::Cidr(inner) => *inner,
        _ => range(said(given, 1)?)?,
    };
    Ok(Value::Bool(outer.contains(&inner.network()) && outer.prefix_len() <= inner.prefix_len()))
}

fn address_of<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    match given {
        [Value::Cidr(range)] => Ok(Value::Ip(range.addr())),
        _ => Err(Fault::no_overload()),
    }
}

fn masked<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    match given {
        [Value::Cidr(range)] => Ok(Value::Cidr(range.trunc())),
        _ => Err(Fault::no_overload()),
    }
}

fn prefix_length<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    match given {
        [Value::Cidr(range)] => Ok(Value::Int(i64::from(range.prefix_len()))),
        _ => Err(Fault::no_overload()),
    }
}
