//! The tokens of service accounts, as text: JSON Web Tokens in their compact form.
//!
//! Only what a token says is read and written here; whether its signature holds is for whoever has the key, and whether those it
//! speaks of are still there for whoever has the world. [`parse`] faces strangers: it takes any bytes, and gives up early.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::{Deserialize, Deserializer, Serialize};

/// A token taken apart; nothing of it is believed yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed<'a> {
    /// The bytes that are signed.
    pub signed: &'a [u8],
    /// Which key signed it, if it says so.
    pub key_id: Option<String>,
    /// What it says.
    pub claims: Claims,
    /// The signature.
    pub signature: Vec<u8>,
}

/// What a token says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Whom it is meant for.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub aud: Vec<String>,
    /// When it ends, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exp: Option<i64>,
    /// When it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iat: Option<i64>,
    /// Who made it.
    pub iss: String,
    /// What tells it from any other token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// What it is bound to.
    #[serde(rename = "kubernetes.io", skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<Bound>,
    /// When it begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// Whom it stands for.
    pub sub: String,
    /// What a token that lies in a secret is bound to.
    #[serde(flatten)]
    pub secret: SecretClaims,
}

/// What a token is bound to: it holds only as long as these are there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// The namespace of all that is not a node.
    pub namespace: String,
    /// The node that its pod runs on, or that it is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Reference>,
    /// The pod that has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<Reference>,
    /// The secret it is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Reference>,
    /// The account it stands for.
    pub serviceaccount: Reference,
    /// From when on its holder should have a newer one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<i64>,
}

/// An object by name and uid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// Its name.
    pub name: String,
    /// Its uid; a node that is not there has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

/// The claims of a token that lies in a secret of type `kubernetes.io/service-account-token`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretClaims {
    /// The namespace of the secret and its account.
    #[serde(rename = "kubernetes.io/serviceaccount/namespace", skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The secret.
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name", skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
    /// The account.
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name", skip_serializing_if = "Option::is_none")]
    pub account_name: Option<String>,
    /// The account's uid.
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid", skip_serializing_if = "Option::is_none")]
    pub account_uid: Option<String>,
}

/// Bytes that are not a token of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Longer than any token that is given out.
    #[error("the token is longer than {TOKEN_BYTES_MAX} bytes")]
    Length,
    /// Not three parts of base64url.
    #[error("the token is not a compact JSON Web Signature")]
    Form,
    /// Signed in another way, or with conditions that are not known here.
    #[error("the token is not signed with {ALGORITHM}")]
    Algorithm,
    /// The header or the claims are not what they should be.
    #[error("the claims of the token cannot be read")]
    Claims,
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
    /// Conditions that whoever reads the token must understand; none are.
    #[serde(skip_serializing)]
    crit: Option<serde::de::IgnoredAny>,
}

/// The only way in which tokens are signed: ECDSA on P-256 with SHA-256.
pub const ALGORITHM: &str = "ES256";
/// Who makes the tokens of a cluster, and whom they are meant for unless they say otherwise.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// Who made the tokens that lie in secrets.
pub const SECRET_ISSUER: &str = "kubernetes/serviceaccount";
/// What the user name of an account begins with.
pub const ACCOUNT_USER: &str = "system:serviceaccount:";

/// Names of 253 characters in every claim and dozens of audiences fit; a header's worth of nonsense does not.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Takes a token apart.
pub fn parse(token: &[u8]) -> Result<Parsed<'_>, Malformed> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(Malformed::Length);
    }
    let mut parts = token.split(|byte| *byte == b'.');
    let (Some(header), Some(claims), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Malformed::Form);
    };
    let decode = |part: &[u8]| BASE64.decode(part).map_err(|_| Malformed::Form);
    let (signed, signature) = (&token[..header.len() + 1 + claims.len()], decode(signature)?);
    let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| Malformed::Claims)?;
    if header.alg != ALGORITHM || header.crit.is_some() {
        return Err(Malformed::Algorithm);
    }
    let claims = serde_json::from_slice(&decode(claims)?).map_err(|_| Malformed::Claims)?;
    Ok(Parsed { signed, key_id: header.kid, claims, signature })
}

