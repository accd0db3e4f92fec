//! Whoever signs tokens: a key, and what it is called.

use std::fmt;

use api::jwt::{self, Claims, Parsed};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A key that signs tokens.
pub struct Issuer {
    pair: EcdsaKeyPair,
    random: SystemRandom,
    key_id: String,
}

/// A key that cannot sign tokens.
#[derive(Debug, thiserror::Error)]
#[error("the key of service accounts cannot be used: {reason}")]
pub struct KeyError {
    reason: String,
}

/// The DER of a public key on P-256, up to the point itself.
const SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

// === impl Issuer ===

impl Issuer {
    /// An issuer with a key on P-256, as the DER of PKCS#8.
    pub fn new(key: &[u8]) -> Result<Self, KeyError> {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key, &random);
        let pair = pair.map_err(|error| KeyError { reason: error.to_string() })?;
        // As Kubernetes names keys, so that whoever computes it from the key finds the same.
        let digest = Sha256::new().chain_update(SPKI_PREFIX).chain_update(pair.public_key().as_ref()).finalize();
        Ok(Self { key_id: BASE64.encode(digest), pair, random })
    }

    /// A token that says this.
    pub fn issue(&self, claims: &Claims) -> Result<String, KeyError> {
        jwt::write(&self.key_id, claims, |signed| {
            let signature = self.pair.sign(&self.random, signed);
            signature
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|error| KeyError { reason: error.to_string() })
        })
    }

    /// Whether a token is one of this key's.
    pub(super) fn has_signed(&self, token: &Parsed<'_>) -> bool {
        let named = token.key_id.as_deref().is_none_or(|named| named == self.key_id);
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair.public_key().as_ref());
        named && key.verify(token.signed, &token.signature).is_ok()
    }

    /// The public key as a JSON Web Key.
    pub(super) fn public(&self) -> Value {
        // An uncompressed point: a byte that says so, then its coordinates.
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        json!({
            "use": "sig", "kty": "EC", "kid": self.key_id, "crv": "P-256", "alg": jwt::ALGORITHM,
            "x": BASE64.encode(x), "y": BASE64.encode(y),
        })
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Issuer({})", self.key_id)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn issuer() -> Issuer {
        let key = rcgen::KeyPair::generate().expect("a key");
        Issuer::new(&key.serialize_der()).expect("an issuer")
    }

    #[test]
    fn only_its_own_tokens_are_its_own() {
        let claims = Claims { iss: jwt::ISSUER.into(), sub: "s".into(), ..Claims::default() };
        let (ours, theirs) = (issuer(), issuer());
        let token = ours.issue(&claims).expect("a token");
        let parsed = jwt::parse(token.as_bytes()).expect("a token");
        assert_eq!(parsed.claims, claims);
        assert!(ours.has_signed(&parsed));
        assert!(!theirs.has_signed(&parsed));
        assert!(!theirs.has_signed(&Parsed { key_id: None, ..parsed.clone() }));
        let other = Claims { sub: "t".into(), ..claims };
        let forged = ours.issue(&other).expect("a token");
        let forged =
            format!("{}.{}", forged.rsplit_once('.').expect("signed").0, token.rsplit_once('.').expect("signed").1);
        assert!(!ours.has_signed(&jwt::parse(forged.as_bytes()).expect("a token")));
    }

    #[test]
    fn its_public_key_is_told_as_a_web_key() {
        let key = issuer().public();
        let bytes = |name: &str| BASE64.decode(key[name].as_str().expect("text")).expect("base64").len();
        assert_eq!((bytes("x"), bytes("y"), bytes("kid")), (32, 32, 32));
        assert_eq!(key["alg"], "ES256");
    }
}
