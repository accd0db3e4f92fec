//! How fields merge: facts of the Kubernetes API that its JSON shows only as `x-kubernetes-*` extensions.
//!
//! The patch key is what strategic merge patch matches items by; the list keys are what server-side apply does.

use serde_json::{Map, Value, json};

use crate::schema::{Field, Message, Shape, Type};

/// How one field merges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// `x-kubernetes-patch-strategy`: `merge`, `replace`, `retainKeys`, or two of them between commas; empty for none.
    pub strategy: &'static str,
    /// `x-kubernetes-patch-merge-key`; empty for none.
    pub merge_key: &'static str,
    /// `x-kubernetes-list-map-keys`; empty unless the list is a map.
    pub list_keys: &'static [&'static str],
    /// `x-kubernetes-list-type`: `atomic`, `set`, `map`; empty for what is no list.
    pub list_type: &'static str,
}

const fn by_key(merge_key: &'static str, list_keys: &'static [&'static str]) -> Facts {
    Facts { strategy: "merge", merge_key, list_keys, list_type: "map" }
}

/// Items are matched by a key in patches, but owned as a whole in applies.
const fn by_key_atomic(merge_key: &'static str) -> Facts {
    Facts { strategy: "merge", merge_key, list_keys: &[], list_type: "atomic" }
}

/// Items are owned each by their keys in applies, but a patch replaces them all.
const fn map_of(list_keys: &'static [&'static str]) -> Facts {
    Facts { strategy: "", merge_key: "", list_keys, list_type: "map" }
}

const SET: Facts = Facts { strategy: "merge", merge_key: "", list_keys: &[], list_type: "set" };
/// The same for values, each of which is its own key.
const OWNED_SET: Facts = Facts { strategy: "", ..SET };
const ATOMIC: Facts = Facts { strategy: "", merge_key: "", list_keys: &[], list_type: "atomic" };
const CONDITIONS: Facts = by_key("type", &["type"]);
const RETAIN_KEYS: Facts = Facts { strategy: "retainKeys", merge_key: "", list_keys: &[], list_type: "" };
const REPLACE: Facts = Facts { strategy: "replace", merge_key: "", list_keys: &[], list_type: "" };
const NAME: Facts = by_key("name", &["name"]);

/// Whatever is not here is replaced as a whole when it is a list, and merged member by member when it is an object.
const TABLE: &[(&str, &str, Facts)] = &[
    ("ObjectMeta", "ownerReferences", by_key("uid", &["uid"])),
    ("ObjectMeta", "finalizers", SET),
    ("PodSpec", "containers", NAME),
    ("PodSpec", "initContainers", NAME),
    ("PodSpec", "ephemeralContainers", NAME),
    ("PodSpec", "volumes", Facts { strategy: "merge,retainKeys", ..NAME }),
    ("PodSpec", "resourceClaims", Facts { strategy: "merge,retainKeys", ..NAME }),
    ("PodSpec", "imagePullSecrets", NAME),
    ("PodSpec", "hostAliases", by_key("ip", &["ip"])),
    ("PodSpec", "schedulingGates", NAME),
    ("PodSpec", "topologySpreadConstraints", by_key("topologyKey", &["topologyKey", "whenUnsatisfiable"])),
    ("Container", "env", NAME),
    ("Container", "ports", by_key("containerPort", &["containerPort", "protocol"])),
    ("Container", "volumeMounts", by_key("mountPath", &["mountPath"])),
    ("Container", "volumeDevices", by_key("devicePath", &["devicePath"])),
    ("EphemeralContainer", "env", NAME),
    ("EphemeralContainer", "ports", by_key("containerPort", &["containerPort", "protocol"])),
    ("EphemeralContainer", "volumeMounts", by_key("mountPath", &["mountPath"])),
    ("EphemeralContainer", "volumeDevices", by_key("devicePath", &["devicePath"])),
    ("ResourceRequirements", "claims", map_of(&["name"])),
    ("ServiceSpec", "ports", by_key("port", &["port", "protocol"])),
    ("ServiceAccount", "secrets", NAME),
    ("NodeSpec", "podCIDRs", SET),
    ("NodeStatus", "addresses", by_key("type", &["type"])),
    ("PodStatus", "podIPs", by_key("ip", &["ip"])),
    ("PodStatus", "hostIPs", by_key_atomic("ip")),
    ("PodStatus", "resourceClaimStatuses", Facts { strategy: "merge,retainKeys", ..NAME }),
    ("ContainerStatus", "allocatedResourcesStatus", NAME),
    ("ContainerStatus", "volumeMounts", by_key("mountPath", &["mountPath"])),
    ("ResourceStatus", "resources", map_of(&["resourceID"])),
    ("JobStatus", "conditions", by_key_atomic("type")),
    ("PodFailurePolicyOnExitCodesRequirement", "values", OWNED_SET),
    ("UncountedTerminatedPods", "failed", OWNED_SET),
    ("UncountedTerminatedPods", "succeeded", OWNED_SET),
    ("CustomResourceDefinitionStatus", "conditions", map_of(&["type"])),
    ("JSONSchemaProps", "x-kubernetes-validations", by_key("rule", &["rule"])),
    ("MutatingWebhookConfiguration", "webhooks", NAME),
    ("MutatingWebhook", "matchConditions", NAME),
    ("ValidatingWebhookConfiguration", "webhooks", NAME),
    ("ValidatingWebhook", "matchConditions", NAME),
    ("ValidatingAdmissionPolicySpec", "matchConditions", NAME),
    ("ValidatingAdmissionPolicySpec", "variables", NAME),
    ("ValidatingAdmissionPolicyStatus", "conditions", map_of(&["type"])),
    ("ValidatingAdmissionPolicyBindingSpec", "validationActions", OWNED_SET),
    ("Endpoint", "addresses", OWNED_SET),
    ("DeploymentSpec", "strategy", RETAIN_KEYS),
    ("PodDisruptionBudgetSpec", "selector", REPLACE),
];

