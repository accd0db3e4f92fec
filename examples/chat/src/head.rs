//! The beginning of a connection: one request of HTTP/1.1.

use tungstenite::handshake::derive_accept_key;

use crate::page::PAGE;

/// A request's head; one that is longer is refused.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// What the bytes that have come so far ask for.
pub enum Asked {
    /// Nothing yet.
    Partial,
    /// A page: this is sent, and the connection ends.
    Page(String),
    /// A WebSocket: this is sent, and what is left of the bytes belongs to it.
    Socket { room: bool, answer: String, taken: usize },
}

/// Reads a head, if it is whole.
pub fn read(bytes: &[u8]) -> Asked {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return if bytes.len() > HEAD_BYTES_MAX { refuse("431 Request Header Fields Too Large") } else { Asked::Partial };
    };
    let Ok(head) = std::str::from_utf8(&bytes[..end]) else { return refuse("400 Bad Request") };
    let mut lines = head.split("\r\n");
    let mut request = lines.next().unwrap_or_default().split(' ');
    let (method, target) = (request.next().unwrap_or_default(), request.next().unwrap_or_default());
    let path = target.split('?').next().unwrap_or_default();
    let fields: Vec<(String, &str)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim()))
        .collect();
    let field = |wanted: &str| fields.iter().find(|(name, _)| name == wanted).map(|(_, value)| *value);
    let upgrades = field("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
    match (method, path, field("sec-websocket-key").filter(|_| upgrades)) {
        ("GET", "/room" | "/echo", Some(key)) => Asked::Socket {
            room: path == "/room",
            answer: format!(
                "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {}\r\n\r\n",
                derive_accept_key(key.as_bytes())
            ),
            taken: end + 4,
        },
        ("GET", "/room" | "/echo", None) => refuse("426 Upgrade Required"),
        ("GET", "/", _) => Asked::Page(page("200 OK", "text/html; charset=utf-8", PAGE)),
        ("GET", ..) => refuse("404 Not Found"),
        _ => refuse("405 Method Not Allowed"),
    }
}

fn refuse(status: &str) -> Asked {
    Asked::Page(page(status, "text/plain", &format!("{status}\n")))
}

fn page(status: &str, kind: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
}
