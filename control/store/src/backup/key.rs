//! The key of a cluster's backups: a line of text that people put aside.

use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::seal::{Sealer, Secret};

/// What opens the backups of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(Secret);

/// Text that is no such key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a key of snapshots, which begins with {PREFIX}")]
pub struct BadKey;

/// What the text of a key begins with, so that it is known for what it is wherever it turns up.
const PREFIX: &str = "coracle-snapshot-key-";

// === impl Key ===

impl Key {
    /// A new one.
    pub fn fresh() -> Self {
        Self(Secret::fresh())
    }

    /// Which one it is; this is no secret.
    pub fn id(&self) -> u32 {
        self.0.id
    }

    /// The key itself, as it is kept.
    pub fn reveal(&self) -> String {
        let mut bytes = Vec::from(self.0.id.to_be_bytes());
        bytes.extend_from_slice(&self.0.bytes);
        format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes))
    }

    pub(super) fn sealer(&self) -> Sealer {
        Sealer::of_one(&self.0)
    }
}

impl FromStr for Key {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        let bytes = text.trim().strip_prefix(PREFIX).and_then(|text| BASE64_URL_SAFE_NO_PAD.decode(text).ok());
        let bytes = bytes.ok_or(BadKey)?;
        let (id, bytes) = bytes.split_first_chunk().ok_or(BadKey)?;
        let bytes = bytes.try_into().map_err(|_| BadKey)?;
        Ok(Self(Secret { id: u32::from_be_bytes(*id), bytes }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_line_of_text() {
        let key = Key::fresh();
        let text = key.reveal();
        assert_eq!(format!("{text}\n").parse(), Ok(key.clone()));
        assert!(!format!("{key:?}").contains(&text[PREFIX.len() + 6..]), "it is not told by accident");
        for wrong in ["", PREFIX, &text[1..], &text[..text.len() - 1]] {
            assert_eq!(wrong.parse::<Key>(), Err(BadKey), "{wrong:?}");
        }
    }
}
