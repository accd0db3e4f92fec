//! Whom a token stands for, in a world and at a time: a pure function of what it says.

use std::collections::BTreeMap;

use api::jwt::{self, Bound, Claims, Reference, SecretClaims};
use api::{GroupKind, Object, kinds};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use state::Snapshot;

use super::{Holder, Invalid};
use crate::identity::{CREDENTIAL_ID, Identity};

/// Everybody who is a service account.
const ACCOUNTS: &str = "system:serviceaccounts";
/// As Kubernetes has it: what is being deleted may finish what it does with its token.
const PARTING: SignedDuration = SignedDuration::from_secs(60);

/// Who holds a token that says this, if it is meant for one of the audiences.
pub(super) fn of(claims: &Claims, audiences: &[String], world: &Snapshot, now: Timestamp) -> Result<Holder, Invalid> {
    match claims.iss.as_str() {
        jwt::ISSUER => {
            in_time(claims, now)?;
            let audiences = meant_for(&claims.aud, audiences)?;
            let bound = claims.kubernetes.as_ref().ok_or(Invalid::Unknown)?;
            Ok(Holder { identity: of_bound(claims, bound, world, now)?, audiences })
        }
        // A token in a secret is meant for the API and has no end: it ends with its secret.
        jwt::SECRET_ISSUER => {
            let audiences = meant_for(&[jwt::ISSUER.into()], audiences)?;
            Ok(Holder { identity: of_secret(claims, world, now)?, audiences })
        }
        _ => Err(Invalid::Unknown),
    }
}

fn in_time(claims: &Claims, now: Timestamp) -> Result<(), Invalid> {
    let (Some(exp), now) = (claims.exp, now.as_second()) else { return Err(Invalid::Unknown) };
    if now > exp {
        return Err(Invalid::Expired);
    }
    if [claims.nbf, claims.iat].into_iter().flatten().any(|from| now < from) {
        return Err(Invalid::Early);
    }
    Ok(())
}

pub(super) fn meant_for(found: &[String], wanted: &[String]) -> Result<Vec<String>, Invalid> {
    let both: Vec<String> = wanted.iter().filter(|wanted| found.contains(wanted)).cloned().collect();
    if both.is_empty() { Err(Invalid::Audience { found: found.into(), wanted: wanted.into() }) } else { Ok(both) }
}

fn of_bound(claims: &Claims, bound: &Bound, world: &Snapshot, now: Timestamp) -> Result<Identity, Invalid> {
    let account = &bound.serviceaccount;
    if claims.sub != jwt::account_user(&bound.namespace, &account.name) {
        return Err(Invalid::Unknown);
    }
    demand(world, kinds::SERVICE_ACCOUNT, &bound.namespace, account, "service account", now)?;
    if let Some(secret) = &bound.secret {
        demand(world, kinds::SECRET, &bound.namespace, secret, "secret", now)?;
    }
    let mut extra = BTreeMap::new();
    let mut note = |name: &str, value: &str| {
        if !value.is_empty() {
            extra.insert(format!("authentication.kubernetes.io/{name}"), vec![value.to_owned()]);
        }
    };
    if let Some(pod) = &bound.pod {
        demand(world, kinds::POD, &bound.namespace, pod, "pod", now)?;
        note("pod-name", &pod.name);
        note("pod-uid", &pod.uid);
    }
    if let Some(node) = &bound.node {
        // A pod's token ends with the pod; what is only said of its node is not looked at.
        if bound.pod.is_none() {
            demand(world, kinds::NODE, "", node, "node", now)?;
        }
        note("node-name", &node.name);
        note("node-uid", &node.uid);
    }
    if let Some(id) = &claims.jti {
        extra.insert(CREDENTIAL_ID.into(), vec![format!("JTI={id}")]);
    }
    Ok(Identity { extra, ..identity(&bound.namespace, account) })
}

