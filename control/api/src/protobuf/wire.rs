//! The wire format: fields, each a number and a payload.

use super::Malformed;

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Payload<'a> {
    /// A number of any width.
    Number(u64),
    /// Text, bytes, a message, or packed numbers.
    Bytes(&'a [u8]),
}

/// Reads one field after the other; after a failure there are no more.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

// === impl Reader ===

impl<'a> Reader<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    fn field(&mut self) -> Result<(u32, Payload<'a>), Malformed> {
        let key = varint(&mut self.rest)?;
        let tag = u32::try_from(key >> 3).map_err(|_| Malformed::Wire)?;
        let payload = match key & 7 {
            0 => Payload::Number(varint(&mut self.rest)?),
            1 => Payload::Number(u64::from_le_bytes(self.fixed()?)),
            2 => {
                let length = usize::try_from(varint(&mut self.rest)?).map_err(|_| Malformed::Wire)?;
                let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Malformed::Wire)?;
                self.rest = rest;
                Payload::Bytes(bytes)
            }
            5 => Payload::Number(u64::from(u32::from_le_bytes(self.fixed()?))),
            _ => return Err(Malformed::Wire),
        };
        Ok((tag, payload))
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Malformed::Wire)?;
        self.rest = rest;
        Ok(*bytes)
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<(u32, Payload<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// Numbers one after the other.
pub(super) fn varints(mut rest: &[u8]) -> impl Iterator<Item = Result<u64, Malformed>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let number = varint(&mut rest);
        if number.is_err() {
            rest = &[];
        }
        Some(number)
    })
}

fn varint(rest: &mut &[u8]) -> Result<u64, Malformed> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, more) = rest.split_first().ok_or(Malformed::Wire)?;
        *rest = more;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Malformed::Wire)
}
