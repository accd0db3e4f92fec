//! What a token is to be bound to, found in the world; and what nodes may ask for.

use api::jwt::{self, Bound, Reference};
use api::{Names, Object, Reason, StatusError, kinds};
use serde::Deserialize;

use super::request::{Asking, BoundTo, Spec, reference};

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Pod {
    spec: PodSpec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodSpec {
    service_account_name: String,
    node_name: String,
    volumes: Vec<Volume>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Volume {
    projected: Option<Projected>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Projected {
    sources: Vec<Source>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Source {
    service_account_token: Option<TokenSource>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenSource {
    audience: String,
}

/// What the token is bound to: its account, and what is asked for.
pub(super) fn resolve(asking: &Asking<'_>, to: Option<&BoundTo>) -> Result<Bound, StatusError> {
    let account = asking.account;
    let namespace = account.key().namespace();
    let mut bound = Bound { namespace: namespace.into(), serviceaccount: reference(account), ..Bound::default() };
    let Some(to) = to else { return Ok(bound) };
    let found = match (to.api_version.as_str(), to.kind.as_str()) {
        ("v1", "Pod") => {
            let object = found(asking, kinds::POD, namespace, &to.name)?;
            let pod = pod(object);
            if pod.spec.service_account_name != account.key().name() {
                return Err(StatusError::bad_request(format!(
                    "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                    account.key().name()
                )));
            }
            bound.pod = Some(reference(object));
            bound.node = node(asking, &pod.spec.node_name);
            object
        }
        ("v1", "Secret") => {
            let object = found(asking, kinds::SECRET, namespace, &to.name)?;
            bound.secret = Some(reference(object));
            object
        }
        ("v1", "Node") => {
            let object = found(asking, kinds::NODE, "", &to.name)?;
            bound.node = Some(reference(object));
            object
        }
        (version, kind) => {
            let (group, version) = version.split_once('/').unwrap_or(("", version));
            let why = format!("cannot bind token to object of type {group}/{version}, Kind={kind}");
            return Err(StatusError::bad_request(why));
        }
    };
    if to.uid.is_empty() || *found.meta().uid == *to.uid {
        return Ok(bound);
    }
    let why = format!(
        "Operation cannot be fulfilled on {} {:?}: the UID in the bound object reference ({}) does not match the UID in record. The object might have been deleted and then recreated",
        to.kind, to.name, to.uid
    );
    Err(StatusError::new(Reason::Conflict, why))
}

/// A node asks for the tokens of its own pods, for whom these ask, and for no others.
pub(super) fn restrict(asking: &Asking<'_>, spec: &Spec) -> Result<(), StatusError> {
    let Some(node) = asking.identity.node().filter(|_| !asking.identity.is_master()) else { return Ok(()) };
    let account = asking.account.key();
    let refused = |why: &str| StatusError::forbidden(names(kinds::SERVICE_ACCOUNT), account.name(), why);
    let Some(to) = &spec.bound_object_ref else { return Err(refused("node requested token not bound to a pod")) };
    if to.api_version != "v1" || to.kind != "Pod" || to.name.is_empty() {
        return Err(refused("node requested token not bound to a pod"));
    }
    if to.uid.is_empty() {
        return Err(refused("node requested token with a pod binding without a uid"));
    }
    let object = found(asking, kinds::POD, account.namespace(), &to.name)?;
    let pod = pod(object);
    if *object.meta().uid != *to.uid {
        let why = format!(
            "the UID in the bound object reference ({}) does not match the UID in record ({}). The object might have been deleted and then recreated",
            to.uid,
            object.meta().uid
        );
        return Err(refused(&why));
    }
    if pod.spec.node_name != node {
        return Err(refused("node requested token bound to a pod scheduled on a different node"));
    }
    match spec.audiences.iter().find(|audience| !pod.asks_for(audience)) {
        Some(audience) => Err(refused(&format!("audience {audience:?} not found in pod spec volume"))),
        None => Ok(()),
    }
}

fn found<'a>(
    asking: &Asking<'a>,
    kind: api::GroupKind,
    namespace: &str,
    name: &str,
) -> Result<&'a Object, StatusError> {
    asking.world.get(&kind.key(namespace, name)).ok_or_else(|| StatusError::not_found(names(kind), name))
}

fn names(kind: api::GroupKind) -> &'static Names {
    api::catalog::by_kind(kind).expect("the catalog has pods, secrets, nodes and accounts").names()
}

fn pod(object: &Object) -> Pod {
    serde_json::from_slice(object.body()).unwrap_or_default()
}

/// The node of a pod, which need not be there.
fn node(asking: &Asking<'_>, name: &str) -> Option<Reference> {
    let known = asking.world.get(&kinds::NODE.cluster_key(name)).map(reference);
    (!name.is_empty()).then(|| known.unwrap_or_else(|| Reference { name: name.into(), uid: String::new() }))
}

// === impl Pod ===

impl Pod {
    /// Whether one of the pod's volumes holds a token for an audience.
    fn asks_for(&self, audience: &str) -> bool {
        let projected = self.spec.volumes.iter().filter_map(|volume| volume.projected.as_ref());
        let mut tokens = projected
            .flat_map(|projected| &projected.sources)
            .filter_map(|source| source.service_account_token.as_ref());
        tokens.any(|token| match token.audience.as_str() {
            "" => audience == jwt::ISSUER,
            asked => asked == audience,
        })
    }
}
