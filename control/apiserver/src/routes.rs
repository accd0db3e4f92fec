//! Which handler answers which path.

use std::sync::Arc;

use api::StatusError;
use api::level::{self, Levels};
use axum::Router;
use axum::extract::{Extension, Path, Request, State};
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::{any, get, post};
use http::header::{ACCEPT, ETAG, IF_NONE_MATCH, VARY};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use serde_json::{Value, json};

use crate::answer::{self, Answer, Refusal};
use crate::discovery::Part;
use crate::identity::{Identity, unauthorized};
use crate::link::{Links, Record};
use crate::negotiate::{Form, Offer, form};
use crate::surface::Surface;
use crate::{
    Door, VERSION, audit, authentication, authority, authorization, backup, body, custom_metrics, discovery,
    encryption, envelope, fairness, impersonation, members, metrics, openapi, registry, rest, review, target, tokens,
};

type Shared = State<Arc<Door>>;
type Who = Extension<Identity>;

/// The whole surface of the server.
pub(crate) fn router(door: Arc<Door>) -> Router {
    Router::new()
        .route("/version", get(version))
        .route("/healthz", get(alive))
        .route("/livez", get(alive))
        .route("/readyz", get(ready))
        .route("/coracle/v1/join", post(join))
        .route("/coracle/v1/join/server", post(members::enter))
        .route("/coracle/v1/renew", post(renew))
        .route("/coracle/v1/members", get(members::list).post(members::change))
        .route("/api", get(core))
        .route("/apis", get(groups))
        .route("/apis/{group}", get(group))
        .route("/api/{version}", get(core_resources))
        .route("/apis/{group}/{version}", get(resources))
        .route("/metrics", get(metrics))
        .route("/openapi/v2", get(openapi::version_2))
        .route("/openapi/v3", get(openapi::root))
        .route("/openapi/v3/{*path}", get(openapi::document))
        .route("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", post(review::own_access))
        .route("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", post(review::own_rules))
        .route("/apis/authorization.k8s.io/v1/subjectaccessreviews", post(review::access))
        .route(
            "/apis/authorization.k8s.io/v1/namespaces/{namespace}/localsubjectaccessreviews",
            post(review::local_access),
        )
        .route("/apis/authentication.k8s.io/v1/selfsubjectreviews", post(review::myself))
        .route("/apis/authentication.k8s.io/v1/tokenreviews", post(tokens::review))
        .route("/.well-known/openid-configuration", get(tokens::configuration))
        .route("/openid/v1/jwks", get(tokens::keys))
        .route(custom_metrics::PATH, get(custom_metrics::of_pods))
        .route("/api/{version}/{*rest}", any(rest::handle))
        .route("/apis/{group}/{version}/{*rest}", any(rest::handle))
        .route("/coracle/v1/nodes/{name}/link", get(link))
        .route("/coracle/v1/authority", get(authority::status).post(authority::change))
        .route("/coracle/v1/encryption", get(encryption::status))
        .route("/coracle/v1/encryption/rotate", post(encryption::rotate))
        .route("/coracle/v1/snapshot", get(backup::take))
        .route("/coracle/v1/snapshot/key", get(backup::key))
        .route(&format!("{}{{digest}}", registry::CONTENT_PATH), get(content))
        .route("/v2", any(images))
        .route("/v2/", any(images))
        .route("/v2/{*path}", any(images))
        .fallback(nothing)
        .layer(from_fn_with_state(door.clone(), authorization::demand))
        .layer(from_fn_with_state(door.clone(), fairness::in_turn))
        .layer(from_fn_with_state(door.clone(), impersonation::impersonate))
        .layer(from_fn_with_state(door.clone(), audit::follow))
        .layer(from_fn_with_state(door.clone(), authentication::identify))
        .layer(from_fn_with_state(door.clone(), envelope::wrap))
        .with_state(door)
}

