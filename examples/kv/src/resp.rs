//! Redis' protocol: a command is an array of byte strings, or a line of words.

/// The longest command taken; a client that says more is wrong.
const COMMAND_BYTES_MAX: usize = 1 << 20;
const ARGS_MAX: usize = 1024;

pub type Command = Vec<Vec<u8>>;

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    Ok,
    Text(String),
    Error(String),
    Number(i64),
    Bytes(Option<Vec<u8>>),
    List(Vec<Vec<u8>>),
}

/// What the bytes that have come so far are.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A command, and how many bytes it took.
    Whole(Command, usize),
    /// The beginning of one.
    Partial,
    /// No command, and none will come of it.
    Wrong(&'static str),
}

// === impl Reply ===

impl Reply {
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Reply::Ok => out.extend(b"+OK\r\n"),
            Reply::Text(text) => out.extend(format!("+{text}\r\n").bytes()),
            Reply::Error(text) => out.extend(format!("-ERR {text}\r\n").bytes()),
            Reply::Number(number) => out.extend(format!(":{number}\r\n").bytes()),
            Reply::Bytes(None) => out.extend(b"$-1\r\n"),
            Reply::Bytes(Some(bytes)) => write_bytes(bytes, out),
            Reply::List(list) => write_command(list, out),
        }
    }
}

/// Writes a command as its array.
pub fn write_command(command: &[impl AsRef<[u8]>], out: &mut Vec<u8>) {
    out.extend(format!("*{}\r\n", command.len()).bytes());
    for word in command {
        write_bytes(word.as_ref(), out);
    }
}

fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend(format!("${}\r\n", bytes.len()).bytes());
    out.extend(bytes);
    out.extend(b"\r\n");
}

/// Reads one command from the front of what has come.
pub fn parse(input: &[u8]) -> Parsed {
    match read(input) {
        Ok(Some((command, taken))) => Parsed::Whole(command, taken),
        Ok(None) if input.len() > COMMAND_BYTES_MAX => Parsed::Wrong("the command is too long"),
        Ok(None) => Parsed::Partial,
        Err(reason) => Parsed::Wrong(reason),
    }
}

fn read(input: &[u8]) -> Result<Option<(Command, usize)>, &'static str> {
    let Some((head, mut at)) = line(input, 0) else { return Ok(None) };
    let Some(count) = head.strip_prefix(b"*") else {
        let words = head.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        return Ok(Some((words.map(<[u8]>::to_vec).collect(), at)));
    };
    let count = number(count).filter(|count| *count <= ARGS_MAX).ok_or("the number of words is wrong")?;
    let mut command = Vec::with_capacity(count);
    for _ in 0..count {
        let Some((head, start)) = line(input, at) else { return Ok(None) };
        let length = head.strip_prefix(b"$").and_then(number).filter(|length| *length <= COMMAND_BYTES_MAX);
        let end = start + length.ok_or("the length of a word is wrong")?;
        let Some(word) = input.get(start..end) else { return Ok(None) };
        match input.get(end..end + 2) {
            None => return Ok(None),
            Some(b"\r\n") => command.push(word.to_vec()),
            Some(_) => return Err("a word is longer than it says"),
        }
        at = end + 2;
    }
    Ok(Some((command, at)))
}

/// A line without its end, and where the next one starts.
fn line(input: &[u8], start: usize) -> Option<(&[u8], usize)> {
    let rest = input.get(start..)?;
    let length = rest.iter().position(|byte| *byte == b'\n')?;
    let line = &rest[..length];
    Some((line.strip_suffix(b"\r").unwrap_or(line), start + length + 1))
}

fn number(text: &[u8]) -> Option<usize> {
    std::str::from_utf8(text).ok()?.parse().ok()
}
