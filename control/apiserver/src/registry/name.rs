//! The words of the registry: repositories, tags, digests. Outside they are text; a value of these types is the proof that the
//! text obeys the specification, and so is safe as part of a file's path.

use std::fmt;
use std::str::FromStr;

use super::RegistryError;

/// The name of a repository, such as `hello` or `library/hello`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Repository(String);

/// The SHA-256 digest of some content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Digest(String);

/// A tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tag(String);

/// What names a manifest in its repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reference {
    /// By what it says.
    Digest(Digest),
    /// By what somebody called it.
    Tag(Tag),
}

const PREFIX: &str = "sha256:";
/// As the specification advises.
const REPOSITORY_BYTES_MAX: usize = 255;
/// As the specification has it.
const TAG_BYTES_MAX: usize = 128;

// === impl Repository ===

impl Repository {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Repository {
    type Err = RegistryError;

    fn from_str(text: &str) -> Result<Self, RegistryError> {
        let fits = text.len() <= REPOSITORY_BYTES_MAX && text.split('/').all(is_component);
        if fits { Ok(Self(text.into())) } else { Err(RegistryError::BadName(text.into())) }
    }
}

/// Lower-case letters and digits, joined by `.`, `_`, `__` or any number of `-`.
fn is_component(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    if !ends.iter().all(|end| end.is_some_and(|byte| is_word(*byte))) {
        return false;
    }
    bytes
        .split(|byte| is_word(*byte))
        .all(|joint| matches!(joint, b"" | b"." | b"_" | b"__") || joint.iter().all(|byte| *byte == b'-'))
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl Digest ===

impl Digest {
    /// The digest of these bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self::of_hash(&<sha2::Sha256 as sha2::Digest>::digest(bytes))
    }

    /// The digest that a finished hash says.
    pub(crate) fn of_hash(hash: &[u8]) -> Self {
        Self(format!("{PREFIX}{}", hex::encode(hash)))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The digits alone.
    pub(crate) fn hex(&self) -> &str {
        &self.0[PREFIX.len()..]
    }
}

impl FromStr for Digest {
    type Err = RegistryError;

    fn from_str(text: &str) -> Result<Self, RegistryError> {
        let digits = text.strip_prefix(PREFIX).filter(|digits| digits.len() == 64);
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        match digits {
            Some(digits) if digits.bytes().all(is_digit) => Ok(Self(text.into())),
            _ => Err(RegistryError::BadDigest(text.into())),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl Tag ===

impl Tag {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = RegistryError;

    fn from_str(text: &str) -> Result<Self, RegistryError> {
        let mut bytes = text.bytes();
        let begins = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let goes_on = bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
        if begins && goes_on && text.len() <= TAG_BYTES_MAX {
            Ok(Self(text.into()))
        } else {
            Err(RegistryError::BadTag(text.into()))
        }
    }
}

// === impl Reference ===

impl FromStr for Reference {
    type Err = RegistryError;

    fn from_str(text: &str) -> Result<Self, RegistryError> {
        if text.contains(':') { text.parse().map(Self::Digest) } else { text.parse().map(Self::Tag) }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest(digest) => digest.fmt(f),
            Self::Tag(tag) => f.write_str(&tag.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_obey_the_specification() {
        for good in ["hello", "library/hello", "a.b/c_d", "a__b", "a--b", "0"] {
            assert!(good.parse::<Repository>().is_ok(), "{good}");
        }
        for bad in ["", "/", "Hello", "a/", "a//b", "-a", "a..b", "..", "a/../b", "_manifests", "a._b", "a%2f"] {
            assert!(bad.parse::<Repository>().is_err(), "{bad}");
        }
        for bad in ["", ".", "..", "-x", "a/b", "a:b"] {
            assert!(bad.parse::<Tag>().is_err(), "{bad}");
        }
        assert!("v1.0_x-y".parse::<Tag>().is_ok());
    }

    #[test]
    fn a_digest_is_sha256_in_lower_case() {
        let digest = Digest::of(b"");
        assert_eq!(digest.as_str(), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert!(digest.as_str().parse::<Digest>().is_ok());
        assert!(digest.as_str().to_uppercase().parse::<Digest>().is_err());
        assert!("sha512:00".parse::<Digest>().is_err());
    }
}
