//! Sockets of the standard library, from within a server.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};

use crate::query::Query;

/// As much as is heard.
const HEARD_BYTES_MAX: u64 = 1 << 20;

pub fn dial(query: &Query) -> Result<Vec<u8>, String> {
    let (to, say) = (target(query)?, query.get("say").unwrap_or_default());
    let talk = || {
        let mut socket = TcpStream::connect(&to)?;
        socket.write_all(say.as_bytes())?;
        socket.shutdown(Shutdown::Write)?;
        let mut heard = Vec::new();
        socket.take(HEARD_BYTES_MAX).read_to_end(&mut heard)?;
        Ok(heard)
    };
    talk().map_err(|error: std::io::Error| format!("{to}: {error}"))
}

pub fn datagram(query: &Query) -> Result<Vec<u8>, String> {
    let (to, say) = (target(query)?, query.get("say").unwrap_or_default());
    let talk = || {
        let to = to.to_socket_addrs()?.next().ok_or(std::io::ErrorKind::NotFound)?;
        let anywhere: SocketAddr = match to {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(anywhere)?;
        socket.connect(to)?;
        socket.send(say.as_bytes())?;
        let mut heard = vec![0; 64 * 1024];
        let length = socket.recv(&mut heard)?;
        heard.truncate(length);
        Ok(heard)
    };
    talk().map_err(|error: std::io::Error| format!("{to}: {error}"))
}

pub fn lookup(query: &Query) -> Result<Vec<u8>, String> {
    let name = query.get("name").ok_or("which name?")?;
    let found = (name.as_str(), 0).to_socket_addrs().map_err(|error| format!("{name}: {error}"))?;
    Ok(found.map(|address| format!("{}\n", address.ip())).collect::<String>().into_bytes())
}

fn target(query: &Query) -> Result<String, String> {
    query.get("to").ok_or_else(|| "to whom?".into())
}
