//! What becomes of an object that somebody wants deleted.
//!
//! Nothing is deleted that something still holds: a pod until its node has stopped it, an object with finalizers until the last
//! is gone. Until then it is marked, and whoever empties it last ends it.

use api::{Cause, Kind, Object, StatusError, kinds};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use crate::negotiate::Encoding;
use crate::query::{Query, dry_run, invalid_in};
use crate::seed;

/// How a deletion is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct DeleteOptions {
    grace_period_seconds: Option<i64>,
    propagation_policy: Option<String>,
    orphan_dependents: Option<bool>,
    preconditions: Option<Preconditions>,
    dry_run: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Preconditions {
    uid: Option<String>,
    resource_version: Option<String>,
}

/// What becomes of the object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fate {
    /// Nothing holds it.
    Gone,
    /// It is marked, and stays until it is let go.
    Leaving(Object),
    /// It is on its way already.
    AsItWas,
}

/// What holds a definition until the last object of its kind is gone.
pub(crate) const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";
const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";
const DEFAULT_GRACE_SECONDS: i64 = 30;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Held {
    metadata: HeldMeta,
    spec: HeldSpec,
    status: HeldStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct HeldMeta {
    deletion_grace_period_seconds: Option<i64>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct HeldSpec {
    node_name: String,
    termination_grace_period_seconds: Option<i64>,
    finalizers: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct HeldStatus {
    phase: String,
}

// === impl DeleteOptions ===

impl DeleteOptions {
    /// What a body and a query say; the query completes the body.
    pub(crate) fn read(encoding: Encoding, body: &[u8], query: &Query) -> Result<Self, StatusError> {
        let mut options: Self = if body.is_empty() {
            Self::default()
        } else {
            let value = crate::body::decode(encoding, body, "DeleteOptions")?.value;
            serde_json::from_value(value).map_err(|error| StatusError::bad_request(error.to_string()))?
        };
        if let Some(grace) = query.get("gracePeriodSeconds") {
            let grace = grace.parse().map_err(|_| {
                StatusError::bad_request(format!("strconv.ParseInt: parsing {grace:?}: invalid syntax"))
            })?;
            options.grace_period_seconds.get_or_insert(grace);
        }
        if let Some(policy) = query.get("propagationPolicy") {
            options.propagation_policy.get_or_insert(policy.into());
        }
        options.dry_run.extend(query.get("dryRun").map(String::from));
        options.check()?;
        Ok(options)
    }

    /// What an eviction asks for.
    pub(crate) fn of_eviction(eviction: &Value) -> Result<Self, StatusError> {
        let options = eviction.get("deleteOptions").cloned().unwrap_or_default();
        let options: Option<Self> =
            serde_json::from_value(options).map_err(|error| StatusError::bad_request(error.to_string()))?;
        let options = options.unwrap_or_default();
        options.check()?;
        Ok(options)
    }

    /// Whether everything is to be done but the deed.
    pub(crate) fn is_dry_run(&self) -> bool {
        !self.dry_run.is_empty()
    }

    /// The same, but only to find out.
    pub(crate) fn dry(mut self) -> Self {
        self.dry_run = vec!["All".into()];
        self
    }

    fn check(&self) -> Result<(), StatusError> {
        dry_run("DeleteOptions", self.dry_run.iter().map(String::as_str))?;
        let supported = ["Foreground", "Background", "Orphan"];
        match self.propagation_policy.as_deref() {
            Some(policy) if !supported.contains(&policy) => {
                let told = [&supported[..], &["nil"]].concat();
                Err(invalid_in("DeleteOptions", Cause::unsupported("propagationPolicy", policy, &told)))
            }
            Some(_) if self.orphan_dependents.is_some() => Err(invalid_in(
                "DeleteOptions",
                Cause::invalid(
                    "propagationPolicy",
                    &self.propagation_policy,
                    "orphanDependents and deletionPropagation cannot be both set",
                ),
            )),
            _ => Ok(()),
        }
    }

    fn policy(&self) -> Option<&str> {
        let old_way = || self.orphan_dependents.map(|orphan| if orphan { "Orphan" } else { "Background" });
        self.propagation_policy.as_deref().or_else(old_way)
    }

    fn demand(&self, kind: &dyn Kind, old: &Object) -> Result<(), StatusError> {
        let Some(preconditions) = &self.preconditions else { return Ok(()) };
        let refuse = |what: &str, wanted: &str, found: &str| {
            let why = format!("Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}");
            Err(StatusError::conflict(kind.names(), old.key().name(), &why))
        };
        match &preconditions.uid {
            Some(uid) if **uid != *old.meta().uid => return refuse("UID", uid, &old.meta().uid),
            _ => {}
        }
        match &preconditions.resource_version {
            Some(version) if *version != old.revision().to_string() => {
                refuse("ResourceVersion", version, &old.revision().to_string())
            }
            _ => Ok(()),
        }
    }
}

/// What becomes of `old`.
pub(crate) fn decide(
    kind: &dyn Kind,
    old: &Object,
    options: &DeleteOptions,
    now: Timestamp,
) -> Result<Fate, StatusError> {
    options.demand(kind, old)?;
    let is_namespace = old.key().kind() == kinds::NAMESPACE;
    if is_namespace && seed::NAMESPACES[..3].contains(&old.key().name()) {
        let why = "this namespace may not be deleted";
        return Err(StatusError::forbidden(kind.names(), old.key().name(), why));
    }
    let held: Held = serde_json::from_slice(old.body()).map_err(StatusError::internal)?;
    let mut finalizers = finalizers(old, options.policy());
    let is_definition = old.key().kind() == kinds::CUSTOM_RESOURCE_DEFINITION;
    if is_definition && !old.meta().is_terminating() && !finalizers.iter().any(|one| one == CLEANUP) {
        finalizers.push(CLEANUP.into());
    }
    let grace = grace(old, &held, options);
    let is_held = grace > 0 || !finalizers.is_empty() || (is_namespace && !held.spec.finalizers.is_empty());
    if !is_held {
        return Ok(Fate::Gone);
    }
    let until = match (old.meta().deletion_timestamp, held.metadata.deletion_grace_period_seconds) {
        (None, _) => now + SignedDuration::from_secs(grace),
        (Some(until), Some(known)) if grace < known => until - SignedDuration::from_secs(known - grace),
        (Some(_), _) if finalizers == old.meta().finalizers => return Ok(Fate::AsItWas),
        (Some(until), _) => until,
    };
    let mut value = old.to_value().map_err(StatusError::internal)?;
    let metadata = &mut value["metadata"];
    metadata["deletionTimestamp"] = until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
    metadata["deletionGracePeriodSeconds"] = grace.into();
    if !finalizers.is_empty() || metadata.get("finalizers").is_some() {
        metadata["finalizers"] = finalizers.into();
    }
    if old.meta().generation > 0 && !old.meta().is_terminating() {
        metadata["generation"] = (old.meta().generation + 1).into();
    }
    if is_namespace {
        value["status"]["phase"] = "Terminating".into();
    }
    if is_definition {
        say_terminating(&mut value, now);
    }
    let marked = Object::from_value(old.key().kind(), &value).map_err(StatusError::internal)?;
    Ok(Fate::Leaving(marked))
}

/// A definition that is to go says so at once: from then on its kind takes no new objects.
fn say_terminating(value: &mut Value, now: Timestamp) {
    let condition = serde_json::json!({
        "type": "Terminating", "status": "True", "reason": "InstanceDeletionPending",
        "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
        "lastTransitionTime": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    });
    match value["status"]["conditions"].as_array_mut() {
        Some(conditions) if conditions.iter().any(|one| one["type"] == "Terminating") => {}
        Some(conditions) => conditions.push(condition),
        None => value["status"]["conditions"] = serde_json::json!([condition]),
    }
}

/// Whether nothing holds a marked object any more, so that the write that made it so is its end.
pub(crate) fn is_over(object: &Object) -> bool {
    if !object.meta().is_terminating() || !object.meta().finalizers.is_empty() {
        return false;
    }
    let Ok(held) = serde_json::from_slice::<Held>(object.body()) else { return false };
    match object.key().kind() {
        kinds::POD => held.metadata.deletion_grace_period_seconds.unwrap_or_default() == 0,
        kinds::NAMESPACE => held.spec.finalizers.is_empty(),
        _ => true,
    }
}

/// The finalizers that the policy leaves the object with.
fn finalizers(old: &Object, policy: Option<&str>) -> Vec<String> {
    let mut finalizers = old.meta().finalizers.clone();
    let wanted = match policy {
        None => return finalizers,
        Some("Orphan") => Some(ORPHAN),
        Some("Foreground") => Some(FOREGROUND),
        Some(_) => None,
    };
    finalizers.retain(|one| (one != ORPHAN && one != FOREGROUND) || Some(one.as_str()) == wanted);
    if let Some(wanted) = wanted.filter(|wanted| !finalizers.iter().any(|one| one == wanted)) {
        finalizers.push(wanted.into());
    }
    finalizers
}

/// How long the object may take to end: only a pod that runs somewhere takes time. Asking again may only shorten it.
fn grace(old: &Object, held: &Held, options: &DeleteOptions) -> i64 {
    let ended = matches!(held.status.phase.as_str(), "Succeeded" | "Failed");
    if old.key().kind() != kinds::POD || held.spec.node_name.is_empty() || ended {
        return 0;
    }
    let asked = options.grace_period_seconds.or(held.spec.termination_grace_period_seconds);
    // A negative time means the shortest that is not at once, as Kubernetes has it.
    let asked = asked.map_or(DEFAULT_GRACE_SECONDS, |seconds| if seconds < 0 { 1 } else { seconds });
    match held.metadata.deletion_grace_period_seconds {
        Some(known) if old.meta().is_terminating() => asked.min(known),
        _ => asked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::{GroupKind, Revision};
    use serde_json::json;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn object(kind: GroupKind, mut value: Value) -> Object {
        value["apiVersion"] = "v1".into();
        value["kind"] = kind.kind.into();
        value["metadata"]["name"] = "x".into();
        Object::from_value(kind, &value).expect("an object").at(Revision(1))
    }

    fn fate(object: &Object, options: Value) -> Result<Fate, StatusError> {
        let kind = api::catalog::by_kind(object.key().kind()).expect("in the catalog");
        let options = serde_json::from_value(options).expect("options");
        decide(kind, object, &options, NOW)
    }

    fn marked(object: &Object, options: Value) -> Value {
        match fate(object, options).expect("allowed") {
            Fate::Leaving(object) => object.to_value().expect("JSON"),
            other => panic!("not marked: {other:?}"),
        }
    }

    fn pod(phase: &str) -> Object {
        object(kinds::POD, json!({"metadata": {}, "spec": {"nodeName": "n1"}, "status": {"phase": phase}}))
    }

    #[test]
    fn what_nothing_holds_goes_at_once() {
        let config = object(kinds::CONFIG_MAP, json!({"metadata": {}}));
        assert_eq!(fate(&config, json!({})), Ok(Fate::Gone));
        assert_eq!(fate(&pod("Succeeded"), json!({})), Ok(Fate::Gone));
        assert_eq!(fate(&pod("Running"), json!({"gracePeriodSeconds": 0})), Ok(Fate::Gone));
    }

    #[test]
    fn a_running_pod_gets_its_time() {
        let leaving = marked(&pod("Running"), json!({}));
        assert_eq!(leaving["metadata"]["deletionTimestamp"], "1970-01-01T00:00:30Z");
        assert_eq!(leaving["metadata"]["deletionGracePeriodSeconds"], 30);
        let leaving = object(kinds::POD, leaving);
        assert_eq!(fate(&leaving, json!({"gracePeriodSeconds": 60})), Ok(Fate::AsItWas));
        assert_eq!(
            marked(&leaving, json!({"gracePeriodSeconds": 5}))["metadata"]["deletionTimestamp"],
            "1970-01-01T00:00:05Z"
        );
        assert!(!is_over(&leaving));
        assert_eq!(fate(&leaving, json!({"gracePeriodSeconds": 0})), Ok(Fate::Gone));
    }

    #[test]
    fn the_policy_is_a_finalizer() {
        let config = object(kinds::CONFIG_MAP, json!({"metadata": {"finalizers": ["mine"]}}));
        assert_eq!(
            marked(&config, json!({"propagationPolicy": "Foreground"}))["metadata"]["finalizers"],
            json!(["mine", FOREGROUND])
        );
        assert_eq!(
            marked(&config, json!({"propagationPolicy": "Orphan"}))["metadata"]["finalizers"],
            json!(["mine", ORPHAN])
        );
        let orphaning = object(kinds::CONFIG_MAP, json!({"metadata": {"finalizers": [ORPHAN]}}));
        assert_eq!(fate(&orphaning, json!({"propagationPolicy": "Background"})), Ok(Fate::Gone));
        assert!(fate(&config, json!({"propagationPolicy": "Nope"})).is_ok(), "checked when it is read");
    }

    #[test]
    fn a_marked_object_is_over_when_nothing_holds_it() {
        let held = marked(&object(kinds::CONFIG_MAP, json!({"metadata": {"finalizers": ["mine"]}})), json!({}));
        assert!(!is_over(&object(kinds::CONFIG_MAP, held.clone())));
        let mut freed = held;
        freed["metadata"]["finalizers"] = json!([]);
        assert!(is_over(&object(kinds::CONFIG_MAP, freed)));
    }

    #[test]
    fn a_namespace_leaves_when_its_content_has() {
        let namespace = object(kinds::NAMESPACE, json!({"metadata": {}, "spec": {"finalizers": ["kubernetes"]}}));
        assert_eq!(marked(&namespace, json!({}))["status"]["phase"], "Terminating");
        let mut default = namespace.to_value().expect("JSON");
        default["metadata"]["name"] = "default".into();
        let default = Object::from_value(kinds::NAMESPACE, &default).expect("an object");
        assert_eq!(fate(&default, json!({})).expect_err("it may not").code(), 403);
    }

    #[test]
    fn preconditions_must_hold() {
        let config = object(kinds::CONFIG_MAP, json!({"metadata": {"uid": "u"}}));
        assert_eq!(fate(&config, json!({"preconditions": {"uid": "u", "resourceVersion": "1"}})), Ok(Fate::Gone));
        assert_eq!(fate(&config, json!({"preconditions": {"uid": "v"}})).expect_err("another one").code(), 409);
        assert_eq!(
            fate(&config, json!({"preconditions": {"resourceVersion": "9"}})).expect_err("another one").code(),
            409
        );
    }
}
