//! A request, as rules and policies see it.

use serde_json::{Value as Json, json};

use crate::cel::Type;
use crate::kind::{Names, Scope};

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are Kubernetes' own and say it")]
pub enum Action {
    Create,
    Update,
    Delete,
    Connect,
}

/// A request and what it is about.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// What is being done.
    pub action: Action,
    /// What the kind is called.
    pub names: &'a Names,
    /// Such as `status`; empty for the object itself.
    pub subresource: &'a str,
    /// The namespace of the request's path; empty for cluster-scoped kinds.
    pub namespace: &'a str,
    /// The object's name, if it has one.
    pub name: &'a str,
    /// As it is to be; null if it is to go.
    pub object: &'a Json,
    /// As it is; null if it is new.
    pub old: &'a Json,
    /// The namespace itself; null outside namespaces.
    pub namespace_object: &'a Json,
    /// Who asks: a `UserInfo`.
    pub user: &'a Json,
    /// The options of the request.
    pub options: &'a Json,
    /// Whether nothing is to come of it.
    pub is_dry_run: bool,
}

// === impl Action ===

impl Action {
    /// As rules spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

// === impl Asked ===

impl Asked<'_> {
    /// The request as reviews and expressions know it, without the objects.
    pub fn request(&self) -> Json {
        let (kind_group, kind_version, kind_name) = self.spoken();
        let kind = json!({"group": kind_group, "version": kind_version, "kind": kind_name});
        let resource = json!({"group": self.names.group, "version": self.names.version, "resource": self.names.plural});
        let mut request = json!({
            "kind": kind, "resource": resource, "requestKind": kind, "requestResource": resource,
            "operation": self.action.name(), "userInfo": self.user, "dryRun": self.is_dry_run, "options": self.options,
        });
        if !self.name.is_empty() {
            request["name"] = self.name.into();
        }
        // Of a namespace the namespace is its name, as Kubernetes has it.
        let namespace = if self.is_namespace() { self.name } else { self.namespace };
        if !namespace.is_empty() {
            request["namespace"] = namespace.into();
        }
        if !self.subresource.is_empty() {
            request["subResource"] = self.subresource.into();
            request["requestSubResource"] = self.subresource.into();
        }
        request
    }

    /// Group, version and kind of what the request carries; some subresources carry something else than their object.
    fn spoken(&self) -> (&str, &str, &str) {
        let kind = |value: &Json| value.get("kind").and_then(Json::as_str).map(str::to_owned);
        match (self.subresource, kind(self.object).as_deref()) {
            ("scale", _) => ("autoscaling", "v1", "Scale"),
            ("eviction", _) => ("policy", "v1", "Eviction"),
            ("binding", _) => ("", "v1", "Binding"),
            ("proxy", _) if self.names.plural == "pods" => ("", "v1", "PodProxyOptions"),
            ("proxy", _) if self.names.plural == "services" => ("", "v1", "ServiceProxyOptions"),
            ("proxy", _) => ("", "v1", "NodeProxyOptions"),
            ("portforward", _) => ("", "v1", "PodPortForwardOptions"),
            ("exec", _) => ("", "v1", "PodExecOptions"),
            ("attach", _) => ("", "v1", "PodAttachOptions"),
            _ => (self.names.group, self.names.version, self.names.kind),
        }
    }

    pub(super) fn is_namespace(&self) -> bool {
        self.names.group.is_empty() && self.names.plural == "namespaces"
    }

    pub(super) fn is_namespaced(&self) -> bool {
        self.names.scope == Scope::Namespaced
    }
}

/// What expressions know of `request`.
pub(super) fn request_type() -> Type {
    let fields = |name: &str, fields: &[&str]| {
        Type::object(name, fields.iter().map(|field| ((*field).to_owned(), Type::String)))
    };
    let kind = fields("kubernetes.GroupVersionKind", &["group", "version", "kind"]);
    let resource = fields("kubernetes.GroupVersionResource", &["group", "version", "resource"]);
    let user = Type::object(
        "kubernetes.UserInfo",
        [
            ("username".into(), Type::String),
            ("uid".into(), Type::String),
            ("groups".into(), Type::list(Type::String)),
            ("extra".into(), Type::map(Type::list(Type::String))),
        ],
    );
    let texts = ["name", "namespace", "operation", "subResource", "requestSubResource"];
    Type::object(
        "kubernetes.AdmissionRequest",
        [
            ("kind".into(), kind.clone()),
            ("requestKind".into(), kind),
            ("resource".into(), resource.clone()),
            ("requestResource".into(), resource),
            ("userInfo".into(), user),
            ("dryRun".into(), Type::Bool),
            ("options".into(), Type::Dyn),
        ]
        .into_iter()
        .chain(texts.into_iter().map(|name| (name.to_owned(), Type::String))),
    )
    .unescaped("__namespace__", "namespace")
}

/// What expressions know of `namespaceObject`.
pub(super) fn namespace_type() -> Type {
    let metadata = Type::object(
        "kubernetes.NamespaceMetadata",
        [
            ("name".into(), Type::String),
            ("generateName".into(), Type::String),
            ("namespace".into(), Type::String),
            ("labels".into(), Type::map(Type::String)),
            ("annotations".into(), Type::map(Type::String)),
            ("UID".into(), Type::String),
            ("creationTimestamp".into(), Type::Timestamp),
            ("deletionGracePeriodSeconds".into(), Type::Int),
            ("deletionTimestamp".into(), Type::Timestamp),
            ("generation".into(), Type::Int),
            ("resourceVersion".into(), Type::String),
            ("finalizers".into(), Type::list(Type::String)),
        ],
    )
    .unescaped("__namespace__", "namespace");
    let spec = Type::object("kubernetes.NamespaceSpec", [("finalizers".into(), Type::list(Type::String))]);
    let status = Type::object("kubernetes.NamespaceStatus", [("phase".into(), Type::String)]);
    Type::object(
        "kubernetes.Namespace",
        [("metadata".into(), metadata), ("spec".into(), spec), ("status".into(), status)],
    )
}
