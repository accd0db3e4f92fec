//! Filling the log.

use std::io::Write;

use crate::{Deed, limit};

pub const ALL: &[Deed] = &[
    ("log-lines", lines),
    ("log-newlines", newlines),
    ("log-endless-line", endless_line),
    ("log-errors", errors),
    ("log-binary", binary),
];

fn pour(mut into: impl Write, bytes: &[u8]) -> ! {
    limit();
    loop {
        let _ = into.write_all(bytes);
    }
}

fn lines() {
    pour(std::io::stdout(), "all work and no play makes a dull log\n".repeat(100).as_bytes())
}

/// The shortest line there is costs the log the most.
fn newlines() {
    pour(std::io::stdout(), &[b'\n'; 4_096])
}

fn endless_line() {
    pour(std::io::stdout(), &[b'x'; 4_096])
}

fn errors() {
    pour(std::io::stderr(), "error\n".repeat(500).as_bytes())
}

fn binary() {
    let bytes: Vec<u8> = (0..=255).cycle().take(4_096).collect();
    pour(std::io::stdout(), &bytes)
}
