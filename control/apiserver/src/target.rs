//! Which resource a request path means.
//!
//! `/api/v1/…` is the core group, `/apis/<group>/<version>/…` every other; then `[namespaces/<ns>/]<plural>[/<name>[/<sub>]]`.
//! What is not in the catalog is not there: the answer is the same as for a path nobody ever heard of.

use api::{Kinds, Names, Reason, Scope, SharedKind, StatusError, Subresource};
use percent_encoding::percent_decode_str;

/// What a request speaks of.
#[derive(Clone)]
pub(crate) struct Target {
    /// The kind of the objects.
    pub(crate) kind: SharedKind,
    /// The namespace of the path; empty for cluster-scoped kinds and for all namespaces.
    pub(crate) namespace: String,
    /// What part of the collection.
    pub(crate) place: Place,
}

/// The collection, one object, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// All objects, in the namespace or everywhere.
    Collection,
    /// One object.
    Object(String),
    /// A part of one object.
    Part(String, Subresource),
}

/// The answer to a path that means nothing.
pub(crate) fn nothing_here() -> StatusError {
    StatusError {
        reason: Reason::NotFound,
        message: "the server could not find the requested resource".into(),
        details: Some(Box::default()),
    }
}

// === impl Target ===

impl Target {
    /// Reads a path that begins with `/api/` or `/apis/`, in a cluster that was taught nothing.
    #[cfg(test)]
    pub(crate) fn parse(path: &str) -> Result<Self, StatusError> {
        Self::find(&Kinds::default(), path)
    }

    /// Reads a path that begins with `/api/` or `/apis/`.
    pub(crate) fn find(kinds: &Kinds, path: &str) -> Result<Self, StatusError> {
        let segments = segments(proxied(path).map_or(path, |(door, _)| door))?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        match segments.as_slice() {
            ["api", version, rest @ ..] => Self::within(kinds, "", version, rest),
            ["apis", group, version, rest @ ..] => Self::within(kinds, group, version, rest),
            _ => Err(nothing_here()),
        }
    }

    fn within(kinds: &Kinds, group: &str, version: &str, rest: &[&str]) -> Result<Self, StatusError> {
        match rest {
            ["namespaces", namespace, plural, place @ ..]
                if !(group.is_empty() && subresource(plural).is_some_and(of_namespaces)) =>
            {
                Self::of(kinds, group, version, Some(namespace), plural, place)
            }
            [plural, place @ ..] => Self::of(kinds, group, version, None, plural, place),
            [] => Err(nothing_here()),
        }
    }

    fn of(
        kinds: &Kinds,
        group: &str,
        version: &str,
        namespace: Option<&str>,
        plural: &str,
        place: &[&str],
    ) -> Result<Self, StatusError> {
        let measured = || Some(api::SharedKind::Known(api::measured::by_resource(group, version, plural)?));
        let kind = kinds.by_resource(group, version, plural).cloned().or_else(measured).ok_or_else(nothing_here)?;
        let place = match place {
            [] => Place::Collection,
            [name] => Place::Object((*name).into()),
            [name, part] => {
                let part = subresource(part).filter(|part| kind.subresources().contains(part));
                Place::Part((*name).into(), part.ok_or_else(nothing_here)?)
            }
            _ => return Err(nothing_here()),
        };
        let fits = match (kind.names().scope, namespace) {
            (Scope::Cluster, namespace) => namespace.is_none(),
            (Scope::Namespaced, None) => place == Place::Collection,
            (Scope::Namespaced, Some(_)) => true,
        };
        if !fits {
            return Err(nothing_here());
        }
        Ok(Self { kind, namespace: namespace.unwrap_or_default().into(), place })
    }

    /// What the kind is called.
    pub(crate) fn names(&self) -> &'static Names {
        self.kind.names()
    }

    /// The object's name; empty for a collection.
    pub(crate) fn name(&self) -> &str {
        match &self.place {
            Place::Collection => "",
            Place::Object(name) | Place::Part(name, _) => name,
        }
    }

    /// The resource and its part: `pods`, `pods/log`.
    pub(crate) fn resource(&self) -> String {
        match &self.place {
            Place::Part(_, part) => format!("{}/{}", self.names().plural, subresource_name(*part)),
            _ => self.names().plural.into(),
        }
    }
}

/// The path of a proxy and what is asked behind it, as it stands: `…/pods/web/proxy` and `/a//b/`.
pub(crate) fn proxied(path: &str) -> Option<(&str, &str)> {
    const ROOT: &str = "/api/v1/";
    const PROXY: &str = "/proxy";
    let rest = path.strip_prefix(ROOT)?;
    let words = if rest.starts_with("nodes/") { 2 } else { 4 };
    let (at, _) = rest.match_indices('/').nth(words - 1)?;
    let behind = rest[at..].strip_prefix(PROXY)?;
    let door = &path[..ROOT.len() + at + PROXY.len()];
    (behind.is_empty() || behind.starts_with('/')).then_some((door, behind))
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} in {:?}: {:?}", self.names().resource(), self.namespace, self.place)
    }
}