/// A token that says this, signed by the key named.
pub fn write<E>(key_id: &str, claims: &Claims, sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>) -> Result<String, E> {
    let header = Header { alg: ALGORITHM.into(), kid: Some(key_id.into()), crit: None };
    let part = |json: serde_json::Result<Vec<u8>>| BASE64.encode(json.expect("text and numbers are JSON"));
    let signed = format!("{}.{}", part(serde_json::to_vec(&header)), part(serde_json::to_vec(claims)));
    let signature = sign(signed.as_bytes())?;
    Ok(format!("{signed}.{}", BASE64.encode(signature)))
}

/// The user that an account is.
pub fn account_user(namespace: &str, name: &str) -> String {
    format!("{ACCOUNT_USER}{namespace}:{name}")
}

/// An audience may be one text or a list of them.
fn one_or_many<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Audience {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Audience::deserialize(from)? {
        Audience::One(one) => vec![one],
        Audience::Many(many) => many,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn claims() -> Claims {
        let account = Reference { name: "web".into(), uid: "u1".into() };
        Claims {
            aud: vec![ISSUER.into()],
            exp: Some(4_000),
            iat: Some(400),
            iss: ISSUER.into(),
            jti: Some("j".into()),
            kubernetes: Some(Bound { namespace: "shop".into(), serviceaccount: account, ..Bound::default() }),
            nbf: Some(400),
            sub: account_user("shop", "web"),
            secret: SecretClaims::default(),
        }
    }

    fn token(header: &str, claims: &str) -> String {
        format!("{}.{}.{}", BASE64.encode(header), BASE64.encode(claims), BASE64.encode("signature"))
    }

    #[test]
    fn what_is_written_is_read() {
        let text = write::<()>("k", &claims(), |_| Ok(b"signature".to_vec())).expect("signed");
        let parsed = parse(text.as_bytes()).expect("a token");
        assert_eq!((parsed.key_id.as_deref(), &parsed.claims), (Some("k"), &claims()));
        assert_eq!(parsed.signed, text.rsplit_once('.').expect("a signature").0.as_bytes());
        assert_eq!(parsed.signature, b"signature");
        let told = String::from_utf8(BASE64.decode(text.split('.').nth(1).expect("claims")).expect("base64"));
        assert_eq!(
            told.expect("text"),
            r#"{"aud":["https://kubernetes.default.svc.cluster.local"],"exp":4000,"iat":400,"iss":"https://kubernetes.default.svc.cluster.local","jti":"j","kubernetes.io":{"namespace":"shop","serviceaccount":{"name":"web","uid":"u1"}},"nbf":400,"sub":"system:serviceaccount:shop:web"}"#
        );
    }

    fn check(header: &str, claims: &str, expect: Result<(), Malformed>) {
        let text = token(header, claims);
        assert_eq!(parse(text.as_bytes()).map(drop), expect, "{header} {claims}");
    }

    #[test]
    fn only_one_way_of_signing_is_taken() {
        let claims = r#"{"iss":"i","sub":"s","aud":"a"}"#;
        check(r#"{"alg":"ES256"}"#, claims, Ok(()));
        check(r#"{"alg":"none"}"#, claims, Err(Malformed::Algorithm));
        check(r#"{"alg":"HS256","kid":"k"}"#, claims, Err(Malformed::Algorithm));
        check(r#"{"alg":"ES256","crit":["b64"],"b64":false}"#, claims, Err(Malformed::Algorithm));
        check(r#"{"alg":"ES256","alg":"none"}"#, claims, Err(Malformed::Claims));
    }

    #[test]
    fn claims_are_what_they_should_be_or_nothing() {
        let header = r#"{"alg":"ES256"}"#;
        check(header, "[]", Err(Malformed::Claims));
        check(header, r#"{"iss":"i"}"#, Err(Malformed::Claims));
        check(header, r#"{"iss":"i","sub":"s","exp":1e300}"#, Err(Malformed::Claims));
        check(header, r#"{"iss":"i","sub":"s","exp":"soon"}"#, Err(Malformed::Claims));
        check(header, r#"{"iss":"i","iss":"j","sub":"s"}"#, Err(Malformed::Claims));
        assert_eq!(parse(b"a.b"), Err(Malformed::Form));
        assert_eq!(parse(b"a.b.c.d"), Err(Malformed::Form));
        assert_eq!(parse(b"e30=.e30.e30"), Err(Malformed::Form));
        assert_eq!(parse(&vec![b'.'; TOKEN_BYTES_MAX + 1]), Err(Malformed::Length));
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..200), claims in ".*") {
            let _ = parse(&bytes);
            let _ = parse(token(r#"{"alg":"ES256"}"#, &claims).as_bytes());
        }
    }
}
