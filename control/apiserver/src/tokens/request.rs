//! `TokenRequest`: a token for an account, for a while, for an audience, bound to a pod, a secret or a node.

use api::jwt::{self, Bound, Claims, Reference};
use api::rules::Causes;
use api::{Names, Object, Scope, StatusError};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use state::Snapshot;

use super::bound;
use crate::identity::Identity;

/// What is asked, and what it is asked about.
pub(crate) struct Asking<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) world: &'a Snapshot,
    /// The account.
    pub(crate) account: &'a Object,
    pub(crate) now: Timestamp,
    /// What the token is to be known by.
    pub(crate) id: String,
}

/// What comes of it: what the token says, and what is answered but for the token itself.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(crate) claims: Claims,
    answer: Request,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Request {
    metadata: Metadata,
    pub(super) spec: Spec,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: String,
    namespace: String,
    #[serde(skip_deserializing)]
    creation_timestamp: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    #[serde(deserialize_with = "or_default")]
    pub(super) audiences: Vec<String>,
    expiration_seconds: Option<i64>,
    pub(super) bound_object_ref: Option<BoundTo>,
}

/// What the token is to be bound to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct BoundTo {
    pub(super) kind: String,
    pub(super) api_version: String,
    pub(super) name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) uid: String,
}

const NAMES: Names = Names {
    group: "authentication.k8s.io",
    version: "v1",
    kind: "TokenRequest",
    plural: "tokenrequests",
    singular: "tokenrequest",
    short: &[],
    categories: &[],
    scope: Scope::Namespaced,
};

/// As Kubernetes has it, all three.
const SECONDS_DEFAULT: i64 = 3600;
const SECONDS_MIN: i64 = 10 * 60;
const SECONDS_MAX: i64 = 1 << 32;
/// A pod that asks for exactly this, as admission has every pod ask, is old enough to know no rotation: it is warned after that
/// time, and its token goes on for a year.
const SECONDS_WARNED: i64 = 60 * 60 + 7;
const SECONDS_EXTENDED: i64 = 365 * 24 * 60 * 60;

/// What a request comes to.
pub(crate) fn grant(asking: &Asking<'_>, said: Value) -> Result<Granted, StatusError> {
    let said: Request = serde_json::from_value(said).map_err(|error| {
        StatusError::bad_request(format!("TokenRequest in version \"v1\" cannot be handled as a TokenRequest: {error}"))
    })?;
    let mut request = addressed(said, asking.account)?;
    if request.spec.audiences.is_empty() {
        request.spec.audiences = vec![jwt::ISSUER.into()];
    }
    let seconds = request.spec.expiration_seconds.unwrap_or(SECONDS_DEFAULT);
    request.spec.expiration_seconds = Some(seconds);
    judge(&request, seconds)?;
    bound::restrict(asking, &request.spec)?;
    let bound = bound::resolve(asking, request.spec.bound_object_ref.as_ref())?;
    request.metadata.creation_timestamp = told(asking.now);
    Ok(Granted { claims: claims(asking, &request.spec.audiences, seconds, bound), answer: request })
}

/// The request with the name and the namespace of its account, which it may say itself.
fn addressed(mut request: Request, account: &Object) -> Result<Request, StatusError> {
    let key = account.key();
    let mut causes = Causes::default();
    let Metadata { name, namespace, .. } = &request.metadata;
    if !name.is_empty() && name != key.name() {
        causes.invalid("metadata.name", name, "must match the service account name if specified");
    } else if !namespace.is_empty() && namespace != key.namespace() {
        causes.invalid("metadata.namespace", namespace, "must match the service account namespace if specified");
    }
    if !causes.is_empty() {
        return Err(StatusError::invalid(&NAMES, key.name(), causes.into_inner()));
    }
    request.metadata.name = key.name().into();
    request.metadata.namespace = key.namespace().into();
    Ok(request)
}

fn judge(request: &Request, seconds: i64) -> Result<(), StatusError> {
    let mut causes = Causes::default();
    if seconds < SECONDS_MIN {
        causes.invalid("spec.expirationSeconds", seconds, "may not specify a duration less than 10 minutes");
    }
    if seconds > SECONDS_MAX {
        causes.invalid("spec.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds");
    }
    if request.spec.audiences.iter().map(String::len).sum::<usize>() > jwt::TOKEN_BYTES_MAX / 2 {
        causes.too_long("spec.audiences", jwt::TOKEN_BYTES_MAX / 2);
    }
    if causes.is_empty() { Ok(()) } else { Err(StatusError::invalid(&NAMES, "", causes.into_inner())) }
}

fn claims(asking: &Asking<'_>, audiences: &[String], seconds: i64, bound: Bound) -> Claims {
    let (account, now) = (asking.account.key(), asking.now.as_second());
    let is_extended = bound.pod.is_some() && seconds == SECONDS_WARNED && audiences == [jwt::ISSUER];
    let (exp, warnafter) = if is_extended { (SECONDS_EXTENDED, Some(now + seconds)) } else { (seconds, None) };
    Claims {
        aud: audiences.into(),
        exp: Some(now + exp),
        iat: Some(now),
        nbf: Some(now),
        iss: jwt::ISSUER.into(),
        jti: Some(asking.id.clone()),
        sub: jwt::account_user(account.namespace(), account.name()),
        kubernetes: Some(Bound { warnafter, ..bound }),
        ..Claims::default()
    }
}

/// An object as a token speaks of it.
pub(super) fn reference(object: &Object) -> Reference {
    Reference { name: object.key().name().into(), uid: object.meta().uid.as_ref().into() }
}

fn told(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Nobody and nothing are the same in a list.
fn or_default<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Option::<Vec<String>>::deserialize(from).map(Option::unwrap_or_default)
}

// === impl Granted ===

impl Granted {
    /// The whole answer.
    pub(crate) fn answer(&self, token: &str) -> Value {
        let seconds = SignedDuration::from_secs(self.answer.spec.expiration_seconds.unwrap_or_default());
        let begins = self.claims.iat.and_then(|iat| Timestamp::from_second(iat).ok()).unwrap_or_default();
        let mut answer = json!(self.answer);
        answer["kind"] = NAMES.kind.into();
        answer["apiVersion"] = NAMES.api_version().into();
        answer["status"] = json!({
            "token": token,
            "expirationTimestamp": begins.checked_add(seconds).map(told).unwrap_or_default(),
        });
        answer
    }
}

#[cfg(test)]
mod tests;
