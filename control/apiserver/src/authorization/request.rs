//! What a request asks for, before anything is known of what is served.
//!
//! It is read off the method and the path alone, as Kubernetes reads them: whoever may not ask for a resource does not learn
//! whether there is one. What the handlers make of the same path cannot mean more, because both read it segment by segment alike.

use http::{Method, Uri};

use super::question::{About, Question, Resource};
use crate::query::Query;
use crate::target;

/// Parts of a namespace; whatever else follows its name is a resource in it.
const PARTS_OF_NAMESPACES: [&str; 2] = ["status", "finalize"];
/// Parts of a pod that are connections into it. Opening one is doing something, whatever the method: it takes the right to create, too.
const CONNECTIONS: [&str; 3] = ["attach", "exec", "portforward"];

/// What has to be allowed for a request to be answered: all of it.
pub(crate) fn questions(method: &Method, uri: &Uri) -> Vec<Question> {
    let asked = question(method, uri);
    let creates = match &asked.about {
        About::Resource(resource) if resource.is("", "pods") && asked.verb == "get" => CONNECTIONS
            .contains(&resource.subresource.as_str())
            .then(|| Question { verb: "create".into(), ..asked.clone() }),
        _ => None,
    };
    std::iter::once(asked).chain(creates).collect()
}

fn question(method: &Method, uri: &Uri) -> Question {
    let Some(mut resource) = resource(uri.path()) else {
        return Question::of_path(&method.as_str().to_ascii_lowercase(), &target::decoded(uri.path()));
    };
    let verb = match (method, resource.name.as_str()) {
        (&Method::GET | &Method::HEAD, "") => {
            let options = Query::parse(uri.query()).list_options().unwrap_or_default();
            resource.name = api::selector::exact_name(&options.fields).unwrap_or_default();
            resource.labels = options.labels;
            if options.watch { "watch" } else { "list" }
        }
        (&Method::DELETE, "") => "deletecollection",
        (&Method::GET | &Method::HEAD, _) => "get",
        (&Method::POST, _) => "create",
        (&Method::PUT, _) => "update",
        (&Method::PATCH, _) => "patch",
        (&Method::DELETE, _) => "delete",
        _ => "",
    };
    Question::of_resource(verb, resource)
}

/// The resource of a path; none if it is the path of none.
fn resource(path: &str) -> Option<Resource> {
    let path = target::proxied(path).map_or(path, |(door, _)| door);
    let segments = target::segments(path).ok()?;
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (group, rest) = match segments.as_slice() {
        ["api", _, rest @ ..] => ("", rest),
        ["apis", group, _, rest @ ..] => (*group, rest),
        _ => return None,
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..]
            if rest.first().is_some_and(|part| !PARTS_OF_NAMESPACES.contains(part)) =>
        {
            (*namespace, rest)
        }
        // A namespace is in itself: whoever is given something in it may be given the right to see it.
        ["namespaces", namespace, ..] => (*namespace, rest),
        rest => ("", rest),
    };
    let plural = rest.first()?;
    let at = |index: usize| rest.get(index).copied().unwrap_or_default();
    Some(Resource::new(group, plural).within(namespace).named(at(1)).part(at(2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, uri: &'static str, expect: &[&str]) {
        let told: Vec<String> = questions(&method, &Uri::from_static(uri))
            .into_iter()
            .map(|question| match question.about {
                About::Path(path) => format!("{} {path}", question.verb),
                About::Resource(Resource { group, plural, subresource, namespace, name, .. }) => {
                    let part = if subresource.is_empty() { String::new() } else { format!("/{subresource}") };
                    format!("{} {group}:{plural}{part} {namespace}:{name}", question.verb)
                }
            })
            .collect();
        assert_eq!(told, expect, "{method} {uri}");
    }

    #[test]
    fn a_request_names_a_verb_and_a_resource() {
        check(Method::GET, "/api/v1/pods", &["list :pods :"]);
        check(Method::GET, "/api/v1/namespaces/shop/pods?watch=true", &["watch :pods shop:"]);
        check(Method::GET, "/api/v1/namespaces/shop/pods/web?watch=true", &["get :pods shop:web"]);
        check(Method::POST, "/apis/apps/v1/namespaces/shop/deployments", &["create apps:deployments shop:"]);
        check(
            Method::PUT,
            "/apis/apps/v1/namespaces/shop/deployments/web/scale",
            &["update apps:deployments/scale shop:web"],
        );
        check(
            Method::DELETE,
            "/apis/apps/v1/namespaces/shop/deployments",
            &["deletecollection apps:deployments shop:"],
        );
        check(Method::PATCH, "/api/v1/nodes/n1/status", &["patch :nodes/status :n1"]);
        check(Method::GET, "/apis/none.such/v9/unicorns", &["list none.such:unicorns :"]);
    }

    #[test]
    fn a_namespace_is_in_itself() {
        check(Method::GET, "/api/v1/namespaces", &["list :namespaces :"]);
        check(Method::GET, "/api/v1/namespaces/shop", &["get :namespaces shop:shop"]);
        check(Method::PUT, "/api/v1/namespaces/shop/finalize", &["update :namespaces/finalize shop:shop"]);
    }

    #[test]
    fn a_list_of_one_name_is_about_that_name() {
        let named = "/api/v1/namespaces/shop/secrets?watch=1&fieldSelector=metadata.name%3Dkey";
        check(Method::GET, named, &["watch :secrets shop:key"]);
        check(Method::GET, "/api/v1/secrets?fieldSelector=metadata.name!%3Dkey", &["list :secrets :"]);
        // The comma is part of a value: no name is asked for.
        check(Method::GET, "/api/v1/secrets?fieldSelector=type%3Da%5C%2Cmetadata.name%3Dkey", &["list :secrets :"]);
    }

    #[test]
    fn a_connection_is_made_however_it_is_asked_for() {
        let path = "/api/v1/namespaces/shop/pods/web/exec?command=sh";
        check(Method::GET, path, &["get :pods/exec shop:web", "create :pods/exec shop:web"]);
        check(Method::POST, path, &["create :pods/exec shop:web"]);
        check(Method::GET, "/api/v1/namespaces/shop/pods/web/proxy/a//b", &["get :pods/proxy shop:web"]);
    }

    #[test]
    fn everything_else_is_a_path() {
        check(Method::GET, "/api/v1", &["get /api/v1"]);
        check(Method::GET, "/apis/apps/v1", &["get /apis/apps/v1"]);
        check(Method::GET, "/metrics", &["get /metrics"]);
        check(Method::POST, "/api/v1/namespaces/shop/pods/a%2Fb", &["post /api/v1/namespaces/shop/pods/a/b"]);
    }
}
