//! The logs of a pod: asked of the node that runs it, streamed through.

use api::{Object, StatusError};
use form_urlencoded::Serializer;
use http::StatusCode;

use crate::answer::{self, Answer};
use crate::body;
use crate::containers::Containers;
use crate::link::Links;
use crate::query::Query;

/// What the node is told of the client's query.
const PARAMETERS: [&str; 7] =
    ["follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes"];
/// Where the logs of a container are to be had.
#[derive(Debug, PartialEq, Eq)]
struct Location {
    node: String,
    path: String,
}

/// The logs that a query asks for.
pub(crate) async fn proxy(links: &Links, pod: &Object, query: &Query) -> Result<Answer, StatusError> {
    let Some(location) = locate(pod, query)? else {
        // Not bound yet: nobody has written anything.
        return Ok(answer::text(StatusCode::OK, ""));
    };
    let request = http::Request::get(&location.path).body(axum::body::Body::empty()).map_err(StatusError::internal)?;
    let mut found = links.ask(&location.node, request).await?;
    match found.status() {
        StatusCode::OK => {
            let plain = http::HeaderValue::from_static("text/plain");
            found.headers_mut().insert(http::header::CONTENT_TYPE, plain);
            Ok(found)
        }
        status => {
            let said = body::read(found.into_body()).await?;
            let said = String::from_utf8_lossy(&said).trim().to_owned();
            Err(if status.is_client_error() { StatusError::bad_request(said) } else { StatusError::internal(said) })
        }
    }
}

fn locate(pod: &Object, query: &Query) -> Result<Option<Location>, StatusError> {
    let containers = Containers::of(pod)?;
    let container = containers.pick(query.get("container"))?;
    let Some(node) = containers.node() else { return Ok(None) };
    let mut told = Serializer::new(String::new());
    for (name, value) in PARAMETERS.iter().filter_map(|name| Some((*name, query.get(name)?))) {
        told.append_pair(name, value);
    }
    let mut path = format!("/containerLogs/{}/{}/{container}", pod.key().namespace(), pod.key().name());
    let told = told.finish();
    if !told.is_empty() {
        path.push('?');
        path.push_str(&told);
    }
    Ok(Some(Location { node: node.into(), path }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::kinds;
    use serde_json::json;

    fn check(containers: &[&str], node: &str, query: &str, expect: Result<Option<&str>, &str>) {
        let containers: Vec<_> = containers.iter().map(|name| json!({"name": name})).collect();
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"nodeName": node, "containers": containers},
        });
        let pod = Object::from_value(kinds::POD, &pod).expect("an object");
        let found = locate(&pod, &Query::parse(Some(query))).map(|found| found.map(|location| location.path));
        assert_eq!(found.map_err(|error| error.message), expect.map(|path| path.map(Into::into)).map_err(Into::into));
    }

    #[test]
    fn the_node_is_asked_what_the_client_asked() {
        check(&["a"], "n1", "", Ok(Some("/containerLogs/shop/web/a")));
        check(
            &["a", "b"],
            "n1",
            "container=b&follow=true&tailLines=2&x=y",
            Ok(Some("/containerLogs/shop/web/b?follow=true&tailLines=2")),
        );
        check(&["a"], "", "", Ok(None));
    }
}
