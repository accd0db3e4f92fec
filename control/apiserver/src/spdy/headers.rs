//! Header blocks: names and values, all blocks of one direction compressed as one stream.

use bytes::Buf;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::Malformed;
use super::dictionary::{ADLER32, DICTIONARY};

/// What a stream is for is said in a few words.
const BLOCK_BYTES_MAX: usize = 16 << 10;
/// Enough for most blocks at once.
const PIECE_BYTES: usize = 512;

/// Reads the blocks of one direction.
pub(super) struct Inflate(Decompress);

/// Writes the blocks of one direction.
pub(super) struct Deflate {
    stream: Compress,
    /// Whether the dictionary could be set.
    ready: bool,
}

// === impl Inflate ===

impl Inflate {
    pub(super) fn new() -> Self {
        Self(Decompress::new(true))
    }

    /// The headers of the next block.
    pub(super) fn headers(&mut self, block: &[u8]) -> Result<Vec<(String, String)>, Malformed> {
        let plain = self.plain(block)?;
        let mut rest = plain.as_slice();
        let count = rest.try_get_u32().map_err(|_| Malformed::Headers)?;
        (0..count).map(|_| Ok((text(&mut rest)?, text(&mut rest)?))).collect()
    }

    fn plain(&mut self, block: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut plain = Vec::with_capacity(PIECE_BYTES);
        let mut rest = block;
        loop {
            let (read, had) = (self.0.total_in(), plain.len());
            plain.reserve(PIECE_BYTES);
            match self.0.decompress_vec(rest, &mut plain, FlushDecompress::Sync) {
                Ok(Status::StreamEnd) => return Err(Malformed::Headers),
                Ok(_) => {}
                Err(error) if error.needs_dictionary() == Some(ADLER32) => {
                    self.0.set_dictionary(&DICTIONARY).map_err(|_| Malformed::Headers)?;
                }
                Err(_) => return Err(Malformed::Headers),
            }
            let taken = (self.0.total_in() - read) as usize;
            rest = rest.get(taken..).ok_or(Malformed::Headers)?;
            if plain.len() > BLOCK_BYTES_MAX {
                return Err(Malformed::Headers);
            }
            if rest.is_empty() && plain.len() < plain.capacity() {
                return Ok(plain);
            }
            if taken == 0 && plain.len() == had && !rest.is_empty() {
                return Err(Malformed::Headers);
            }
        }
    }
}

fn text(rest: &mut &[u8]) -> Result<String, Malformed> {
    let length = rest.try_get_u32().map_err(|_| Malformed::Headers)? as usize;
    let (text, after) = rest.split_at_checked(length).ok_or(Malformed::Headers)?;
    *rest = after;
    String::from_utf8(text.to_vec()).map_err(|_| Malformed::Headers)
}

// === impl Deflate ===

impl Deflate {
    pub(super) fn new() -> Self {
        let mut stream = Compress::new(Compression::fast(), true);
        let ready = stream.set_dictionary(&DICTIONARY).is_ok();
        Self { stream, ready }
    }

    /// The next block.
    pub(super) fn headers(&mut self, headers: &[(&str, &str)]) -> Result<Vec<u8>, Malformed> {
        let mut plain = (headers.len() as u32).to_be_bytes().to_vec();
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.extend_from_slice(&(text.len() as u32).to_be_bytes());
            plain.extend_from_slice(text.as_bytes());
        }
        let mut block = Vec::with_capacity(plain.len() + PIECE_BYTES);
        let written = self.stream.compress_vec(&plain, &mut block, FlushCompress::Sync);
        if self.ready && written.is_ok() { Ok(block) } else { Err(Malformed::Headers) }
    }
}
