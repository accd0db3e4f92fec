//! As much of HTTP/1.1 as one request to a connection needs.

use std::io::{BufRead, BufReader, Read};

use crate::Fault;

/// A request or an answer.
pub struct Message {
    /// The first line.
    pub first: String,
    pub body: Vec<u8>,
}

/// The largest body that is read.
const BODY_BYTES_MAX: u64 = 8 << 20;

/// Reads a message whose body has a length, or none, or ends with the connection if it `may_end`.
pub fn read(stream: &mut impl Read, may_end: bool) -> Result<Message, Fault> {
    let mut stream = BufReader::new(stream);
    let mut line = || -> Result<String, Fault> {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    };
    let first = line()?;
    let mut length = None;
    loop {
        let line = line()?;
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = Some(value.trim().parse::<u64>()?);
        }
    }
    let length = length.unwrap_or(if may_end { BODY_BYTES_MAX } else { 0 });
    if length > BODY_BYTES_MAX {
        return Err("the body is too large".into());
    }
    let mut body = Vec::new();
    stream.take(length).read_to_end(&mut body)?;
    Ok(Message { first, body })
}
