//! What HTTP/1.1 may look like on the wire.
//!
//! A message that two readers understand differently is how one client's bytes become another's request. So before the
//! parser there is this gate: it follows the framing byte by byte and lets nothing pass of which there are two readings,
//! although the standard would have the parser make the best of it. Lines end with CR LF and nothing else; a field is not
//! folded, its name has no space around it; there is one length, said once: either a number or chunks; chunks are what they
//! say; trailers do not speak of framing. What the gate stops, the parser never sees: see [`Wire`](crate::wire::Wire).
//!
//! After the preface of HTTP/2, and after a request that asks for another protocol, the gate stands open: such a request is
//! the last one of its connection that is read as HTTP/1.1.

/// Longest line outside of a head, whose length the parser limits: the size of a chunk, a trailer.
const LINE_BYTES_MAX: usize = 8 * 1024;
/// Digits of a chunk's size: enough for any chunk, too few to overflow.
const SIZE_DIGITS_MAX: usize = 15;
/// Digits of a body's length, for the same reason.
const LENGTH_DIGITS_MAX: usize = 18;
/// The first line of the preface of HTTP/2.
const PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// Follows what a client says in one connection.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: State,
    /// What has come of the line that is under way, while it comes in pieces.
    line: Vec<u8>,
    head: Head,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before a request.
    #[default]
    Start,
    /// Among the fields of a head.
    Fields,
    /// Bytes of a body whose length is known.
    Body(u64),
    /// At the line with the size of a chunk.
    ChunkSize,
    /// Bytes of a chunk.
    Chunk(u64),
    /// At the end of a chunk's line.
    ChunkEnd,
    /// Among the trailers.
    Trailers,
    /// No longer HTTP/1.1.
    Open,
    /// A rule is broken: one of heads, or one of bodies.
    Shut { in_head: bool },
}

/// What a head has said so far about where its message ends.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    is_http_10: bool,
    has_host: bool,
    length: Option<u64>,
    is_chunked: bool,
    asks_for_upgrade: bool,
}

/// A rule is broken.
#[derive(Debug, PartialEq, Eq)]
struct Broken;

// === impl Gate ===

impl Gate {
    /// Looks at `bytes`, which come next, and says how many of them may pass. Fewer than all: the next one breaks a rule, and
    /// from there on nothing passes.
    pub(crate) fn pass(&mut self, bytes: &[u8]) -> usize {
        let mut passed = 0;
        while passed < bytes.len() {
            let rest = &bytes[passed..];
            match &mut self.state {
                State::Open => return bytes.len(),
                State::Shut { .. } => return passed,
                State::Body(left) | State::Chunk(left) => {
                    let taken = usize::try_from(*left).map_or(rest.len(), |left| left.min(rest.len()));
                    *left -= taken as u64;
                    passed += taken;
                    self.state = match self.state {
                        State::Body(0) => State::Start,
                        State::Chunk(0) => State::ChunkEnd,
                        more => more,
                    };
                }
                _ => match self.line(rest) {
                    Ok(taken) => passed += taken,
                    Err((taken, Broken)) => {
                        self.state = State::Shut { in_head: matches!(self.state, State::Start | State::Fields) };
                        return passed + taken;
                    }
                },
            }
        }
        passed
    }

    /// Whether a rule of heads is broken.
    pub(crate) fn is_shut_in_a_head(&self) -> bool {
        self.state == State::Shut { in_head: true }
    }

    /// Takes a line, or the part of it that is here. The end of a line that breaks a rule does not pass.
    fn line(&mut self, bytes: &[u8]) -> Result<usize, (usize, Broken)> {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            let is_bounded = matches!(self.state, State::Start | State::Fields);
            if !is_bounded && self.line.len() + bytes.len() > LINE_BYTES_MAX {
                return Err((0, Broken));
            }
            self.line.extend_from_slice(bytes);
            return Ok(bytes.len());
        };
        let read = if self.line.is_empty() {
            self.state.after(&mut self.head, &bytes[..end])
        } else {
            let mut line = std::mem::take(&mut self.line);
            line.extend_from_slice(&bytes[..end]);
            let read = self.state.after(&mut self.head, &line);
            line.clear();
            self.line = line;
            read
        };
        self.state = read.map_err(|broken| (end, broken))?;
        Ok(end + 1)
    }
}

// === impl State ===

