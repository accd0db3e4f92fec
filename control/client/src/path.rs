//! Where an object is found: URLs as the Kubernetes API has them.

use api::{Key, Names, Scope};

/// The path of the collection of a kind, in one namespace or in all.
pub(crate) fn collection(names: &Names, namespace: Option<&str>) -> String {
    let root = match names.group {
        "" => format!("/api/{}", names.version),
        group => format!("/apis/{group}/{}", names.version),
    };
    match namespace.filter(|namespace| !namespace.is_empty() && names.scope == Scope::Namespaced) {
        Some(namespace) => format!("{root}/namespaces/{namespace}/{}", names.plural),
        None => format!("{root}/{}", names.plural),
    }
}

/// The path of a collection with a query.
pub fn collection_path(names: &Names, namespace: Option<&str>, parameters: &[(&str, &str)]) -> String {
    let parameters: Vec<(&str, Option<&str>)> = parameters.iter().map(|(name, value)| (*name, Some(*value))).collect();
    format!("{}{}", collection(names, namespace), query(&parameters))
}

/// The path of one object of a kind.
pub fn object_path(key: &Key, names: &Names) -> String {
    format!("{}/{}", collection(names, Some(key.namespace())), key.name())
}

/// The path of one object, or of a part of it.
pub(crate) fn object(key: &Key, names: &Names, subresource: Option<&str>) -> String {
    let path = object_path(key, names);
    match subresource {
        Some(subresource) => format!("{path}/{subresource}"),
        None => path,
    }
}

/// A query out of those parameters that have a value.
pub(crate) fn query(parameters: &[(&str, Option<&str>)]) -> String {
    let given = parameters.iter().filter_map(|(name, value)| Some(format!("{name}={}", escaped((*value)?))));
    let given: Vec<String> = given.collect();
    if given.is_empty() { String::new() } else { format!("?{}", given.join("&")) }
}

/// A value as it stands in a query (RFC 3986, unreserved characters as they are).
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.extend(['%', hex(byte >> 4), hex(byte & 15)]),
        }
    }
    out
}

fn hex(digit: u8) -> char {
    char::from(b"0123456789ABCDEF"[usize::from(digit)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::kinds;

    #[test]
    fn paths_follow_group_scope_and_namespace() {
        let path =
            |key: &Key, part| object(key, api::catalog::by_kind(key.kind()).expect("a known kind").names(), part);
        assert_eq!(path(&kinds::POD.key("n", "a"), Some("status")), "/api/v1/namespaces/n/pods/a/status");
        assert_eq!(path(&kinds::NODE.cluster_key("a"), None), "/api/v1/nodes/a");
        assert_eq!(path(&kinds::DEPLOYMENT.key("n", "a"), None), "/apis/apps/v1/namespaces/n/deployments/a");
    }

    #[test]
    fn queries_are_escaped() {
        assert_eq!(query(&[("labelSelector", Some("a=b,c")), ("limit", None)]), "?labelSelector=a%3Db%2Cc");
        assert_eq!(query(&[]), "");
    }
}
