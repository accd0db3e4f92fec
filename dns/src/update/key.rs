//! A key shared with a name server.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hickory_proto::rr::rdata::tsig::TsigAlgorithm;
use hickory_proto::rr::{Name, TSigner};

/// How far the server's clock may be from ours, in seconds: what RFC 8945 recommends.
const FUDGE: u16 = 300;

/// A key, read from the text that `tsig-keygen` prints.
#[derive(Clone)]
pub struct Key(pub(super) TSigner);

/// Why a text is not a key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is not what `tsig-keygen` prints.
    #[error("not of the form: key \"NAME\" {{ algorithm NAME; secret \"BASE64\"; }};")]
    Form,
    /// It cannot be computed with.
    #[error("algorithm {0:?} is none of hmac-sha256, hmac-sha384, hmac-sha512")]
    Algorithm(String),
}

// === impl Key ===

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let lines = text.lines().map(|line| line.split(['#']).next().unwrap_or_default());
        let lines = lines.filter(|line| !line.trim_start().starts_with("//"));
        let words: String = lines.collect::<Vec<_>>().join(" ").replace(['{', '}', ';', '"'], " ");
        let words: Vec<&str> = words.split_whitespace().collect();
        let ["key", name, rest @ ..] = words.as_slice() else { return Err(KeyError::Form) };
        let (algorithm, secret) = match rest {
            ["algorithm", algorithm, "secret", secret] | ["secret", secret, "algorithm", algorithm] => {
                (algorithm.to_ascii_lowercase(), secret)
            }
            _ => return Err(KeyError::Form),
        };
        let name = Name::from_ascii(name).map_err(|_| KeyError::Form)?;
        let secret = STANDARD.decode(secret).map_err(|_| KeyError::Form)?;
        let unknown = || KeyError::Algorithm(algorithm.clone());
        let known = TsigAlgorithm::from_name(Name::from_ascii(&algorithm).map_err(|_| unknown())?);
        TSigner::new(secret, known, name, FUDGE).map(Self).map_err(|_| unknown())
    }
}

/// Without the secret.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(self.0.signer_name()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, KeyError>) {
        let told = text.parse::<Key>().map(|key| format!("{key:?}"));
        assert_eq!(told.as_deref(), expected.as_ref().map(|text| *text), "{text}");
    }

    #[test]
    fn a_key_is_what_its_maker_prints() {
        let text = "key \"coracle\" {\n\talgorithm hmac-sha256;\n\tsecret \"c2VjcmV0\";\n};\n";
        check(text, Ok("Key(Name(\"coracle.\"), ..)"));
        check(&format!("# made by hand\n{text}"), Ok("Key(Name(\"coracle.\"), ..)"));
        check("", Err(KeyError::Form));
        check("key k { algorithm hmac-sha256; };", Err(KeyError::Form));
        check("key k { algorithm hmac-sha256; secret \"%\"; };", Err(KeyError::Form));
        check(&text.replace("sha256", "md5"), Err(KeyError::Algorithm("hmac-md5".into())));
    }
}
