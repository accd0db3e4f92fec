//! A person with a browser whose page holds a WebSocket.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longest an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// A WebSocket over which short texts go.
#[derive(Debug)]
pub struct WebSocket(TcpStream);

// === impl WebSocket ===

impl WebSocket {
    /// Asks for `path` of `host` at an address; the error is what was answered instead.
    pub fn open(to: SocketAddr, host: &str, path: &str) -> Result<Self, String> {
        let ask = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
        let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{ask}\r\n\r\n");
        let mut stream = TcpStream::connect(to).map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
        stream.write_all(head.as_bytes()).map_err(|error| error.to_string())?;
        let mut told = Vec::new();
        let mut byte = [0];
        while !told.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
            told.push(byte[0]);
        }
        let told = String::from_utf8_lossy(&told).to_ascii_lowercase();
        // What RFC 6455 has as the answer to the key of its example.
        let is_agreed = told.starts_with("http/1.1 101") && told.contains("s3pplmbitxaq9kygzzhzrbk+xoo=");
        if is_agreed { Ok(Self(stream)) } else { Err(told) }
    }

    /// Says something short, in a masked frame as a browser does.
    pub fn say(&mut self, text: &str) {
        let mask = [1, 2, 3, 4];
        let length = u8::try_from(text.len()).unwrap_or_else(|_| panic!("{text:?} is too long"));
        let masked = text.bytes().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
        let frame: Vec<u8> = [0x81, 0x80 | length].into_iter().chain(mask).chain(masked).collect();
        self.0.write_all(&frame).unwrap_or_else(|error| panic!("{text:?} was not said: {error}"));
    }

    /// Hears one short text.
    pub fn hear(&mut self) -> String {
        let mut heard = || -> io::Result<String> {
            let mut head = [0; 2];
            self.0.read_exact(&mut head)?;
            let mut text = vec![0; usize::from(head[1])];
            self.0.read_exact(&mut text)?;
            String::from_utf8(text).map_err(io::Error::other)
        };
        heard().unwrap_or_else(|error| panic!("nothing was heard: {error}"))
    }

    /// Waits until somebody has said this.
    pub fn hear_of(&mut self, words: &str) {
        while !self.hear().contains(words) {}
    }
}
