//! Transactions: guards, writes, keys and claims.

use std::net::IpAddr;

use api::{GroupKind, Key, Object, Revision};
use state::{Claim, Guard, Protocol, Txn, Write};

use super::{Malformed, Reader, Stored, put_bytes, put_length};

impl Stored for Txn {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(super::FORMAT);
        put_length(out, self.guards.len());
        self.guards.iter().for_each(|guard| put_guard(out, guard));
        put_length(out, self.writes.len());
        self.writes.iter().for_each(|write| put_write(out, write));
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let txn = Self { guards: reader.list(guard)?, writes: reader.list(write)? };
        reader.end(txn)
    }
}

fn put_guard(out: &mut Vec<u8>, guard: &Guard) {
    match guard {
        Guard::Unchanged(key, revision) => {
            out.push(0);
            put_key(out, key);
            out.extend_from_slice(&revision.0.to_le_bytes());
        }
        Guard::Absent(key) => {
            out.push(1);
            put_key(out, key);
        }
        Guard::Alive(key) => {
            out.push(2);
            put_key(out, key);
        }
        Guard::Free(claim, key) => {
            out.push(3);
            put_claim(out, claim);
            put_key(out, key);
        }
    }
}

fn guard(reader: &mut Reader<'_>) -> Result<Guard, Malformed> {
    match reader.byte()? {
        0 => Ok(Guard::Unchanged(key(reader)?, Revision(reader.u64()?))),
        1 => Ok(Guard::Absent(key(reader)?)),
        2 => Ok(Guard::Alive(key(reader)?)),
        3 => Ok(Guard::Free(claim(reader)?, key(reader)?)),
        _ => Err(Malformed { what: "guard" }),
    }
}

/// The revision that a written object carries is left out: it gets its own when it is applied.
fn put_write(out: &mut Vec<u8>, write: &Write) {
    match write {
        Write::Put(object) => {
            out.push(0);
            put_object(out, object);
        }
        Write::Delete(key) => {
            out.push(1);
            put_key(out, key);
        }
    }
}

fn write(reader: &mut Reader<'_>) -> Result<Write, Malformed> {
    match reader.byte()? {
        0 => object(reader).map(Write::Put),
        1 => key(reader).map(Write::Delete),
        _ => Err(Malformed { what: "write" }),
    }
}

/// Appends an object: its kind and its bytes, which say the rest.
pub(crate) fn put_object(out: &mut Vec<u8>, object: &Object) {
    put_kind(out, object.key().kind());
    put_bytes(out, object.body());
}

pub(crate) fn object(reader: &mut Reader<'_>) -> Result<Object, Malformed> {
    let kind = kind(reader)?;
    Object::of_body(kind, reader.owned()?).map_err(|_| Malformed { what: "object" })
}

pub(crate) fn put_key(out: &mut Vec<u8>, key: &Key) {
    put_kind(out, key.kind());
    put_bytes(out, key.namespace().as_bytes());
    put_bytes(out, key.name().as_bytes());
}

pub(crate) fn key(reader: &mut Reader<'_>) -> Result<Key, Malformed> {
    let kind = kind(reader)?;
    Ok(Key::new(kind, reader.text()?, reader.text()?))
}

fn put_kind(out: &mut Vec<u8>, kind: GroupKind) {
    put_bytes(out, kind.group.as_bytes());
    put_bytes(out, kind.kind.as_bytes());
}

pub(crate) fn kind(reader: &mut Reader<'_>) -> Result<GroupKind, Malformed> {
    Ok(GroupKind::interned(reader.text()?, reader.text()?))
}

fn put_claim(out: &mut Vec<u8>, claim: &Claim) {
    match claim {
        Claim::ClusterIp(address) => {
            out.push(0);
            put_address(out, address);
        }
        Claim::PodIp(address) => {
            out.push(1);
            put_address(out, address);
        }
        Claim::NodePort(protocol, port) => {
            out.push(2);
            out.push(match protocol {
                Protocol::Tcp => 0,
                Protocol::Udp => 1,
                Protocol::Sctp => 2,
            });
            out.extend_from_slice(&port.to_le_bytes());
        }
    }
}

fn claim(reader: &mut Reader<'_>) -> Result<Claim, Malformed> {
    match reader.byte()? {
        0 => address(reader).map(Claim::ClusterIp),
        1 => address(reader).map(Claim::PodIp),
        2 => {
            let protocol = match reader.byte()? {
                0 => Protocol::Tcp,
                1 => Protocol::Udp,
                2 => Protocol::Sctp,
                _ => return Err(Malformed { what: "protocol" }),
            };
            Ok(Claim::NodePort(protocol, reader.u16()?))
        }
        _ => Err(Malformed { what: "claim" }),
    }
}

fn put_address(out: &mut Vec<u8>, address: &IpAddr) {
    match address {
        IpAddr::V4(address) => {
            out.push(4);
            out.extend_from_slice(&address.octets());
        }
        IpAddr::V6(address) => {
            out.push(6);
            out.extend_from_slice(&address.octets());
        }
    }
}

fn address(reader: &mut Reader<'_>) -> Result<IpAddr, Malformed> {
    match reader.byte()? {
        4 => reader.array::<4>().map(IpAddr::from),
        6 => reader.array::<16>().map(IpAddr::from),
        _ => Err(Malformed { what: "address" }),
    }
}
