//! What the cluster serves, as clients ask for it: in one document (aggregated), or group by group (legacy).
//!
//! A pure function of the kinds that are served. Clients cache these documents for hours and compare their tags.

use api::custom::by_preference;
use api::{Kind, Kinds, Scope, SharedKind, Subresource};
use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha512};

use crate::review::{REVIEWS, Review};
use crate::target::subresource_name;

/// The verbs of every kind.
const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// Everything served: groups in the order clients prefer them, in each its versions, in each its resources.
pub(crate) struct Groups(Vec<Group>);

struct Group {
    rank: Rank,
    name: &'static str,
    /// The one that clients should prefer comes first.
    versions: Vec<(&'static str, Vec<Served>)>,
}

/// What is at one URL.
enum Served {
    Kind(SharedKind, &'static [&'static str]),
    Review(&'static Review),
}

/// Core first, then `apps`, then the others by name; what the cluster was taught comes last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Core,
    Apps,
    Other,
    Learned,
}

/// Which of the two aggregated documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// That of `/api`.
    Core,
    /// That of `/apis`.
    Groups,
}

/// A document, ready to be sent.
pub(crate) struct Document {
    pub(crate) text: Bytes,
    /// Changes when the document does.
    pub(crate) tag: String,
}

/// What `/api` says to those who do not ask for the aggregated document.
pub(crate) fn core_versions(address: &str) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

// === impl Groups ===

impl Groups {
    /// What these kinds, and the reviews, are grouped into.
    pub(crate) fn new(kinds: &Kinds) -> Self {
        let mut groups = Self(Vec::new());
        for kind in kinds.all() {
            let names = kind.names();
            let rank = match names.group {
                "" => Rank::Core,
                "apps" => Rank::Apps,
                _ if kind.taught_by().is_some() => Rank::Learned,
                _ => Rank::Other,
            };
            groups.serve(rank, names.group, names.version, Served::Kind(kind.clone(), &VERBS));
        }
        for kind in api::measured::all() {
            let (names, kind) = (kind.names(), SharedKind::Known(kind));
            groups.serve(Rank::Other, names.group, names.version, Served::Kind(kind, &api::measured::VERBS));
        }
        for review in REVIEWS {
            groups.serve(Rank::Other, review.names.group, review.names.version, Served::Review(review));
        }
        groups.0.sort_by_key(|group| (group.rank, group.name));
        for group in &mut groups.0 {
            group.versions.sort_by(|(one, _), (other, _)| by_preference(one, other));
        }
        groups
    }

    fn serve(&mut self, rank: Rank, name: &'static str, version: &'static str, served: Served) {
        let at = self.0.iter().position(|group| group.name == name).unwrap_or_else(|| {
            self.0.push(Group { rank, name, versions: Vec::new() });
            self.0.len() - 1
        });
        let versions = &mut self.0[at].versions;
        match versions.iter_mut().find(|(known, _)| *known == version) {
            Some((_, all)) => all.push(served),
            None => versions.push((version, vec![served])),
        }
    }

    /// An aggregated document, in this version of `apidiscovery.k8s.io`.
    pub(crate) fn aggregated(&self, part: Part, version: &str) -> Document {
        let text = self.tree(part, version).to_string();
        Document { tag: tag(text.as_bytes()), text: text.into() }
    }

    fn tree(&self, part: Part, version: &str) -> Value {
        let is_meant = |group: &&Group| (group.rank == Rank::Core) == (part == Part::Core);
        let items = self.0.iter().filter(is_meant).map(|group| {
            let metadata = match group.name {
                "" => json!({"creationTimestamp": null}),
                name => json!({"name": name, "creationTimestamp": null}),
            };
            let versions = group.versions.iter().map(|(version, served)| {
                let resources: Vec<Value> = served.iter().map(Served::aggregated).collect();
                json!({"version": version, "freshness": "Current", "resources": resources})
            });
            json!({"metadata": metadata, "versions": versions.collect::<Vec<_>>()})
        });
        json!({
            "kind": "APIGroupDiscoveryList",
            "apiVersion": format!("apidiscovery.k8s.io/{version}"),
            "metadata": {},
            "items": items.collect::<Vec<_>>(),
        })
    }