fn of_secret(claims: &Claims, world: &Snapshot, now: Timestamp) -> Result<Identity, Invalid> {
    let SecretClaims { namespace: Some(namespace), secret_name: Some(secret), account_name, account_uid } =
        &claims.secret
    else {
        return Err(Invalid::Unknown);
    };
    let (Some(name), Some(uid)) = (account_name.clone(), account_uid.clone()) else { return Err(Invalid::Unknown) };
    let account = Reference { name, uid };
    if claims.sub != jwt::account_user(namespace, &account.name) {
        return Err(Invalid::Unknown);
    }
    let revoked = || Invalid::Gone("token has been invalidated".into());
    let object = world.get(&kinds::SECRET.key(namespace, secret)).ok_or_else(revoked)?;
    alive(object, "secret", secret, now)?;
    let held = token_in(object).ok_or_else(revoked)?;
    if !jwt::parse(&held).is_ok_and(|held| held.claims == *claims) {
        return Err(revoked());
    }
    demand(world, kinds::SERVICE_ACCOUNT, namespace, &account, "service account", now)?;
    Ok(identity(namespace, &account))
}

/// The token that lies in a secret.
fn token_in(secret: &Object) -> Option<Vec<u8>> {
    #[derive(Deserialize)]
    struct Secret {
        data: Data,
    }
    #[derive(Deserialize)]
    struct Data {
        token: String,
    }
    let secret: Secret = serde_json::from_slice(secret.body()).ok()?;
    BASE64.decode(secret.data.token).ok()
}

fn identity(namespace: &str, account: &Reference) -> Identity {
    let groups = [ACCOUNTS.to_owned(), format!("{ACCOUNTS}:{namespace}")];
    Identity { uid: Some(account.uid.clone()), ..Identity::known(jwt::account_user(namespace, &account.name), groups) }
}

/// That what a token speaks of is there, is the same, and stays.
fn demand(
    world: &Snapshot,
    kind: GroupKind,
    namespace: &str,
    meant: &Reference,
    word: &str,
    now: Timestamp,
) -> Result<(), Invalid> {
    let Some(object) = world.get(&kind.key(namespace, &meant.name)) else {
        return Err(Invalid::Gone(format!("{word} {} has been deleted", meant.name)));
    };
    if *object.meta().uid != *meant.uid {
        let why = format!("{word} UID ({}) does not match claim ({})", object.meta().uid, meant.uid);
        return Err(Invalid::Gone(why));
    }
    alive(object, word, &meant.name, now)
}

