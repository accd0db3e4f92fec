//! The name of an upload under way.

use std::fmt;
use std::str::FromStr;

use super::RegistryError;

/// 32 hexadecimal digits that nobody guesses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UploadId(String);

// === impl UploadId ===

impl UploadId {
    /// The name that this chance gives.
    pub(crate) fn new(entropy: u128) -> Self {
        Self(format!("{entropy:032x}"))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UploadId {
    type Err = RegistryError;

    fn from_str(text: &str) -> Result<Self, RegistryError> {
        let fits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if fits { Ok(Self(text.into())) } else { Err(RegistryError::NoUpload(text.into())) }
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
