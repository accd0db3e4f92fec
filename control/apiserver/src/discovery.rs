//! What the cluster serves, as clients ask for it: in one document (aggregated), or group by group (legacy).
//!
//! A pure function of the catalog. Clients cache these documents for hours and compare their tags.

use std::collections::BTreeMap;

use api::{Kind, Scope, Subresource};
use serde_json::{Value, json};
use sha2::{Digest, Sha512};

use crate::review::{REVIEWS, Review};
use crate::target::subresource_name;

/// The verbs of every kind.
const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// Everything served: groups in the order clients prefer them, in each its versions, in each its resources.
type Groups = BTreeMap<(Rank, &'static str), BTreeMap<&'static str, Vec<Served>>>;

/// What is at one URL.
enum Served {
    Kind(&'static dyn Kind),
    Review(&'static Review),
}

/// Core first, then `apps`, then the others by name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Core,
    Apps,
    Other,
}

/// The aggregated document of the core group (`/api`) or of all others (`/apis`).
pub(crate) fn aggregated(core: bool, version: &str) -> Value {
    let groups = groups();
    let items = groups.iter().filter(|((rank, _), _)| (*rank == Rank::Core) == core).map(|((_, group), versions)| {
        let metadata = match *group {
            "" => json!({"creationTimestamp": null}),
            name => json!({"name": name, "creationTimestamp": null}),
        };
        let versions: Vec<Value> = versions
            .iter()
            .map(|(version, served)| {
                let resources: Vec<Value> = served.iter().map(Served::aggregated).collect();
                json!({"version": version, "freshness": "Current", "resources": resources})
            })
            .collect();
        json!({"metadata": metadata, "versions": versions})
    });
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {},
        "items": items.collect::<Vec<_>>(),
    })
}

/// What `/api` says to those who do not ask for the aggregated document.
pub(crate) fn core_versions(address: &str) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

/// What `/apis` says to those who do not ask for the aggregated document.
pub(crate) fn group_list() -> Value {
    let groups: Vec<Value> = groups()
        .iter()
        .filter(|((rank, _), _)| *rank != Rank::Core)
        .map(|((_, group), versions)| described(group, versions.keys().copied()))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// What `/apis/<group>` says.
pub(crate) fn group(name: &str) -> Option<Value> {
    let groups = groups();
    let ((_, group), versions) = groups.iter().find(|((rank, group), _)| *group == name && *rank != Rank::Core)?;
    let mut described = described(group, versions.keys().copied());
    described["kind"] = "APIGroup".into();
    described["apiVersion"] = "v1".into();
    Some(described)
}

/// What `/api/v1` and `/apis/<group>/<version>` say.
pub(crate) fn resource_list(group: &str, version: &str) -> Option<Value> {
    let groups = groups();
    let (_, versions) = groups.iter().find(|((_, known), _)| *known == group)?;
    let resources: Vec<Value> = versions.get(version)?.iter().flat_map(Served::listed).collect();
    Some(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version(group, version),
        "resources": resources,
    }))
}

/// What a group and version has.
type Members = (Vec<&'static dyn Kind>, Vec<&'static Review>);

/// Every group and version, as in `apiVersion`, with its kinds and reviews.
pub(crate) fn group_versions() -> BTreeMap<String, Members> {
    let mut found: BTreeMap<String, Members> = BTreeMap::new();
    for kind in api::catalog::all() {
        found.entry(kind.names().api_version()).or_default().0.push(*kind);
    }
    for review in REVIEWS {
        found.entry(review.names.api_version()).or_default().1.push(review);
    }
    found
}

/// The tag of a document: it changes when the document does.
pub(crate) fn tag(document: &[u8]) -> String {
    format!("\"{}\"", hex::encode_upper(Sha512::digest(document)))
}

fn groups() -> Groups {
    let mut groups = Groups::new();
    let mut serve = |group: &'static str, version, served| {
        let rank = match group {
            "" => Rank::Core,
            "apps" => Rank::Apps,
            _ => Rank::Other,
        };
        groups.entry((rank, group)).or_default().entry(version).or_default().push(served);
    };
    for kind in api::catalog::all() {
        serve(kind.names().group, kind.names().version, Served::Kind(*kind));
    }
    for review in REVIEWS {
        serve(review.names.group, review.names.version, Served::Review(review));
    }
    groups
}

fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.into() } else { format!("{group}/{version}") }
}

fn described<'a>(group: &str, versions: impl Iterator<Item = &'a str>) -> Value {
    let versions: Vec<Value> =
        versions.map(|version| json!({"groupVersion": group_version(group, version), "version": version})).collect();
    json!({"name": group, "preferredVersion": versions.first(), "versions": versions})
}

// === impl Served ===

