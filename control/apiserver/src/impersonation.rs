//! Asking as somebody else: the `Impersonate-` headers of whoever may.
//!
//! Each thing that is taken on (the user, each group, each extra fact, the uid) is asked for on its own. From there on the request
//! is that of the one impersonated, and of the headers nothing is left.

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::middleware::Next;
use axum::response::IntoResponse;
use http::{HeaderMap, HeaderName, StatusCode};
use percent_encoding::percent_decode_str;

use crate::answer::{self, Answer, Refusal};
use crate::authorization::question::{Question, Resource};
use crate::authorization::table::ACCOUNT_USER;
use crate::identity::{ANONYMOUS, AUTHENTICATED, Identity, UNAUTHENTICATED};
use crate::{Door, audit};

const PREFIX: &str = "impersonate-";
const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";
/// The group of what has no group of its own here: extra facts and uids of users.
const USER_INFO: &str = "authentication.k8s.io";

/// Somebody to be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    identity: Identity,
    /// What has to be allowed for that, in the order in which it is asked.
    resources: Vec<Resource>,
}

/// Makes a request that of the one who is impersonated.
pub(crate) async fn impersonate(
    State(door): State<Arc<Door>>,
    Extension(identity): Extension<Identity>,
    mut request: Request,
    next: Next,
) -> Answer {
    let wanted = match wanted(request.headers()) {
        Ok(None) => return next.run(request).await,
        Ok(Some(wanted)) => wanted,
        Err(why) => {
            let uri = request.uri().path_and_query().map_or("", |uri| uri.as_str());
            let told = format!("Internal Server Error: {uri:?}: {why}\n");
            return answer::typed(StatusCode::INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", told);
        }
    };
    for resource in wanted.resources {
        if let Err(error) = door.demand(&identity, &Question::of_resource("impersonate", resource)) {
            return Refusal(error).into_response();
        }
    }
    let said: Vec<HeaderName> =
        request.headers().keys().filter(|name| name.as_str().starts_with(PREFIX)).cloned().collect();
    for name in said {
        request.headers_mut().remove(name);
    }
    tracing::debug!(user = identity.user, r#as = wanted.identity.user, "impersonates");
    audit::impersonated(&request, &wanted.identity);
    request.extensions_mut().insert(wanted.identity);
    next.run(request).await
}

/// Who is to be impersonated, if anybody is.
fn wanted(headers: &HeaderMap) -> Result<Option<Wanted>, String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let all = |name: &str| -> Vec<String> {
        headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).map(Into::into).collect()
    };
    let mut identity = Identity { user: text(USER).into(), groups: all(GROUP), ..Identity::default() };
    let mut resources = Vec::new();
    let account = account(&identity.user);
    match &account {
        Some((namespace, name)) => resources.push(Resource::new("", "serviceaccounts").within(namespace).named(name)),
        None if !identity.user.is_empty() => resources.push(Resource::new("", "users").named(&identity.user)),
        None => {}
    }
    resources.extend(identity.groups.iter().map(|group| Resource::new("", "groups").named(group)));
    for name in headers.keys() {
        let Some(key) = name.as_str().strip_prefix(EXTRA) else { continue };
        let key = percent_decode_str(key).decode_utf8().map_or_else(|_| key.to_owned(), Into::into);
        let values = all(name.as_str());
        let asked = |value: &String| Resource::new(USER_INFO, "userextras").part(&key).named(value);
        resources.extend(values.iter().map(asked));
        identity.extra.insert(key, values);
    }
    let uid = text(UID);
    if !uid.is_empty() {
        resources.push(Resource::new(USER_INFO, "uids").named(uid));
        identity.uid = Some(uid.into());
    }
    if resources.is_empty() {
        return Ok(None);
    }
    if identity.user.is_empty() {
        return Err(format!("requested [{}] without impersonating a user", told(&resources)));
    }
    if let Some((namespace, _)) = account.filter(|_| identity.groups.is_empty()) {
        identity.groups = vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
    }
    let of_all = if identity.user == ANONYMOUS { UNAUTHENTICATED } else { AUTHENTICATED };
    let is_said = identity.groups.iter().any(|group| group == of_all || group == UNAUTHENTICATED);
    if !is_said {
        identity.groups.push(of_all.into());
    }
    Ok(Some(Wanted { identity, resources }))
}

/// The namespace and name of the service account whose user name this is.
fn account(user: &str) -> Option<(String, String)> {
    let (namespace, name) = user.strip_prefix(ACCOUNT_USER)?.split_once(':')?;
    let is_name = |text: &str| {
        let is_word = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'.');
        !text.is_empty() && text.bytes().all(is_word)
    };
    (is_name(namespace) && is_name(name)).then(|| (namespace.into(), name.into()))
}

/// As Go prints references to objects: kind and name, and the members between and behind them that say nothing.
fn told(resources: &[Resource]) -> String {
    let told = resources.iter().map(|resource| match resource.plural.as_str() {
        "groups" => format!("{{Group  {}    }}", resource.name),
        "uids" => format!("{{UID  {}  {USER_INFO}/v1  }}", resource.name),
        _ => format!("{{UserExtra  {}  {USER_INFO}/v1  {}}}", resource.name, resource.subresource),
    });
    told.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn check(said: &[(&'static str, &str)], expect: Result<(&str, &[&str], &[&str]), &str>) {
        let mut headers = HeaderMap::new();
        for (name, value) in said {
            headers.append(*name, HeaderValue::from_str(value).expect("a header"));
        }
        let found = wanted(&headers).map(|wanted| {
            let wanted = wanted.expect("somebody");
            let asked = wanted.resources.iter().map(|one| {
                let part = if one.subresource.is_empty() { String::new() } else { format!("/{}", one.subresource) };
                format!("{}{part} {}:{}", one.plural, one.namespace, one.name)
            });
            (wanted.identity.user, wanted.identity.groups, asked.collect::<Vec<_>>())
        });
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let expect = expect.map(|(user, groups, asked)| (user.to_owned(), owned(groups), owned(asked)));
        assert_eq!(found, expect.map_err(str::to_owned), "{said:?}");
    }

    #[test]
    fn everything_taken_on_is_asked_for() {
        check(&[("impersonate-user", "jane")], Ok(("jane", &[AUTHENTICATED], &["users :jane"])));
        check(
            &[("impersonate-user", "jane"), ("impersonate-group", "dev"), ("impersonate-group", "ops")],
            Ok(("jane", &["dev", "ops", AUTHENTICATED], &["users :jane", "groups :dev", "groups :ops"])),
        );
        check(
            &[("impersonate-user", "system:serviceaccount:shop:robot")],
            Ok((
                "system:serviceaccount:shop:robot",
                &["system:serviceaccounts", "system:serviceaccounts:shop", AUTHENTICATED],
                &["serviceaccounts shop:robot"],
            )),
        );
        check(
            &[("impersonate-user", "jane"), ("impersonate-extra-example.com%2fscope", "a"), ("impersonate-uid", "7")],
            Ok(("jane", &[AUTHENTICATED], &["users :jane", "userextras/example.com/scope :a", "uids :7"])),
        );
        check(&[("impersonate-user", ANONYMOUS)], Ok((ANONYMOUS, &[UNAUTHENTICATED], &["users :system:anonymous"])));
        check(&[("impersonate-group", "dev")], Err("requested [{Group  dev    }] without impersonating a user"));
    }
}
