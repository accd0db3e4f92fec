//! Who may pull and push: a matter of the resource `images.coracle.dev`, which is in no namespace and has the repositories' names.
//!
//! To pull takes the right to `get` the image of a repository, to push the right to `create` it, and to see which repositories
//! there are the right to `list` them. Content is shared: what one repository may be asked for by its digest, every other may.

use http::Method;

use super::RegistryError;
use super::route::{self, Route};
use crate::Door;
use crate::authorization::question::{Question, Resource};
use crate::identity::Identity;

/// Refuses what nobody allows.
pub(crate) fn demand(door: &Door, who: &Identity, method: &Method, path: &str) -> Result<(), RegistryError> {
    if who.is_anonymous() {
        return Err(RegistryError::Unauthorized);
    }
    match question(method, &route::parse(path)?) {
        Some(question) if !door.decide(who, &question).is_yes() => Err(RegistryError::Denied),
        _ => Ok(()),
    }
}

/// What is asked; nothing by those who only want to know whether this is a registry, and whether they are known.
fn question(method: &Method, route: &Route) -> Option<Question> {
    let images = Resource::new("coracle.dev", "images");
    let name = match route {
        Route::Root => return None,
        Route::Catalog => return Some(Question::of_resource("list", images)),
        Route::Uploads(name) | Route::Upload(name, _) => {
            return Some(Question::of_resource("create", images.named(name.as_str())));
        }
        Route::Tags(name) | Route::Blob(name, _) | Route::Manifest(name, _) => name,
    };
    let verb = if matches!(*method, Method::GET | Method::HEAD) { "get" } else { "create" };
    Some(Question::of_resource(verb, images.named(name.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authorization::question::About;

    fn check(method: Method, path: &str, expect: &str) {
        let route = route::parse(path).expect("an endpoint");
        let told = question(&method, &route).map(|question| match question.about {
            About::Resource(image) => format!("{} {}", question.verb, image.name),
            About::Path(path) => path,
        });
        assert_eq!(told.unwrap_or_default(), expect, "{method} {path}");
    }

    #[test]
    fn pulling_gets_and_pushing_creates() {
        check(Method::GET, "/v2/", "");
        check(Method::GET, "/v2/_catalog", "list ");
        check(Method::GET, "/v2/team/app/manifests/v1", "get team/app");
        check(
            Method::HEAD,
            "/v2/app/blobs/sha256:0000000000000000000000000000000000000000000000000000000000000000",
            "get app",
        );
        check(Method::GET, "/v2/app/tags/list", "get app");
        check(Method::POST, "/v2/app/blobs/uploads/", "create app");
        check(Method::PATCH, "/v2/app/blobs/uploads/0123456789abcdef0123456789abcdef", "create app");
        check(Method::GET, "/v2/app/blobs/uploads/0123456789abcdef0123456789abcdef", "create app");
        check(Method::PUT, "/v2/team/manifests/app/manifests/v1", "create team/manifests/app");
    }
}