    /// What `/apis` says to those who do not ask for the aggregated document.
    pub(crate) fn list(&self) -> Value {
        let groups = self.0.iter().filter(|group| group.rank != Rank::Core).map(Group::described);
        json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups.collect::<Vec<_>>()})
    }

    /// What `/apis/<group>` says.
    pub(crate) fn one(&self, name: &str) -> Option<Value> {
        let group = self.0.iter().find(|group| group.name == name && group.rank != Rank::Core)?;
        let mut described = group.described();
        described["kind"] = "APIGroup".into();
        described["apiVersion"] = "v1".into();
        Some(described)
    }

    /// What `/api/v1` and `/apis/<group>/<version>` say.
    pub(crate) fn resources(&self, group: &str, version: &str) -> Option<Value> {
        let known = self.0.iter().find(|known| known.name == group)?;
        let (_, served) = known.versions.iter().find(|(known, _)| *known == version)?;
        let resources: Vec<Value> = served.iter().flat_map(Served::listed).collect();
        Some(json!({
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": group_version(group, version),
            "resources": resources,
        }))
    }
}

// === impl Group ===

impl Group {
    fn described(&self) -> Value {
        let versions: Vec<Value> = self
            .versions
            .iter()
            .map(|(version, _)| json!({"groupVersion": group_version(self.name, version), "version": version}))
            .collect();
        json!({"name": self.name, "preferredVersion": versions.first(), "versions": versions})
    }
}

/// The tag of a document: it changes when the document does.
fn tag(document: &[u8]) -> String {
    format!("\"{}\"", hex::encode_upper(Sha512::digest(document)))
}

fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.into() } else { format!("{group}/{version}") }
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
            Self::Kind(kind, verbs) => {
                let names = kind.names();
                let mut resource = json!({
                    "resource": names.plural,
                    "responseKind": {"group": names.group, "version": names.version, "kind": names.kind},
                    "scope": if names.scope == Scope::Namespaced { "Namespaced" } else { "Cluster" },
                    "singularResource": names.singular,
                    "verbs": verbs,
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
                        let (group, version, said) = spoken(&**kind, *part);
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
            Self::Kind(kind, verbs) => {
                let names = kind.names();
                let namespaced = names.scope == Scope::Namespaced;
                let mut resource = json!({
                    "name": names.plural, "singularName": names.singular, "namespaced": namespaced, "kind": names.kind,
                    "verbs": verbs,
                });
                if !names.short.is_empty() {
                    resource["shortNames"] = json!(names.short);
                }
                if !names.categories.is_empty() {
                    resource["categories"] = json!(names.categories);
                }
                let parts = kind.subresources().iter().map(|part| {
                    let (group, version, said) = spoken(&**kind, *part);
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
fn spoken(kind: &dyn Kind, part: Subresource) -> (&'static str, &'static str, &'static str) {
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
        Subresource::Status
        | Subresource::Log
        | Subresource::Finalize
        | Subresource::Approval
        | Subresource::EphemeralContainers
        | Subresource::Resize => (names.group, names.version, names.kind),
    }
}

fn part_verbs(part: Subresource) -> &'static [&'static str] {
    match part {
        Subresource::Status
        | Subresource::Scale
        | Subresource::Approval
        | Subresource::EphemeralContainers
        | Subresource::Resize => &["get", "patch", "update"],
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
        let groups = Groups::new(&Kinds::default());
        let core = groups.tree(Part::Core, "v2");
        assert_eq!(core["items"].as_array().map(Vec::len), Some(1));
        assert_eq!(core["items"][0]["versions"][0]["version"], "v1");
        let others = groups.tree(Part::Groups, "v2");
        assert_eq!(others["items"][0]["metadata"]["name"], "apps");
    }

    #[test]
    fn legacy_discovery_lists_parts_beside_their_kinds() {
        let groups = Groups::new(&Kinds::default());
        let list = groups.resources("apps", "v1").expect("served");
        let names: Vec<&str> =
            list["resources"].as_array().expect("resources").iter().filter_map(|one| one["name"].as_str()).collect();
        assert!(names.contains(&"deployments") && names.contains(&"deployments/scale"), "{names:?}");
        let pods = groups.resources("", "v1").expect("served");
        let eviction =
            pods["resources"].as_array().expect("resources").iter().find(|one| one["name"] == "pods/eviction");
        assert_eq!(eviction.expect("drain needs it")["group"], "policy");
        assert_eq!(groups.resources("apps", "v9"), None);
        assert_eq!(groups.one("apps").expect("served")["preferredVersion"]["groupVersion"], "apps/v1");
        assert_eq!(groups.one(""), None);
    }
}