/// A path without the slash that some clients end it with; the registry's paths, and those behind a proxy, may mean it.
pub(crate) fn plain_path(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    let plain = path.trim_end_matches('/');
    if plain == path || plain.is_empty() || path.starts_with("/v2/") || target::proxied(path).is_some() {
        return None;
    }
    let text = match uri.query() {
        None => plain.to_owned(),
        Some(query) => format!("{plain}?{query}"),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(text.parse::<PathAndQuery>().ok()?);
    Uri::from_parts(parts).ok()
}

async fn nothing(uri: Uri) -> Answer {
    // Under the API's roots clients expect an object that says no.
    if uri.path().starts_with("/api/") || uri.path().starts_with("/apis/") {
        return Refusal(target::nothing_here()).into_response();
    }
    answer::text(StatusCode::NOT_FOUND, "404 page not found\n")
}

async fn version() -> Answer {
    let version = json!({
        "major": "1", "minor": "33", "gitVersion": VERSION, "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "none", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, architecture()),
    });
    answer::value(StatusCode::OK, &version)
}

/// The machine's name as Go has it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

async fn alive() -> Answer {
    answer::text(StatusCode::OK, "ok")
}

async fn ready(State(door): Shared) -> Answer {
    if door.is_ready().await {
        answer::text(StatusCode::OK, "ok")
    } else {
        answer::text(StatusCode::SERVICE_UNAVAILABLE, "not ready")
    }
}

async fn metrics(State(door): Shared) -> Result<Answer, Refusal> {
    let told = door.metrics.tell(&door.store.snapshot(), &door.surface().kinds).map_err(StatusError::internal)?;
    Ok(answer::typed(StatusCode::OK, metrics::MEDIA_TYPE, told))
}

async fn core(State(door): Shared, headers: HeaderMap) -> Result<Answer, Refusal> {
    discovered(&headers, &door.surface(), Part::Core, || discovery::core_versions(&door.address))
}

async fn groups(State(door): Shared, headers: HeaderMap) -> Result<Answer, Refusal> {
    let surface = door.surface();
    discovered(&headers, &surface, Part::Groups, || surface.groups.list())
}

/// A discovery root: aggregated where that is asked for, tagged so that clients need not read it twice.
fn discovered(
    headers: &HeaderMap,
    surface: &Surface,
    part: Part,
    legacy: impl FnOnce() -> Value,
) -> Result<Answer, Refusal> {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let Form::Discovery(version) = form(accept, Offer::Discovery)? else {
        let mut answer = answer::value(StatusCode::OK, &legacy());
        answer.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
        return Ok(answer);
    };
    let discovery::Document { text, tag } = surface.aggregated(part, version);
    let known = headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let media_type = format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
    let mut answer = if known {
        answer::typed(StatusCode::NOT_MODIFIED, &media_type, "")
    } else {
        answer::typed(StatusCode::OK, &media_type, text.clone())
    };
    answer.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    answer.headers_mut().insert(ETAG, HeaderValue::from_str(tag).map_err(StatusError::internal)?);
    Ok(answer)
}

async fn group(State(door): Shared, Path(group): Path<String>) -> Result<Answer, Refusal> {
    let group = door.surface().groups.one(&group).ok_or_else(target::nothing_here)?;
    Ok(answer::value(StatusCode::OK, &group))
}

async fn core_resources(State(door): Shared, Path(version): Path<String>) -> Result<Answer, Refusal> {
    let resources = door.surface().groups.resources("", &version).ok_or_else(target::nothing_here)?;
    Ok(answer::value(StatusCode::OK, &resources))
}

async fn resources(State(door): Shared, Path((group, version)): Path<(String, String)>) -> Result<Answer, Refusal> {
    let resources = door.surface().groups.resources(&group, &version).ok_or_else(target::nothing_here)?;
    Ok(answer::value(StatusCode::OK, &resources))
}

async fn images(State(door): Shared, request: Request) -> Answer {
    registry::answer(&door, request).await
}

/// What lies here of images, for other servers.
async fn content(State(door): Shared, Extension(identity): Who, Path(digest): Path<String>) -> Answer {
    if identity.server().is_none() {
        let why = format!("User {:?} is no server of the cluster", identity.user);
        return Refusal(StatusError::new(api::Reason::Forbidden, why)).into_response();
    }
    registry::give(&door.images, &digest).await.unwrap_or_else(|error| error.answer())
}

async fn link(
    State(door): Shared,
    Extension(identity): Who,
    Path(name): Path<String>,
    mut request: Request,
) -> Result<Answer, Refusal> {
    if identity.is_anonymous() {
        return Err(unauthorized().into());
    }
    if identity.node() != Some(name.as_str()) {
        let why = format!("User {:?} cannot open the link of node {name:?}", identity.user);
        return Err(StatusError::new(api::Reason::Forbidden, why).into());
    }
    let upgrade = Links::upgrade(&mut request)?;
    let query = request.uri().query();
    let is_aside = query == Some("aside=true");
    if !is_aside {
        let levels = query.and_then(|query| query.strip_prefix("levels=")?.parse().ok()).unwrap_or(Levels::UNTOLD);
        let refused = |why: &dyn std::fmt::Display| StatusError::new(api::Reason::Conflict, why.to_string());
        let at =
            level::in_force(door.store.snapshot().get(&level::key())).map_err(|unreadable| refused(&unreadable))?;
        levels.check_node(at).map_err(|foreign| refused(&foreign))?;
    }
    let record = (!is_aside).then(|| Record::new(&door, &name));
    door.tasks.spawn(door.links.clone().hold(name, upgrade, door.patience, record, door.closing.clone()));
    Ok(Links::switching())
}

async fn join(State(door): Shared, Extension(identity): Who, request: Request) -> Result<Answer, Refusal> {
    let join = door.join.as_ref().ok_or_else(target::nothing_here)?;
    let asked = body::read(request.into_body()).await?;
    let asked = serde_json::from_slice(&asked).map_err(|error| StatusError::bad_request(error.to_string()))?;
    let granted = join.grant(&door, &identity, &asked).await?;
    Ok(answer::value(StatusCode::OK, &json!(granted)))
}

/// The next certificate of a node.
async fn renew(State(door): Shared, Extension(identity): Who, request: Request) -> Result<Answer, Refusal> {
    let join = door.join.as_ref().ok_or_else(target::nothing_here)?;
    let node = identity.node_to_renew().ok_or_else(unauthorized)?;
    let asked = body::read(request.into_body()).await?;
    let asked = serde_json::from_slice(&asked).map_err(|error| StatusError::bad_request(error.to_string()))?;
    let granted = join.renew(&door.store.snapshot(), node, &asked)?;
    Ok(answer::value(StatusCode::OK, &json!(granted)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_slash_means_nothing_but_to_the_registry() {
        let plain = |text: &'static str| plain_path(&Uri::from_static(text)).map(|uri| uri.to_string());
        assert_eq!(plain("/apis/").as_deref(), Some("/apis"));
        assert_eq!(plain("/version/?timeout=5s").as_deref(), Some("/version?timeout=5s"));
        assert_eq!(plain("/version"), None);
        assert_eq!(plain("/"), None);
        assert_eq!(plain("/v2/hello/blobs/uploads/"), None);
        assert_eq!(plain("/api/v1/namespaces/n/services/web/proxy/"), None);
    }
}