/// Types that server-side apply owns as a whole.
const ATOMIC_TYPES: &[&str] = &[
    "LabelSelector",
    "LocalObjectReference",
    "ObjectReference",
    "TypedLocalObjectReference",
    "SecretReference",
    "ConfigMapKeySelector",
    "SecretKeySelector",
    "ObjectFieldSelector",
    "ResourceFieldSelector",
    "NodeSelector",
    "NodeSelectorTerm",
    "RoleRef",
    "Subject",
    "OwnerReference",
    "EndpointAddress",
    "EndpointPort",
    "ServiceBackendPort",
    "ScopeSelector",
    "CrossVersionObjectReference",
    "TopologySelectorTerm",
    "MatchResources",
    "NamedRuleWithOperations",
    "ParamKind",
    "ParamRef",
    "Variable",
];

/// Maps that server-side apply owns as a whole.
const ATOMIC_MAPS: &[(&str, &str)] = &[
    ("PodSpec", "nodeSelector"),
    ("ServiceSpec", "selector"),
    ("ReplicationControllerSpec", "selector"),
    ("ScaleStatus", "selector"),
    ("Scheduling", "nodeSelector"),
];

/// How a field of a message merges.
pub fn of(message: &Message, field: &Field) -> Option<Facts> {
    let listed = TABLE.iter().find(|(owner, name, _)| *owner == message.short() && *name == field.name);
    if let Some((.., facts)) = listed {
        return Some(*facts);
    }
    let is_condition = matches!(field.of, Type::Message(name) if name.ends_with("Condition"));
    match field.shape {
        Shape::List if is_condition && field.name == "conditions" => Some(CONDITIONS),
        Shape::List => Some(ATOMIC),
        _ => None,
    }
}

/// Whether objects of the message are owned as a whole.
pub fn is_atomic(message: &Message) -> bool {
    ATOMIC_TYPES.contains(&message.short())
}

/// Whether a map is owned as a whole.
pub fn is_atomic_map(message: &Message, field: &Field) -> bool {
    ATOMIC_MAPS.contains(&(message.short(), field.name))
}

// === impl Facts ===

impl Facts {
    /// Whether items of the list merge instead of replacing it.
    pub fn merges(&self) -> bool {
        self.strategy.split(',').any(|strategy| strategy == "merge")
    }

    /// Whether the whole value is replaced.
    pub fn replaces(&self) -> bool {
        self.strategy == "replace"
    }

    /// The extensions by which OpenAPI tells all this.
    pub fn extensions(&self) -> Map<String, Value> {
        let mut found = Map::new();
        for (name, text) in [
            ("x-kubernetes-patch-strategy", self.strategy),
            ("x-kubernetes-patch-merge-key", self.merge_key),
            ("x-kubernetes-list-type", self.list_type),
        ] {
            if !text.is_empty() {
                found.insert(name.into(), text.into());
            }
        }
        if !self.list_keys.is_empty() {
            found.insert("x-kubernetes-list-map-keys".into(), json!(self.list_keys));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;

    #[test]
    fn every_fact_is_about_a_field() {
        let packages = [
            "api.core.v1",
            "api.apps.v1",
            "api.batch.v1",
            "api.policy.v1",
            "api.discovery.v1",
            "api.admissionregistration.v1",
            "apiextensions_apiserver.pkg.apis.apiextensions.v1",
            "apiextensions-apiserver.pkg.apis.apiextensions.v1",
            "apimachinery.pkg.apis.meta.v1",
        ];
        for (owner, name, facts) in TABLE {
            let message = packages.iter().find_map(|package| schema::message(&format!("{package}.{owner}")));
            let field = message.and_then(|message| message.member(name)).unwrap_or_else(|| panic!("{owner}.{name}"));
            if let (Type::Message(items), false) = (field.of, facts.merge_key.is_empty()) {
                assert!(
                    schema::message(items).is_some_and(|items| items.member(facts.merge_key).is_some()),
                    "{owner}.{name}"
                );
            }
        }
    }
}