/// The words between the slashes of a path, decoded; none of them is empty, a step up, or two.
pub(crate) fn segments(path: &str) -> Result<Vec<String>, StatusError> {
    let trimmed = path.trim_matches('/');
    let decoded = trimmed.split('/').map(|segment| percent_decode_str(segment).decode_utf8());
    let decoded: Result<Vec<_>, _> = decoded.collect();
    let decoded = decoded.map_err(|_| StatusError::bad_request("the path is not UTF-8"))?;
    if decoded.iter().any(|segment| matches!(&**segment, "" | "." | "..") || segment.contains('/')) {
        return Err(nothing_here());
    }
    Ok(decoded.into_iter().map(Into::into).collect())
}

/// A path as it is meant, whether or not it is one of ours.
pub(crate) fn decoded(path: &str) -> String {
    percent_decode_str(path).decode_utf8_lossy().into_owned()
}

fn of_namespaces(part: Subresource) -> bool {
    matches!(part, Subresource::Status | Subresource::Finalize)
}

fn subresource(name: &str) -> Option<Subresource> {
    Some(match name {
        "status" => Subresource::Status,
        "scale" => Subresource::Scale,
        "log" => Subresource::Log,
        "binding" => Subresource::Binding,
        "eviction" => Subresource::Eviction,
        "finalize" => Subresource::Finalize,
        "portforward" => Subresource::PortForward,
        "proxy" => Subresource::Proxy,
        "token" => Subresource::Token,
        "exec" => Subresource::Exec,
        "attach" => Subresource::Attach,
        "approval" => Subresource::Approval,
        "ephemeralcontainers" => Subresource::EphemeralContainers,
        "resize" => Subresource::Resize,
        _ => return None,
    })
}

/// The last segment of a part's path.
pub(crate) fn subresource_name(part: Subresource) -> &'static str {
    match part {
        Subresource::Status => "status",
        Subresource::Scale => "scale",
        Subresource::Log => "log",
        Subresource::Binding => "binding",
        Subresource::Eviction => "eviction",
        Subresource::Finalize => "finalize",
        Subresource::PortForward => "portforward",
        Subresource::Proxy => "proxy",
        Subresource::Token => "token",
        Subresource::Exec => "exec",
        Subresource::Attach => "attach",
        Subresource::Approval => "approval",
        Subresource::EphemeralContainers => "ephemeralcontainers",
        Subresource::Resize => "resize",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expect: &str) {
        let found = match Target::parse(path) {
            Ok(target) => format!("{} {:?} {:?}", target.names().resource(), target.namespace, target.place),
            Err(error) => error.message,
        };
        assert_eq!(found, expect, "{path}");
    }

    const NOTHING: &str = "the server could not find the requested resource";

    #[test]
    fn a_path_names_a_collection_an_object_or_a_part() {
        check("/api/v1/pods", r#"pods "" Collection"#);
        check("/api/v1/namespaces/shop/pods/", r#"pods "shop" Collection"#);
        check("/api/v1/namespaces/shop/pods/web-0", r#"pods "shop" Object("web-0")"#);
        check("/api/v1/namespaces/shop/pods/web-0/log", r#"pods "shop" Part("web-0", Log)"#);
        check("/apis/apps/v1/namespaces/shop/deployments/web/scale", r#"deployments.apps "shop" Part("web", Scale)"#);
        check("/api/v1/nodes/n1", r#"nodes "" Object("n1")"#);
        check("/api/v1/namespaces/shop/configmaps/a%3Ab", r#"configmaps "shop" Object("a:b")"#);
    }

    #[test]
    fn what_is_behind_a_proxy_is_not_ours_to_read() {
        check("/api/v1/namespaces/shop/pods/web:80/proxy/a//b/%2F/", r#"pods "shop" Part("web:80", Proxy)"#);
        check("/api/v1/nodes/n1/proxy/metrics", r#"nodes "" Part("n1", Proxy)"#);
        check("/api/v1/namespaces/shop/services/http:web:80/proxy", r#"services "shop" Part("http:web:80", Proxy)"#);
        check("/api/v1/namespaces/shop/configmaps/web/proxy", NOTHING);
        assert_eq!(
            proxied("/api/v1/namespaces/shop/pods/web/proxy/a//b/"),
            Some(("/api/v1/namespaces/shop/pods/web/proxy", "/a//b/"))
        );
        assert_eq!(proxied("/api/v1/nodes/n1/proxy"), Some(("/api/v1/nodes/n1/proxy", "")));
        assert_eq!(proxied("/api/v1/nodes/n1/proxyx"), None);
        assert_eq!(proxied("/api/v1/namespaces/proxy/pods/a"), None);
    }

    #[test]
    fn namespaces_are_resources_too() {
        check("/api/v1/namespaces", r#"namespaces "" Collection"#);
        check("/api/v1/namespaces/shop", r#"namespaces "" Object("shop")"#);
        check("/api/v1/namespaces/shop/finalize", r#"namespaces "" Part("shop", Finalize)"#);
        check("/api/v1/namespaces/shop/status", r#"namespaces "" Part("shop", Status)"#);
    }

    #[test]
    fn what_is_not_in_the_catalog_is_not_there() {
        check("/api/v1/unicorns", NOTHING);
        check("/api/v2/pods", NOTHING);
        check("/apis/apps/v1/namespaces/shop/pods", NOTHING);
        check("/api/v1/pods/web-0", NOTHING);
        check("/api/v1/namespaces/shop/nodes", NOTHING);
        check("/api/v1/namespaces/shop/configmaps/c/status", NOTHING);
        check("/api/v1/namespaces/shop/pods/a%2Fb", NOTHING);
    }
}