impl Served {
    fn aggregated(&self) -> Value {
        match self {
            Self::Review(Review { names, .. }) => json!({
                "resource": names.plural,
                "responseKind": {"group": names.group, "version": names.version, "kind": names.kind},
                "scope": if names.scope == Scope::Namespaced { "Namespaced" } else { "Cluster" },
                "singularResource": names.singular,
                "verbs": ["create"],
            }),
            Self::Kind(kind) => {
                let names = kind.names();
                let mut resource = json!({
                    "resource": names.plural,
                    "responseKind": {"group": names.group, "version": names.version, "kind": names.kind},
                    "scope": if names.scope == Scope::Namespaced { "Namespaced" } else { "Cluster" },
                    "singularResource": names.singular,
                    "verbs": VERBS,
                });
                if !names.short.is_empty() {
                    resource["shortNames"] = json!(names.short);
                }
                if !names.categories.is_empty() {
                    resource["categories"] = json!(names.categories);
                }
                let parts: Vec<Value> = kind
                    .subresources()
                    .iter()
                    .map(|part| {
                        let (group, version, said) = spoken(*kind, *part);
                        json!({
                            "subresource": subresource_name(*part),
                            "responseKind": {"group": group, "version": version, "kind": said},
                            "verbs": part_verbs(*part),
                        })
                    })
                    .collect();
                if !parts.is_empty() {
                    resource["subresources"] = parts.into();
                }
                resource
            }
        }
    }

    fn listed(&self) -> Vec<Value> {
        match self {
            Self::Review(Review { names, .. }) => vec![json!({
                "name": names.plural,
                "singularName": names.singular,
                "namespaced": names.scope == Scope::Namespaced,
                "kind": names.kind,
                "verbs": ["create"],
            })],
            Self::Kind(kind) => {
                let names = kind.names();
                let namespaced = names.scope == Scope::Namespaced;
                let mut resource = json!({
                    "name": names.plural, "singularName": names.singular, "namespaced": namespaced, "kind": names.kind,
                    "verbs": VERBS,
                });
                if !names.short.is_empty() {
                    resource["shortNames"] = json!(names.short);
                }
                if !names.categories.is_empty() {
                    resource["categories"] = json!(names.categories);
                }
                let parts = kind.subresources().iter().map(|part| {
                    let (group, version, said) = spoken(*kind, *part);
                    let mut listed = json!({
                        "name": format!("{}/{}", names.plural, subresource_name(*part)),
                        "singularName": "", "namespaced": namespaced, "kind": said, "verbs": part_verbs(*part),
                    });
                    if (group, version) != (names.group, names.version) {
                        listed["group"] = group.into();
                        listed["version"] = version.into();
                    }
                    listed
                });
                std::iter::once(resource).chain(parts).collect()
            }
        }
    }
}

/// The group, version and kind that a part speaks.
fn spoken(kind: &'static dyn Kind, part: Subresource) -> (&'static str, &'static str, &'static str) {
    let names = kind.names();
    match part {
        Subresource::Scale => ("autoscaling", "v1", "Scale"),
        Subresource::Eviction => ("policy", "v1", "Eviction"),
        Subresource::Token => ("authentication.k8s.io", "v1", "TokenRequest"),
        Subresource::Binding => ("", "v1", "Binding"),
        Subresource::PortForward => ("", "v1", "PodPortForwardOptions"),
        Subresource::Exec => ("", "v1", "PodExecOptions"),
        Subresource::Attach => ("", "v1", "PodAttachOptions"),
        Subresource::Proxy => match names.kind {
            "Pod" => ("", "v1", "PodProxyOptions"),
            "Service" => ("", "v1", "ServiceProxyOptions"),
            _ => ("", "v1", "NodeProxyOptions"),
        },
        Subresource::Status | Subresource::Log | Subresource::Finalize => (names.group, names.version, names.kind),
    }
}

fn part_verbs(part: Subresource) -> &'static [&'static str] {
    match part {
        Subresource::Status | Subresource::Scale => &["get", "patch", "update"],
        Subresource::Log => &["get"],
        Subresource::Binding | Subresource::Eviction | Subresource::Token => &["create"],
        Subresource::Finalize => &["update"],
        Subresource::PortForward | Subresource::Exec | Subresource::Attach => &["create", "get"],
        Subresource::Proxy => &["create", "delete", "get", "patch", "update"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_core_group_stands_alone() {
        let core = aggregated(true, "v2");
        assert_eq!(core["items"].as_array().map(Vec::len), Some(1));
        assert_eq!(core["items"][0]["versions"][0]["version"], "v1");
        let others = aggregated(false, "v2");
        assert_eq!(others["items"][0]["metadata"]["name"], "apps");
    }

    #[test]
    fn legacy_discovery_lists_parts_beside_their_kinds() {
        let list = resource_list("apps", "v1").expect("served");
        let names: Vec<&str> =
            list["resources"].as_array().expect("resources").iter().filter_map(|one| one["name"].as_str()).collect();
        assert!(names.contains(&"deployments") && names.contains(&"deployments/scale"), "{names:?}");
        let pods = resource_list("", "v1").expect("served");
        let eviction =
            pods["resources"].as_array().expect("resources").iter().find(|one| one["name"] == "pods/eviction");
        assert_eq!(eviction.expect("drain needs it")["group"], "policy");
        assert_eq!(resource_list("apps", "v9"), None);
        assert_eq!(group("apps").expect("served")["preferredVersion"]["groupVersion"], "apps/v1");
        assert_eq!(group(""), None);
    }
}
