//! Tokens of accounts: asked for, used, reviewed, and ended.

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Client, Door};

const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const MYSELF: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

async fn account(door: &Door) {
    let created = door.admin().post(ACCOUNTS, &json!({"metadata": {"name": "web"}})).await;
    assert_eq!(created.code, 201);
}

async fn token(client: &Client, spec: Value) -> Answer {
    client.post(&format!("{ACCOUNTS}/web/token"), &json!({"spec": spec})).await
}

async fn shown(door: &Door, token: &str, method: Method, path: &str) -> Answer {
    let header = format!("Bearer {token}");
    door.stranger().ask(method, path, &[("authorization", &header), ("content-type", "application/json")], "{}").await
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

#[tokio::test]
async fn a_token_stands_for_its_account_until_the_account_is_gone() {
    let door = Door::open().await;
    account(&door).await;
    let granted = token(&door.admin(), json!({"expirationSeconds": 600})).await;
    assert_eq!(granted.code, 201);
    let token = text(&granted.json()["status"]["token"]);
    for _ in 0..2 {
        let me = shown(&door, &token, Method::POST, MYSELF).await.json();
        let me = &me["status"]["userInfo"];
        assert_eq!(me["username"], "system:serviceaccount:default:web");
        assert_eq!(
            me["groups"],
            json!(["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"])
        );
        assert!(text(&me["extra"]["authentication.kubernetes.io/credential-id"][0]).starts_with("JTI="));
    }
    let (signed, signature) = token.rsplit_once('.').expect("a signature");
    let forged = format!("{signed}.{}", signature.chars().rev().collect::<String>());
    assert_eq!(shown(&door, &forged, Method::GET, "/version").await.refusal(), "401 Unauthorized");
    assert_eq!(door.admin().delete(&format!("{ACCOUNTS}/web"), &json!({})).await.code, 200);
    account(&door).await;
    assert_eq!(shown(&door, &token, Method::POST, MYSELF).await.refusal(), "401 Unauthorized");
    door.close().await;
}

#[tokio::test]
async fn others_may_have_a_token_reviewed() {
    let door = Door::open().await;
    account(&door).await;
    let granted = token(&door.admin(), json!({"audiences": ["vault"]})).await.json();
    let token = text(&granted["status"]["token"]);
    let review = async |spec: Value| door.admin().post(REVIEWS, &json!({"spec": spec})).await.json()["status"].clone();
    let valid = review(json!({"token": token, "audiences": ["vault", "bank"]})).await;
    assert_eq!(valid["authenticated"], true);
    assert_eq!(valid["audiences"], json!(["vault"]));
    assert_eq!(valid["user"]["username"], "system:serviceaccount:default:web");
    let elsewhere = review(json!({"token": token})).await;
    assert_eq!(elsewhere["authenticated"], Value::Null);
    assert!(text(&elsewhere["error"]).starts_with("token audiences [\"vault\"] is invalid"), "{elsewhere}");
    assert_eq!(shown(&door, &token, Method::GET, "/version").await.code, 401, "it is not meant for the API");
    assert_eq!(review(json!({"token": "nonsense"})).await["error"], "invalid bearer token");
    let refused = door.admin().post(REVIEWS, &json!({})).await;
    assert_eq!(refused.refusal(), "400 token is required for TokenReview in authentication");
    let refused = door.client("eve", &[]).post(REVIEWS, &json!({"spec": {"token": token}})).await;
    assert_eq!(refused.code, 403);
    door.close().await;
}

#[tokio::test]
async fn who_asks_for_a_token_is_told_what_is_wrong() {
    let door = Door::open().await;
    account(&door).await;
    let admin = door.admin();
    let missing = admin.post(&format!("{ACCOUNTS}/none/token"), &json!({})).await;
    assert_eq!(missing.refusal(), "404 serviceaccounts \"none\" not found");
    assert_eq!(
        token(&admin, json!({"expirationSeconds": 60})).await.refusal(),
        "422 TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 60: may not specify a duration less than 10 minutes"
    );
    assert_eq!(admin.get(&format!("{ACCOUNTS}/web/token")).await.code, 405);
    let node = door.client("system:node:n1", &[apiserver::NODES]);
    assert_eq!(
        token(&node, json!({})).await.refusal(),
        "403 serviceaccounts \"web\" is forbidden: User \"system:node:n1\" cannot create resource \"serviceaccounts/token\" in API group \"\" in the namespace \"default\": no relationship found between node 'n1' and this object"
    );
    assert_eq!(token(&door.client("eve", &[]), json!({})).await.code, 403);
    door.close().await;
}

#[tokio::test]
async fn the_keys_of_tokens_are_told() {
    let door = Door::open().await;
    let admin = door.admin();
    let told = admin.get("/.well-known/openid-configuration").await.json();
    assert_eq!(told["issuer"], "https://kubernetes.default.svc.cluster.local");
    let keys = text(&told["jwks_uri"]);
    let keys = admin.get(keys.strip_prefix(&text(&told["issuer"])).expect("where the issuer is")).await;
    assert_eq!(keys.headers["content-type"], "application/jwk-set+json");
    assert_eq!(keys.json()["keys"][0]["kty"], "EC");
    assert_eq!(door.stranger().get("/openid/v1/jwks").await.code, 403);
    door.close().await;
}
