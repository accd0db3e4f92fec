//! Who asks, and what they may do.
//!
//! How a request shows who asks is a matter of `authentication`; of a certificate, the common name is the user and the
//! organisations are the groups. What they may do is a function of the identity and of what is asked; nothing here looks anything up.

use std::collections::BTreeMap;

use api::{GroupKind, Object, Reason, StatusError, Subresource, kinds};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::target::{Place, Target};

/// Those who may do everything.
pub const MASTERS: &str = "system:masters";
/// Those who are machines of the cluster.
pub const NODES: &str = "system:nodes";
/// What a machine's user name begins with.
pub const NODE_USER: &str = "system:node:";
/// The entry of `extra` that tells one credential of a user from another.
pub(crate) const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";
const ANONYMOUS: &str = "system:anonymous";
/// Everybody who is somebody.
pub(crate) const AUTHENTICATED: &str = "system:authenticated";
/// Those who may only ask to become a node.
pub(crate) const BOOTSTRAPPERS: &str = "system:bootstrappers";
/// What the user name of whoever shows a token to join with begins with.
pub(crate) const BOOTSTRAP_USER: &str = "system:bootstrap:";
const UNAUTHENTICATED: &str = "system:unauthenticated";

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The user's name.
    pub(crate) user: String,
    /// What tells this user from another who had the name before.
    pub(crate) uid: Option<String>,
    /// The groups the user is in.
    pub(crate) groups: Vec<String>,
    /// What else is known of how the user was recognised.
    pub(crate) extra: BTreeMap<String, Vec<String>>,
}

/// What is asked, in the words of authorisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

// === impl Identity ===

impl Identity {
    /// Somebody without a certificate.
    pub(crate) fn anonymous() -> Self {
        Self { user: ANONYMOUS.into(), groups: vec![UNAUTHENTICATED.into()], ..Self::default() }
    }

    /// Somebody who is known, in these groups and in that of all who are.
    pub(crate) fn known(user: impl Into<String>, groups: impl IntoIterator<Item = String>) -> Self {
        let groups = groups.into_iter().chain([AUTHENTICATED.into()]).collect();
        Self { user: user.into(), groups, ..Self::default() }
    }

    /// A machine that shows the secret to join with.
    pub(crate) fn joining() -> Self {
        Self::known(format!("{BOOTSTRAP_USER}coracle"), [BOOTSTRAPPERS.into()])
    }

    /// Whoever a verified client certificate was made for. Its digest tells this certificate from another of the same user.
    pub(crate) fn of_certificate(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let subject = certificate.subject();
        let text = |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| attribute.as_str().ok().map(String::from);
        let user = subject.iter_common_name().find_map(text)?;
        let identity = Self::known(user, subject.iter_organization().filter_map(text));
        let digest = format!("X509SHA256={}", hex::encode(Sha256::digest(der)));
        Some(Self { extra: [(CREDENTIAL_ID.into(), vec![digest])].into(), ..identity })
    }

    /// As reviews tell it: a `UserInfo`.
    pub(crate) fn told(&self) -> Value {
        let mut told = json!({"username": self.user, "groups": self.groups});
        if let Some(uid) = &self.uid {
            told["uid"] = uid.as_str().into();
        }
        if !self.extra.is_empty() {
            told["extra"] = json!(self.extra);
        }
        told
    }

    /// Whether nobody vouches for this one.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.is_in(UNAUTHENTICATED)
    }

    /// Whether the one is in a group.
    pub(crate) fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|known| known == group)
    }

    /// The node this one is, if it is one.
    pub(crate) fn node(&self) -> Option<&str> {
        self.user.strip_prefix(NODE_USER).filter(|name| !name.is_empty() && self.is_in(NODES))
    }

    /// Refuses those nobody vouches for.
    pub(crate) fn demand_known(&self) -> Result<(), StatusError> {
        if self.is_anonymous() { Err(unauthorized()) } else { Ok(()) }
    }

    /// Whether this one may do everything.
    pub(crate) fn is_master(&self) -> bool {
        self.is_in(MASTERS)
    }

    /// Whether this one may do `verb` to `target`, or why not.
    pub(crate) fn authorize(&self, verb: Verb, target: &Target) -> Result<(), StatusError> {
        self.demand_known()?;
        let allowed = self.is_master() || self.node().is_some_and(|node| node_may(node, verb, target));
        if allowed { Ok(()) } else { Err(self.refusal(verb, target)) }
    }

    /// Whether this one may write this very object: a node's pods are its own only once they are bound to it.
    pub(crate) fn authorize_object(&self, verb: Verb, target: &Target, old: &Object) -> Result<(), StatusError> {
        match self.node() {
            Some(node) if !self.is_master() && old.key().kind() == kinds::POD && !is_on(old, node) => {
                Err(self.refusal(verb, target))
            }
            _ => Ok(()),
        }
    }

    /// Whether this one may make this very object: a node speaks for itself only.
    pub(crate) fn authorize_new(&self, verb: Verb, target: &Target, new: &Object) -> Result<(), StatusError> {
        let own = [kinds::NODE, kinds::LEASE];
        match self.node() {
            Some(node) if !self.is_master() && own.contains(&new.key().kind()) && new.key().name() != node => {
                Err(self.refusal(verb, target))
            }
            _ => Ok(()),
        }
    }

    /// Whether this one may have others' credentials and rights looked at.
    pub(crate) fn authorize_review(&self, plural: &str) -> Result<(), StatusError> {
        if self.is_master() {
            return Ok(());
        }
        let why = format!(
            "{plural}.authentication.k8s.io is forbidden: User {:?} cannot create resource {plural:?} in API group \"authentication.k8s.io\" at the cluster scope",
            self.user
        );
        Err(StatusError::new(Reason::Forbidden, why))
    }

    fn refusal(&self, verb: Verb, target: &Target) -> StatusError {
        let names = target.names();
        let place = match target.namespace.as_str() {
            "" => "at the cluster scope".into(),
            namespace => format!("in the namespace {namespace:?}"),
        };
        let why = format!(
            "User {:?} cannot {} resource {:?} in API group {:?} {place}",
            self.user,
            verb.word(),
            target.resource(),
            names.group,
        );
        StatusError::forbidden(names, target.name(), &why)
    }
}