fn alive(object: &Object, word: &str, name: &str, now: Timestamp) -> Result<(), Invalid> {
    match object.meta().deletion_timestamp {
        Some(gone) if now > gone + PARTING => Err(Invalid::Gone(format!("{word} {name} has been deleted"))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Revision;
    use serde_json::{Value, json};

    fn object(kind: GroupKind, namespace: &str, name: &str, uid: &str) -> Object {
        let metadata = json!({"name": name, "namespace": namespace, "uid": uid});
        let value = json!({"apiVersion": "v1", "kind": kind.kind, "metadata": metadata});
        Object::from_value(kind, &value).expect("an object")
    }

    fn reference(name: &str, uid: &str) -> Option<Reference> {
        Some(Reference { name: name.into(), uid: uid.into() })
    }

    fn claims() -> Claims {
        Claims {
            aud: vec![jwt::ISSUER.into(), "vault".into()],
            exp: Some(1_000),
            iat: Some(400),
            nbf: Some(400),
            iss: jwt::ISSUER.into(),
            jti: Some("j".into()),
            sub: "system:serviceaccount:shop:web".into(),
            kubernetes: Some(Bound {
                namespace: "shop".into(),
                serviceaccount: reference("web", "u1").expect("one"),
                pod: reference("web-0", "u2"),
                node: reference("n1", "u3"),
                ..Bound::default()
            }),
            ..Claims::default()
        }
    }

    fn world(objects: impl IntoIterator<Item = Object>) -> Snapshot {
        Snapshot::load(Revision(1), objects)
    }

    fn whole() -> [Object; 3] {
        [
            object(kinds::SERVICE_ACCOUNT, "shop", "web", "u1"),
            object(kinds::POD, "shop", "web-0", "u2"),
            object(kinds::NODE, "", "n1", "u3"),
        ]
    }

    fn check(claims: &Claims, world: &Snapshot, audience: &str, at: i64, expect: &str) {
        let now = Timestamp::from_second(at).expect("a time");
        let found = match of(claims, &[audience.into()], world, now) {
            Ok(holder) => holder.identity.user,
            Err(invalid) => invalid.to_string(),
        };
        assert_eq!(found, expect);
    }

    const WEB: &str = "system:serviceaccount:shop:web";

    #[test]
    fn a_token_tells_who_has_it_and_where() {
        let now = Timestamp::from_second(500).expect("a time");
        let holder = of(&claims(), &["vault".into(), "bank".into()], &world(whole()), now).expect("valid");
        let expect = json!({
            "username": WEB, "uid": "u1",
            "groups": ["system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated"],
            "extra": {
                "authentication.kubernetes.io/credential-id": ["JTI=j"],
                "authentication.kubernetes.io/node-name": ["n1"],
                "authentication.kubernetes.io/node-uid": ["u3"],
                "authentication.kubernetes.io/pod-name": ["web-0"],
                "authentication.kubernetes.io/pod-uid": ["u2"],
            },
        });
        assert_eq!(holder.identity.told(), expect);
        assert_eq!(holder.audiences, ["vault"]);
    }

    #[test]
    fn a_token_has_its_time_and_its_audience() {
        let world = world(whole());
        check(&claims(), &world, jwt::ISSUER, 400, WEB);
        check(&claims(), &world, jwt::ISSUER, 1_000, WEB);
        check(&claims(), &world, jwt::ISSUER, 1_001, "service account token has expired");
        check(&claims(), &world, jwt::ISSUER, 399, "service account token is not valid yet");
        check(
            &claims(),
            &world,
            "bank",
            500,
            r#"token audiences ["https://kubernetes.default.svc.cluster.local", "vault"] is invalid for the target audiences ["bank"]"#,
        );
        check(&Claims { exp: None, ..claims() }, &world, jwt::ISSUER, 500, "invalid bearer token");
        check(
            &Claims { iss: "https://elsewhere".into(), ..claims() },
            &world,
            jwt::ISSUER,
            500,
            "invalid bearer token",
        );
        let other = Claims { sub: "system:serviceaccount:shop:admin".into(), ..claims() };
        check(&other, &world, jwt::ISSUER, 500, "invalid bearer token");
    }

    #[test]
    fn a_token_ends_with_what_it_is_bound_to() {
        let [account, pod, node] = whole();
        let without_account = world([pod.clone(), node.clone()]);
        check(&claims(), &without_account, jwt::ISSUER, 500, "service account web has been deleted");
        let without_pod = world([account.clone(), node]);
        check(&claims(), &without_pod, jwt::ISSUER, 500, "pod web-0 has been deleted");
        let another = world([object(kinds::SERVICE_ACCOUNT, "shop", "web", "u9"), pod.clone()]);
        check(&claims(), &another, jwt::ISSUER, 500, "service account UID (u9) does not match claim (u1)");
        // A node may go before its pods do.
        check(&claims(), &world([account.clone(), pod.clone()]), jwt::ISSUER, 500, WEB);
        let mut leaving: Value = pod.to_value().expect("JSON");
        leaving["metadata"]["deletionTimestamp"] = "1970-01-01T00:08:20Z".into();
        let leaving = world([account, Object::from_value(kinds::POD, &leaving).expect("an object")]);
        check(&claims(), &leaving, jwt::ISSUER, 560, WEB);
        check(&claims(), &leaving, jwt::ISSUER, 561, "pod web-0 has been deleted");
    }

    #[test]
    fn a_token_in_a_secret_ends_with_the_secret() {
        let claims = Claims {
            iss: jwt::SECRET_ISSUER.into(),
            sub: WEB.into(),
            secret: SecretClaims {
                namespace: Some("shop".into()),
                secret_name: Some("web-token".into()),
                account_name: Some("web".into()),
                account_uid: Some("u1".into()),
            },
            ..Claims::default()
        };
        let token = jwt::write::<()>("k", &claims, |_| Ok(vec![1])).expect("signed");
        let secret = |token: &str| {
            let mut value = object(kinds::SECRET, "shop", "web-token", "u4").to_value().expect("JSON");
            value["data"] = json!({"token": BASE64.encode(token)});
            Object::from_value(kinds::SECRET, &value).expect("an object")
        };
        let [account, ..] = whole();
        check(&claims, &world([account.clone(), secret(&token)]), jwt::ISSUER, 9_999_999, WEB);
        check(&claims, &world([account.clone()]), jwt::ISSUER, 0, "token has been invalidated");
        check(&claims, &world([account, secret("another")]), jwt::ISSUER, 0, "token has been invalidated");
        check(&claims, &world([secret(&token)]), jwt::ISSUER, 0, "service account web has been deleted");
    }
}