impl State {
    /// Where a line leads that ended with a line feed.
    fn after(self, head: &mut Head, line: &[u8]) -> Result<Self, Broken> {
        let line = line.strip_suffix(b"\r").ok_or(Broken)?;
        if line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
            return Err(Broken);
        }
        match self {
            // An empty line before a request is what some clients leave behind a body.
            Self::Start if line.is_empty() => Ok(Self::Start),
            Self::Start if line == PREFACE => Ok(Self::Open),
            Self::Start => {
                *head = Head { is_http_10: request_line(line)?, ..Head::default() };
                Ok(Self::Fields)
            }
            Self::Fields if line.is_empty() => head.end(),
            Self::Fields => head.field(line).map(|()| Self::Fields),
            Self::ChunkSize => chunk_size(line),
            Self::ChunkEnd if line.is_empty() => Ok(Self::ChunkSize),
            Self::Trailers if line.is_empty() => Ok(Self::Start),
            Self::Trailers => trailer(line).map(|()| Self::Trailers),
            _ => Err(Broken),
        }
    }
}

/// Whether a request's first line speaks HTTP/1.0.
fn request_line(line: &[u8]) -> Result<bool, Broken> {
    let mut words = line.split(|byte| *byte == b' ');
    match (words.next(), words.next(), words.next(), words.next()) {
        (Some(method), Some(target), Some(version), None) if is_token(method) && !target.is_empty() => match version {
            b"HTTP/1.1" => Ok(false),
            b"HTTP/1.0" => Ok(true),
            _ => Err(Broken),
        },
        _ => Err(Broken),
    }
}

/// The name and the value of a field.
fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Broken> {
    let colon = line.iter().position(|byte| *byte == b':').ok_or(Broken)?;
    // A name with a space is a folded line, or one that others read as a shorter name.
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    if is_token(name) { Ok((name, value)) } else { Err(Broken) }
}

fn trailer(line: &[u8]) -> Result<(), Broken> {
    let (name, _) = field(line)?;
    let speaks_of_framing = ["content-length", "transfer-encoding", "host", "connection", "upgrade", "trailer"];
    if speaks_of_framing.iter().any(|framing| is_like(name, framing)) { Err(Broken) } else { Ok(()) }
}

fn chunk_size(line: &[u8]) -> Result<State, Broken> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let size = number(digits, 16, SIZE_DIGITS_MAX)?;
    Ok(if size == 0 { State::Trailers } else { State::Chunk(size) })
}

fn number(digits: &[u8], radix: u32, digits_max: usize) -> Result<u64, Broken> {
    let is_number = !digits.is_empty() && digits.len() <= digits_max;
    let text = std::str::from_utf8(digits).ok().filter(|text| is_number && !text.starts_with('+'));
    text.and_then(|text| u64::from_str_radix(text, radix).ok()).ok_or(Broken)
}

fn is_token(name: &[u8]) -> bool {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !name.is_empty() && name.iter().all(is_letter)
}

/// Whether a name is `field`, or what others might take for it: to many, `_` is as good as `-`.
fn is_like(name: &[u8], field: &str) -> bool {
    let letters = name.iter().map(|byte| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() });
    name.len() == field.len() && letters.eq(field.bytes())
}

// === impl Head ===

impl Head {
    fn field(&mut self, line: &[u8]) -> Result<(), Broken> {
        let (name, value) = field(line)?;
        let is = |field: &str| is_like(name, field);
        // Only what is spelt with a dash is what it says.
        if name.contains(&b'_') {
            return if is("content-length") || is("transfer-encoding") { Err(Broken) } else { Ok(()) };
        }
        if is("content-length") {
            let length = number(value, 10, LENGTH_DIGITS_MAX)?;
            return if self.length.replace(length).is_some() { Err(Broken) } else { Ok(()) };
        }
        if is("transfer-encoding") {
            let is_first = !std::mem::replace(&mut self.is_chunked, true);
            return if is_first && value.eq_ignore_ascii_case(b"chunked") { Ok(()) } else { Err(Broken) };
        }
        if is("host") && std::mem::replace(&mut self.has_host, true) {
            return Err(Broken);
        }
        self.asks_for_upgrade |= is("upgrade");
        Ok(())
    }

