//! Lines in a log file.

use jiff::Timestamp;

/// A longer line is written in pieces.
const LINE_BYTES_MAX: usize = 16 << 10;

/// Cuts a stream into lines.
pub(super) struct Framer {
    stream: &'static str,
    pending: Vec<u8>,
}

/// A line as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) time: &'a [u8],
    pub(super) whole: bool,
    pub(super) text: &'a [u8],
}

// === impl Framer ===

impl Framer {
    pub(super) fn new(stream: &'static str) -> Self {
        Self { stream, pending: Vec::new() }
    }

    /// Appends what of `bytes` completes lines.
    pub(super) fn push(&mut self, bytes: &[u8], now: Timestamp, out: &mut Vec<u8>) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.pending.extend_from_slice(piece);
            let ends = self.pending.pop_if(|last| *last == b'\n').is_some();
            while self.pending.len() > LINE_BYTES_MAX {
                let rest = self.pending.split_off(LINE_BYTES_MAX);
                self.write(now, 'P', out);
                self.pending = rest;
            }
            if ends {
                self.write(now, 'F', out);
            }
        }
    }

    /// Appends what is left of a line that will not be completed.
    pub(super) fn finish(&mut self, now: Timestamp, out: &mut Vec<u8>) {
        if !self.pending.is_empty() {
            self.write(now, 'P', out);
        }
    }

    fn write(&mut self, now: Timestamp, tag: char, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{now:.9} {} {tag} ", self.stream).as_bytes());
        out.append(&mut self.pending);
        out.push(b'\n');
    }
}

// === impl Line ===

impl<'a> Line<'a> {
    /// Reads a line of a file, its end removed. None for what is not one, such as the torn end of a file.
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        let mut words = line.splitn(4, |byte| *byte == b' ');
        let time = words.next()?;
        let _stream = words.next()?;
        let whole = match words.next()? {
            b"F" => true,
            b"P" => false,
            _ => return None,
        };
        Some(Self { time, whole, text: words.next().unwrap_or_default() })
    }

    /// When it was printed.
    pub(super) fn at(&self) -> Option<Timestamp> {
        std::str::from_utf8(self.time).ok()?.parse().ok()
    }
}
