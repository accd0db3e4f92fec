//! Asks a server over TLS.

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::{Fault, files, http};

const PORT: u16 = 443;

/// Prints what is answered to a GET; a file that is not there holds no token.
pub fn get(url: &str, ca: &str, token: &str) -> Result<(), Fault> {
    let rest = url.strip_prefix("https://").ok_or("the URL is to begin with https://")?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse()?),
        None => (authority, PORT),
    };
    let config = ClientConfig::builder_with_provider(Arc::new(rustls_rustcrypto::provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(files::authorities(ca)?)
        .with_no_client_auth();
    let session = ClientConnection::new(Arc::new(config), ServerName::try_from(host.to_owned())?)?;
    let mut stream = StreamOwned::new(session, TcpStream::connect((host, port))?);
    let shown =
        files::read(token).map(|token| format!("Authorization: Bearer {}\r\n", token.trim())).unwrap_or_default();
    write!(
        stream,
        "GET /{path} HTTP/1.1\r\nHost: {authority}\r\n{shown}Accept: application/json\r\nConnection: close\r\n\r\n"
    )?;
    stream.flush()?;
    let answer = http::read(&mut stream, true)?;
    let mut out = io::stdout().lock();
    out.write_all(&answer.body)?;
    out.flush()?;
    match answer.first.split(' ').nth(1) {
        Some(code) if code.starts_with('2') => Ok(()),
        _ => Err(answer.first.into()),
    }
}