    fn end(&self) -> Result<State, Broken> {
        match self {
            Self { is_chunked: true, length: Some(_), .. } | Self { is_chunked: true, is_http_10: true, .. } => {
                Err(Broken)
            }
            Self { asks_for_upgrade: true, .. } => Ok(State::Open),
            Self { is_chunked: true, .. } => Ok(State::ChunkSize),
            Self { length: Some(length), .. } if *length > 0 => Ok(State::Body(*length)),
            _ => Ok(State::Start),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What passes of a text in which `|` stands for the end of a line.
    fn check(text: &str, expected: &str) {
        let text = text.replace('|', "\r\n");
        let passed = Gate::default().pass(text.as_bytes());
        let told = if passed == text.len() { "all".to_owned() } else { text[..passed].replace("\r\n", "|") };
        assert_eq!(told, expected, "{text:?}");
    }

    #[test]
    fn what_everybody_reads_alike_passes() {
        for text in [
            "GET / HTTP/1.1|Host: a||",
            "|GET / HTTP/1.0||",
            "GET / HTTP/1.1|Host: a|X: \tb c\t||GET / HTTP/1.1|Host: a||",
            "POST / HTTP/1.1|Content-Length: 4||\0\n\r\nGET / HTTP/1.1|Host:a||",
            "POST / HTTP/1.1|transfer-encoding: Chunked||a;x=y|0123456789|0|x: y||GET / HTTP/1.1|Host: a||",
            "PRI * HTTP/2.0||SM||\0\0\n",
            "GET / HTTP/1.1|Upgrade: websocket||\0\0\n",
            "GET / HTTP/1.1|content_type: 1|Host: a||",
        ] {
            check(text, "all");
        }
    }

    #[test]
    fn a_line_ends_with_both() {
        check("GET / HTTP/1.1\nHost: a||", "GET / HTTP/1.1");
        check("GET / HTTP/1.1|Host: a\n|", "GET / HTTP/1.1|Host: a");
        check("GET / HTTP/1.1|Host: a|\n", "GET / HTTP/1.1|Host: a|");
        check("GET / HTTP/1.1|X: a\rY: b||", "GET / HTTP/1.1|X: a\rY: b\r");
        check("POST / HTTP/1.1|Transfer-Encoding: chunked||1\na|0||", "POST / HTTP/1.1|Transfer-Encoding: chunked||1");
    }

    #[test]
    fn there_is_one_length() {
        for fields in [
            "Content-Length: 1|Content-Length: 1|",
            "Content-Length: 1, 1|",
            "Content-Length: +1|",
            "Content-Length: 0x1|",
            "Content-Length: |",
            "Content-Length: 1 1|",
            "Content-Length: 99999999999999999999|",
            "content_length: 1|",
            "Transfer-Encoding: chunked, chunked|",
            "Transfer-Encoding: chunked|Transfer-Encoding: chunked|",
            "Transfer-Encoding: identity|",
            "Transfer-Encoding: \u{b}chunked|",
            "Transfer_Encoding: chunked|",
            "Transfer-Encoding : chunked|",
            " Transfer-Encoding: chunked|",
        ] {
            let text = format!("POST / HTTP/1.1|{fields}");
            check(&format!("{text}|"), &format!("{}\r", text.trim_end_matches('|')).replace("\r\n", "|"));
        }
        let both = "POST / HTTP/1.1|Content-Length: 1|Transfer-Encoding: chunked|";
        check(&format!("{both}|"), &format!("{both}\r"));
        let old = "POST / HTTP/1.0|Transfer-Encoding: chunked|";
        check(&format!("{old}|"), &format!("{old}\r"));
    }

    #[test]
    fn chunks_are_what_they_say() {
        let head = "POST / HTTP/1.1|Transfer-Encoding: chunked||";
        for (body, passes) in [
            ("g|", "g\r"),
            ("|", "\r"),
            ("-1|", "-1\r"),
            ("0x1|", "0x1\r"),
            ("1 |", "1 \r"),
            (" 1|", " 1\r"),
            ("fffffffffffffffff|", "fffffffffffffffff\r"),
            ("1|aa|", "1|aa\r"),
            ("1|a|0|Content-Length: 1|", "1|a|0|Content-Length: 1\r"),
            ("1|a|0|: x|", "1|a|0|: x\r"),
        ] {
            check(&format!("{head}{body}"), &format!("{head}{passes}"));
        }
    }

    #[test]
    fn a_first_line_has_three_words() {
        for line in [
            "GET /",
            "GET  / HTTP/1.1",
            "GET /a b HTTP/1.1",
            " GET / HTTP/1.1",
            "GET / HTTP/2.0",
            "G(T / HTTP/1.1",
            "GET / http/1.1",
        ] {
            check(&format!("{line}|"), &format!("{line}\r"));
        }
    }

    proptest! {
        /// However the bytes are cut, the same ones pass.
        #[test]
        fn pieces_change_nothing(
            words in prop::collection::vec(prop::sample::select(vec![
                "GET / HTTP/1.1\r\n", "POST / HTTP/1.1\r\n", "Host: a\r\n", "Content-Length: 3\r\n", "abc", "\r\n", "\n", "\r",
                "Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n", "0\r\n\r\n", "x: y\r\n", " folded\r\n", "Upgrade: x\r\n", "\0",
            ]), 0..12),
            cuts in prop::collection::vec(1_usize..20, 1..20),
        ) {
            let text = words.concat().into_bytes();
            let whole = Gate::default().pass(&text);
            let (mut gate, mut passed, mut at) = (Gate::default(), 0, 0);
            for cut in cuts.into_iter().cycle() {
                if at == text.len() { break; }
                let next = (at + cut).min(text.len());
                let taken = gate.pass(&text[at..next]);
                passed += taken;
                if taken < next - at { break; }
                at = next;
            }
            prop_assert_eq!(passed, whole);
        }
    }
}