/// Nobody is known to have asked.
pub(crate) fn unauthorized() -> StatusError {
    StatusError::new(Reason::Unauthorized, "Unauthorized")
}

/// A node reads what its pods may need, and writes what it alone knows: itself, its lease, its pods' state, what happened.
fn node_may(node: &str, verb: Verb, target: &Target) -> bool {
    let kind: GroupKind = target.kind.group_kind();
    match verb {
        Verb::Get | Verb::List | Verb::Watch => true,
        Verb::DeleteCollection => false,
        Verb::Create if kind == kinds::NODE => matches!(target.place, Place::Collection),
        Verb::Create | Verb::Update | Verb::Patch if kind == kinds::EVENT => true,
        // For its own pods only, which is judged once it is known what is asked.
        Verb::Create if kind == kinds::SERVICE_ACCOUNT => matches!(target.place, Place::Part(_, Subresource::Token)),
        Verb::Create if kind == kinds::LEASE => target.namespace == "kube-node-lease",
        Verb::Update | Verb::Patch if kind == kinds::NODE => target.name() == node,
        Verb::Update | Verb::Patch if kind == kinds::LEASE => {
            target.namespace == "kube-node-lease" && target.name() == node
        }
        Verb::Update | Verb::Patch if kind == kinds::POD => matches!(target.place, Place::Part(_, Subresource::Status)),
        // Every node may be an edge, and says where.
        Verb::Update | Verb::Patch if kind == kinds::INGRESS => {
            matches!(target.place, Place::Part(_, Subresource::Status))
        }
        Verb::Delete if kind == kinds::POD => matches!(target.place, Place::Object(_)),
        _ => false,
    }
}

fn is_on(pod: &Object, node: &str) -> bool {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Pod {
        spec: Spec,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Spec {
        node_name: String,
    }
    serde_json::from_slice::<Pod>(pod.body()).is_ok_and(|pod| pod.spec.node_name == node)
}

// === impl Verb ===

impl Verb {
    /// The verb of this word.
    pub(crate) fn named(word: &str) -> Option<Self> {
        const ALL: [Verb; 8] = [
            Verb::Get,
            Verb::List,
            Verb::Watch,
            Verb::Create,
            Verb::Update,
            Verb::Patch,
            Verb::Delete,
            Verb::DeleteCollection,
        ];
        ALL.into_iter().find(|verb| verb.word() == word)
    }

    fn word(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(user: &str, groups: &[&str]) -> Identity {
        let groups = groups.iter().map(|group| (*group).into()).collect();
        Identity { user: user.into(), groups, ..Identity::default() }
    }

    fn check(identity: &Identity, verb: Verb, path: &str, expect: Result<(), &str>) {
        let target = Target::parse(path).expect("a resource path");
        let found = identity.authorize(verb, &target).map_err(|error| error.message);
        assert_eq!(found, expect.map_err(String::from), "{path}");
    }

    #[test]
    fn masters_may_do_everything_and_strangers_nothing() {
        check(&who("admin", &[MASTERS]), Verb::DeleteCollection, "/api/v1/namespaces/shop/pods", Ok(()));
        check(&Identity::anonymous(), Verb::List, "/api/v1/pods", Err("Unauthorized"));
        check(
            &who("eve", &[AUTHENTICATED]),
            Verb::List,
            "/api/v1/namespaces/default/pods",
            Err(
                r#"pods is forbidden: User "eve" cannot list resource "pods" in API group "" in the namespace "default""#,
            ),
        );
        check(
            &who("eve", &[AUTHENTICATED]),
            Verb::Get,
            "/api/v1/nodes/n1",
            Err(
                r#"nodes "n1" is forbidden: User "eve" cannot get resource "nodes" in API group "" at the cluster scope"#,
            ),
        );
    }

    #[test]
    fn a_node_writes_only_what_is_its_own() {
        let node = who("system:node:n1", &[NODES]);
        let may = |verb, path| node.authorize(verb, &Target::parse(path).expect("a resource path")).is_ok();
        assert!(may(Verb::Watch, "/api/v1/pods"));
        assert!(may(Verb::Create, "/api/v1/nodes"));
        assert!(may(Verb::Patch, "/api/v1/nodes/n1/status"));
        assert!(!may(Verb::Patch, "/api/v1/nodes/n2/status"));
        assert!(may(Verb::Update, "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1"));
        assert!(!may(Verb::Update, "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n2"));
        assert!(may(Verb::Patch, "/api/v1/namespaces/shop/pods/web/status"));
        assert!(!may(Verb::Patch, "/api/v1/namespaces/shop/pods/web"));
        assert!(!may(Verb::Create, "/api/v1/namespaces/shop/pods"));
        assert!(!may(Verb::Create, "/api/v1/namespaces/shop/secrets"));
    }
}
