//! What a request is about, in the words of an audit: a pure reading of its method and its path, whatever is served there.

use http::{Method, Uri};
use serde_json::{Value, json};

/// What a request is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Subject {
    /// `get`, `list`, `create` …; for a path that is no resource the method in lower case.
    pub(super) verb: String,
    /// The path as it was asked for.
    pub(super) path: String,
    /// None for a path that is no resource.
    pub(super) resource: Option<Resource>,
}

/// A resource as a path names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Resource {
    pub(super) group: String,
    version: String,
    pub(super) namespace: String,
    pub(super) plural: String,
    pub(super) subresource: String,
    pub(super) name: String,
}

// === impl Subject ===

impl Subject {
    pub(super) fn of(method: &Method, uri: &Uri) -> Self {
        let path = uri.path().to_owned();
        let resource = Resource::of(&path);
        let verb = match &resource {
            None => method.as_str().to_lowercase(),
            Some(resource) => verb(method, resource, uri.query().unwrap_or_default()).to_owned(),
        };
        Self { verb, path, resource }
    }

    /// Whether bodies of the request could hold what nobody is to read.
    pub(super) fn is_secret(&self) -> bool {
        let Some(resource) = &self.resource else { return true };
        match (resource.group.as_str(), resource.plural.as_str(), resource.subresource.as_str()) {
            ("", "secrets" | "configmaps", _) | ("", "serviceaccounts", "token") | ("authentication.k8s.io", ..) => {
                true
            }
            ("coracle.dev", "bucketentries", _) => true,
            // What is behind a proxy or in a terminal is not an object of the API.
            (_, _, "proxy" | "exec" | "attach" | "portforward" | "log") => true,
            _ => false,
        }
    }

    /// Whether the answer goes on after it has begun.
    pub(super) fn is_long(&self) -> bool {
        let streams = ["proxy", "exec", "attach", "portforward", "log"];
        let stream = self.resource.as_ref().is_some_and(|resource| streams.contains(&resource.subresource.as_str()));
        self.verb == "watch" || stream
    }
}

/// As Kubernetes reads it: the method, and whether one object is meant or many.
fn verb(method: &Method, resource: &Resource, query: &str) -> &'static str {
    let watches = || {
        form_urlencoded::parse(query.as_bytes()).any(|(key, value)| key == "watch" && (value == "true" || value == "1"))
    };
    match (method, resource.name.as_str()) {
        (&Method::GET | &Method::HEAD, _) if watches() => "watch",
        (&Method::GET | &Method::HEAD, "") => "list",
        (&Method::GET | &Method::HEAD, _) => "get",
        (&Method::POST, _) => "create",
        (&Method::PUT, _) => "update",
        (&Method::PATCH, _) => "patch",
        (&Method::DELETE, "") => "deletecollection",
        (&Method::DELETE, _) => "delete",
        _ => "unknown",
    }
}

// === impl Resource ===

impl Resource {
    fn of(path: &str) -> Option<Self> {
        let words: Vec<String> = path
            .split('/')
            .filter(|word| !word.is_empty())
            .map(|word| percent_encoding::percent_decode_str(word).decode_utf8_lossy().into_owned())
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (group, version, rest) = match words.as_slice() {
            ["api", version, rest @ ..] if !rest.is_empty() => ("", *version, rest),
            ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            // A namespace is in itself, and so are its own parts.
            ["namespaces", namespace] | ["namespaces", namespace, "status" | "finalize"] => (*namespace, rest),
            ["namespaces", namespace, rest @ ..] => (*namespace, rest),
            rest => ("", rest),
        };
        let word = |at: usize| rest.get(at).copied().unwrap_or_default().to_owned();
        Some(Self {
            group: group.into(),
            version: version.into(),
            namespace: namespace.into(),
            plural: word(0),
            name: word(1),
            subresource: word(2),
        })
    }

    /// The resource with its part, such as `pods/log`.
    pub(super) fn whole(&self) -> String {
        match self.subresource.as_str() {
            "" => self.plural.clone(),
            part => format!("{}/{part}", self.plural),
        }
    }

    /// As an event tells it; a new object has the name that it got.
    pub(super) fn told(&self, made: Option<&str>) -> Value {
        let mut told = json!({"resource": self.plural, "apiVersion": self.version});
        let name = if self.name.is_empty() { made.unwrap_or_default() } else { &self.name };
        for (key, value) in [
            ("namespace", self.namespace.as_str()),
            ("name", name),
            ("apiGroup", &self.group),
            ("subresource", &self.subresource),
        ] {
            if !value.is_empty() {
                told[key] = value.into();
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, uri: &'static str, expect: &str) {
        let subject = Subject::of(&method, &Uri::from_static(uri));
        let resource = subject.resource.as_ref();
        let told = resource.map(|one| format!(" {} {} in {:?} {:?}", one.whole(), one.group, one.namespace, one.name));
        let secret = if subject.is_secret() { " secret" } else { "" };
        assert_eq!(format!("{}{}{secret}", subject.verb, told.unwrap_or_default()), expect, "{uri}");
    }

    #[test]
    fn a_request_is_about_a_resource_or_a_path() {
        check(Method::GET, "/api/v1/pods", r#"list pods  in "" """#);
        check(Method::GET, "/api/v1/pods?watch=1", r#"watch pods  in "" """#);
        check(Method::GET, "/api/v1/namespaces/shop/pods/web/log", r#"get pods/log  in "shop" "web" secret"#);
        check(Method::POST, "/apis/apps/v1/namespaces/shop/deployments", r#"create deployments apps in "shop" """#);
        check(Method::PUT, "/api/v1/namespaces/shop/finalize", r#"update namespaces/finalize  in "shop" "shop""#);
        check(Method::DELETE, "/api/v1/namespaces/shop/pods", r#"deletecollection pods  in "shop" """#);
        check(Method::GET, "/apis/apps/v1", "get secret");
        check(Method::POST, "/coracle/v1/join", "post secret");
    }

    #[test]
    fn some_bodies_are_for_nobody() {
        check(Method::PATCH, "/api/v1/namespaces/shop/secrets/s", r#"patch secrets  in "shop" "s" secret"#);
        check(Method::PUT, "/api/v1/namespaces/shop/configmaps/c", r#"update configmaps  in "shop" "c" secret"#);
        check(
            Method::POST,
            "/api/v1/namespaces/shop/serviceaccounts/web/token",
            r#"create serviceaccounts/token  in "shop" "web" secret"#,
        );
        check(
            Method::POST,
            "/apis/authentication.k8s.io/v1/tokenreviews",
            r#"create tokenreviews authentication.k8s.io in "" "" secret"#,
        );
    }
}
