//! The one `.wasm` file in an archive.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use flate2::read::GzDecoder;

use super::layout::{NotAComponent, Unpack};
use super::registry::COMPONENT_BYTES_MAX;

const BLOCK: usize = 512;

/// Why an archive gave no component.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnpackError {
    #[error(transparent)]
    NotAComponent(#[from] NotAComponent),
    #[error("failed to unpack the image: {0}")]
    Io(#[from] io::Error),
}

/// Writes the first `.wasm` file of the archive `from` to `to`, and says how large it is.
pub(super) fn unpack(from: &Path, how: Unpack, to: &Path) -> Result<u64, UnpackError> {
    let file = io::BufReader::new(File::open(from)?);
    match how {
        Unpack::Tar => first_wasm(file, to),
        Unpack::TarGzip => first_wasm(GzDecoder::new(file), to),
    }
}

fn first_wasm(archive: impl Read, to: &Path) -> Result<u64, UnpackError> {
    // An archive that unpacks to more than this holds no component that would be taken.
    let mut archive = archive.take(2 * COMPONENT_BYTES_MAX);
    let mut block = [0; BLOCK];
    loop {
        match archive.read_exact(&mut block) {
            Ok(()) if block.iter().any(|byte| *byte != 0) => {}
            Ok(()) => break,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error.into()),
        }
        let size = octal(&block[124..136]).ok_or_else(|| NotAComponent("its layer is not a tar archive".to_owned()))?;
        let padded = size.div_ceil(BLOCK as u64) * BLOCK as u64;
        let is_file = matches!(block[156], b'0' | 0);
        if is_file && text(&block[..100]).ends_with(b".wasm") && size <= COMPONENT_BYTES_MAX {
            let mut out = File::create(to)?;
            let written = io::copy(&mut archive.take(size), &mut out)?;
            out.flush()?;
            if written < size {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            return Ok(size);
        }
        io::copy(&mut (&mut archive).take(padded), &mut io::sink())?;
    }
    Err(NotAComponent("it is a container image without a .wasm file".to_owned()).into())
}

fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    &field[..end]
}

fn octal(field: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(text(field)).ok()?.trim();
    u64::from_str_radix(digits, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, content: &[u8]) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        block[..name.len()].copy_from_slice(name.as_bytes());
        let size = format!("{:011o}", content.len());
        block[124..135].copy_from_slice(size.as_bytes());
        block[156] = b'0';
        block.extend_from_slice(content);
        block.resize(BLOCK + content.len().div_ceil(BLOCK) * BLOCK, 0);
        block
    }

    fn check(entries: &[(&str, &[u8])], expected: Result<&[u8], &str>) {
        let directory = tempfile::tempdir().expect("a directory");
        let (from, to) = (directory.path().join("layer.tar"), directory.path().join("out"));
        let mut archive: Vec<u8> = entries.iter().flat_map(|(name, content)| entry(name, content)).collect();
        archive.extend([0; 2 * BLOCK]);
        std::fs::write(&from, archive).expect("written");
        let found = unpack(&from, Unpack::Tar, &to).map(|_| std::fs::read(&to).expect("read"));
        assert_eq!(found.map_err(|error| error.to_string()), expected.map(<[u8]>::to_vec).map_err(str::to_owned));
    }

    #[test]
    fn the_wasm_file_is_found_among_others() {
        check(&[("README", b"hello"), ("app/app.wasm", b"\0asm!")], Ok(b"\0asm!"));
        check(&[("bin/sh", b"#!")], Err("it is a container image without a .wasm file"));
    }
}
