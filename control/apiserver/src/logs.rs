//! The logs of a pod: asked of the node that runs it, streamed through.

use api::{Object, StatusError};
use form_urlencoded::Serializer;
use http::StatusCode;
use serde::Deserialize;

use crate::answer::{self, Answer};
use crate::body;
use crate::link::Links;
use crate::query::Query;

/// What the node is told of the client's query.
const PARAMETERS: [&str; 7] =
    ["follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes"];
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

#[derive(Default, Deserialize)]
#[serde(default)]
struct Pod {
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: String,
    containers: Vec<Container>,
    init_containers: Vec<Container>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Container {
    name: String,
}

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
    let Pod { spec } = serde_json::from_slice(pod.body()).map_err(StatusError::internal)?;
    let container = container(pod, &spec, query.get("container").filter(|name| !name.is_empty()))?;
    if spec.node_name.is_empty() {
        return Ok(None);
    }
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
    Ok(Some(Location { node: spec.node_name, path }))
}

fn container(pod: &Object, spec: &Spec, asked: Option<&str>) -> Result<String, StatusError> {
    let name = pod.key().name();
    let by_default = || pod.meta().annotations.get(DEFAULT_CONTAINER).map(String::as_str);
    let is_known = |name: &str| spec.containers.iter().chain(&spec.init_containers).any(|one| one.name == name);
    match (asked, spec.containers.as_slice()) {
        (Some(asked), _) if is_known(asked) => Ok(asked.into()),
        (Some(asked), _) => Err(StatusError::bad_request(format!("container {asked} is not valid for pod {name}"))),
        (None, [only]) => Ok(only.name.clone()),
        (None, several) => match by_default().filter(|name| is_known(name)) {
            Some(default) => Ok(default.into()),
            None => {
                let choice = names(several);
                let inits = match names(&spec.init_containers) {
                    none if none.is_empty() => String::new(),
                    inits => format!(" or one of the init containers: [{inits}]"),
                };
                let message =
                    format!("a container name must be specified for pod {name}, choose one of: [{choice}]{inits}");
                Err(StatusError::bad_request(message))
            }
        },
    }
}

fn names(containers: &[Container]) -> String {
    containers.iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join(" ")
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

    #[test]
    fn a_container_must_be_one_of_the_pods() {
        check(&["a", "b"], "n1", "", Err("a container name must be specified for pod web, choose one of: [a b]"));
        check(&["a"], "n1", "container=z", Err("container z is not valid for pod web"));
    }
}
