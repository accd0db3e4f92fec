//! What is handed over to be prepared: bytes, their name, and a first look at what they are.

use std::fmt;
use std::io::Read;
use std::path::PathBuf;
use std::str::FromStr;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// The SHA-256 of a component's bytes, its name everywhere.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

/// Text that is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a sha256 digest")]
pub struct InvalidDigest(String);

/// Where a component's bytes are.
#[derive(Debug, Clone)]
pub enum Source {
    /// In memory.
    Bytes(Bytes),
    /// In a file, which is read only when the component was not compiled before.
    File(PathBuf),
}

/// A component whose exports satisfy imports of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linked {
    /// What it is called in words.
    pub name: String,
    /// The digest of its bytes.
    pub digest: Digest,
    /// Where they are.
    pub file: PathBuf,
}

/// Why bytes cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a WebAssembly component: {found}")]
pub struct NotWasm {
    /// What the bytes are instead.
    pub found: String,
}

/// The two shapes of wasm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A component: what is run.
    Component,
    /// A core module, which can be made a component when it speaks preview 1.
    Module,
}

// === impl Digest ===

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest of all that can be read.
    pub(crate) fn of_reader(mut reader: impl Read) -> std::io::Result<Self> {
        let mut hasher = Sha256::new();
        let mut chunk = vec![0; 64 * 1024];
        loop {
            match reader.read(&mut chunk)? {
                0 => return Ok(Self(hasher.finalize().into())),
                read => hasher.update(&chunk[..read]),
            }
        }
    }

    /// The name of a component together with those that are linked to it, in this order; by itself it has its own.
    pub fn joint(self, links: impl IntoIterator<Item = Digest>) -> Self {
        let mut hasher = Sha256::new_with_prefix(b"linked");
        let mut alone = true;
        hasher.update(self.0);
        for link in links {
            alone = false;
            hasher.update(link.0);
        }
        if alone { self } else { Self(hasher.finalize().into()) }
    }

    /// The digest in hexadecimal, without a prefix.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let mut digest = [0; 32];
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        hex::decode_to_slice(digits, &mut digest).map_err(|_| InvalidDigest(text.to_owned()))?;
        Ok(Self(digest))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// === impl Source ===

impl From<Bytes> for Source {
    fn from(bytes: Bytes) -> Self {
        Source::Bytes(bytes)
    }
}

impl From<PathBuf> for Source {
    fn from(path: PathBuf) -> Self {
        Source::File(path)
    }
}

// === impl Shape ===

impl Shape {
    /// Tells a component from a module from anything else by its first bytes.
    pub(crate) fn of(head: &[u8]) -> Result<Self, NotWasm> {
        const MAGIC: &[u8] = b"\0asm";
        match head.strip_prefix(MAGIC) {
            Some([1, 0, 0, 0, ..]) => Ok(Shape::Module),
            Some([_, _, 1, 0, ..]) => Ok(Shape::Component),
            Some(version) => {
                let version = hex::encode(&version[..version.len().min(4)]);
                Err(NotWasm { found: format!("a wasm file of an unknown version ({version})") })
            }
            None => Err(NotWasm { found: foreign(head).to_owned() }),
        }
    }
}

/// Names what people hand over by mistake.
fn foreign(head: &[u8]) -> &'static str {
    const TAR_MAGIC_AT: usize = 257;
    match head {
        [] => "the file is empty",
        [0x7f, b'E', b'L', b'F', ..] => {
            "starts with an ELF header, so it is a program for Linux; build it for wasm32-wasip2"
        }
        [b'M', b'Z', ..] => "starts with an MZ header, so it is a program for Windows; build it for wasm32-wasip2",
        [0xcf | 0xce, 0xfa, 0xed, 0xfe, ..] | [0xca, 0xfe, 0xba, 0xbe, ..] => {
            "starts with a Mach-O header, so it is a program for macOS; build it for wasm32-wasip2"
        }
        [0x1f, 0x8b, ..] => "starts with a gzip header; container image layers are not run, push the .wasm file itself",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            "starts with a zstd header; container image layers are not run, push the .wasm file itself"
        }
        [b'P', b'K', 3, 4, ..] => "starts with a zip header",
        [b'#', b'!', ..] => "starts with #!, so it is a script",
        [b'(', ..] => "looks like the WebAssembly text format; turn it into binary first",
        _ if head.get(TAR_MAGIC_AT..).is_some_and(|rest| rest.starts_with(b"ustar")) => {
            "is a tar archive; container image layers are not run, push the .wasm file itself"
        }
        _ if head.iter().all(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~')) => "looks like text",
        _ => "does not start with the wasm header",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(head: &[u8], expected: &str) {
        assert_eq!(Shape::of(head).expect_err("it is not wasm").found.split([',', ';']).next(), Some(expected));
    }

    #[test]
    fn what_is_not_wasm_is_named() {
        check(b"", "the file is empty");
        check(b"\x7fELF\x02\x01", "starts with an ELF header");
        check(b"\x1f\x8b\x08", "starts with a gzip header");
        check(b"#!/bin/sh\n", "starts with #!");
        check(b"hello: world\n", "looks like text");
        check(b"(component)", "looks like the WebAssembly text format");
        check(&[0x90; 16], "does not start with the wasm header");
        check(b"\0asm\x07\0\0\0", "a wasm file of an unknown version (07000000)");
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        check(&tar, "is a tar archive");
    }

    #[test]
    fn modules_and_components_are_told_apart() {
        assert_eq!(Shape::of(b"\0asm\x01\0\0\0"), Ok(Shape::Module));
        assert_eq!(Shape::of(b"\0asm\x0d\0\x01\0"), Ok(Shape::Component));
    }

    #[test]
    fn a_digest_reads_what_it_writes() {
        let digest = Digest::of(b"wasm");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!(digest.hex().parse(), Ok(digest));
        assert!("sha256:abc".parse::<Digest>().is_err());
    }
}
