//! What an image is called.
//!
//! As with Docker, except that a name without a registry is one in the cluster's own: `hello:v1` is the repository `hello`
//! there, and an image of Docker Hub is named in full (`docker.io/library/…`). A file's name (`./hello.wasm`) is what was last
//! pushed from such a file.

use std::fmt;
use std::str::FromStr;

/// A parsed image name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The registry's host and port; none for the cluster's own.
    pub registry: Option<String>,
    /// The repository within it.
    pub repository: String,
    /// Which of its images.
    pub version: Version,
}

/// Which image of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Version {
    /// A tag, which may come to mean something else.
    Tag(String),
    /// A digest, which does not.
    Digest(String),
}

/// A name that is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("couldn't parse image name \"{name}\": {reason}")]
pub struct InvalidReference {
    name: String,
    reason: &'static str,
}

/// As registries have it.
const TAG_MAX: usize = 128;
const REPOSITORY_MAX: usize = 255;

// === impl Reference ===

impl Reference {
    /// The name without its version, as it stands before `@` in an `imageID`.
    pub fn name(&self) -> String {
        match &self.registry {
            None => self.repository.clone(),
            Some(registry) => format!("{registry}/{}", self.repository),
        }
    }

    /// The tag or digest as it stands in a registry's URL.
    pub fn version(&self) -> &str {
        match &self.version {
            Version::Tag(word) | Version::Digest(word) => word,
        }
    }

    /// Whether `Always` is what an unset pull policy means.
    pub fn is_latest(&self) -> bool {
        self.version == Version::Tag("latest".to_owned())
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(name: &str) -> Result<Self, InvalidReference> {
        let invalid = |reason| InvalidReference { name: name.to_owned(), reason };
        if let Some(repository) = api::image::local_repository(name) {
            return Ok(Self { registry: None, repository, version: Version::Tag("latest".to_owned()) });
        }
        let (rest, digest) = match name.split_once('@') {
            None => (name, None),
            Some((rest, digest)) if is_digest(digest) => (rest, Some(digest)),
            Some(_) => return Err(invalid("the digest is not sha256:<64 hexadecimal digits>")),
        };
        let (registry, rest) = match rest.split_once('/') {
            Some((host, rest)) if is_host(host) => (Some(host), rest),
            _ => (None, rest),
        };
        let (repository, tag) = match rest.rsplit_once(':') {
            None => (rest, None),
            Some((repository, tag)) if is_tag(tag) => (repository, Some(tag)),
            Some(_) => return Err(invalid("the tag has characters that a tag may not have")),
        };
        if repository.is_empty() {
            return Err(invalid("the name is empty"));
        }
        if repository.len() > REPOSITORY_MAX || !repository.split('/').all(is_path_word) {
            return Err(invalid(
                "a repository is lower-case words of letters, digits, '.', '_' and '-', joined by '/'",
            ));
        }
        let version = match (digest, tag) {
            (Some(digest), _) => Version::Digest(digest.to_owned()),
            (None, Some(tag)) => Version::Tag(tag.to_owned()),
            (None, None) => Version::Tag("latest".to_owned()),
        };
        Ok(Self { registry: registry.map(str::to_owned), repository: repository.to_owned(), version })
    }
}

fn is_digest(text: &str) -> bool {
    let digits = text.strip_prefix("sha256:").unwrap_or_default();
    digits.len() == 64 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_host(word: &str) -> bool {
    word == "localhost" || word.contains(['.', ':'])
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    !tag.is_empty() && tag.len() <= TAG_MAX && tag.bytes().all(word) && !tag.starts_with(['.', '-'])
}

fn is_path_word(word: &str) -> bool {
    let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9');
    let inner = |byte: u8| plain(byte) || matches!(byte, b'.' | b'_' | b'-');
    let bytes = word.as_bytes();
    bytes.first().copied().is_some_and(plain) && bytes.last().copied().is_some_and(plain) && word.bytes().all(inner)
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Version::Tag(tag) => write!(f, "{}:{tag}", self.name()),
            Version::Digest(digest) => write!(f, "{}@{digest}", self.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, registry: Option<&str>, repository: &str, version: &str) {
        let reference: Reference = name.parse().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(reference.registry.as_deref(), registry, "{name}");
        assert_eq!((reference.repository.as_str(), reference.version()), (repository, version), "{name}");
    }

    #[test]
    fn names_are_read_as_docker_reads_them() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        check("hello:v1", None, "hello", "v1");
        check("hello", None, "hello", "latest");
        check("team/hello:v1", None, "team/hello", "v1");
        check(&format!("hello@{digest}"), None, "hello", &digest);
        check(&format!("hello:v1@{digest}"), None, "hello", &digest);
        check("ghcr.io/team/hello:v1", Some("ghcr.io"), "team/hello", "v1");
        check("localhost:5000/hello", Some("localhost:5000"), "hello", "latest");
        check("localhost/a/b_c:1.0-x", Some("localhost"), "a/b_c", "1.0-x");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for name in ["", ":v1", "Hello:v1", "hello:", "hello:v 1", "hello@sha256:00", "a//b", "ghcr.io/"] {
            assert!(name.parse::<Reference>().is_err(), "{name}");
        }
    }
}
