//! Who one is to a directory: a key, kept as a secret.
//!
//! The key is kept before the directory hears of it, and told again at every order: a directory knows its account by it, and
//! makes one where it knows none. So no account is lost, and one that the directory has forgotten comes back by itself.

use anyhow::Context;
use api::{Key, Object, kinds};
use client::{Client, PatchType};
use instant_acme::Account;
use k8s_openapi::api::core::v1::Secret;
use rcgen::KeyPair;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::directory::Conversation;
use super::order::Refused;

/// Where the key is kept.
const NAMESPACE: &str = "kube-system";
const MEMBER: &str = "tls.key";
/// Says, of the key, which address the directory was told.
const EMAIL_ANNOTATION: &str = "coracle.dev/acme-email";

/// The account with the directory at `url`.
pub(super) async fn open(
    client: &Client,
    url: &str,
    email: Option<&str>,
    conversation: Conversation,
) -> anyhow::Result<Account> {
    let at = kinds::SECRET.key(NAMESPACE, &name(url));
    let secret = kept(client, &at, url).await.context("the account's key cannot be kept")?;
    let typed = secret.decode::<Secret>()?;
    let pem = typed.data.as_ref().and_then(|data| data.get(MEMBER)).map(|bytes| bytes.0.as_slice());
    let key = PrivatePkcs8KeyDer::from_pem_slice(pem.unwrap_or_default());
    let key = key.with_context(|| format!("secret {NAMESPACE}/{} holds no key of an account", at.name()))?;
    let signing = instant_acme::Key::from_pkcs8_der(key.clone_key()).map_err(Refused::from)?;
    let key = (signing, PrivateKeyDer::Pkcs8(key));
    let opened = Account::builder_with_http(Box::new(conversation)).create_from_key(key, url.to_owned()).await;
    let (account, _) = opened.map_err(Refused::from)?;
    if email != secret.meta().annotations.get(EMAIL_ANNOTATION).map(String::as_str) {
        let contact = email.map(|email| format!("mailto:{email}"));
        let contacts: Vec<&str> = contact.iter().map(String::as_str).collect();
        account.update_contacts(&contacts).await.map_err(Refused::from)?;
        let patch = json!({"metadata": {"annotations": {EMAIL_ANNOTATION: email}}});
        client.patch(&at, PatchType::Merge, &patch).await?;
    }
    Ok(account)
}

/// The secret with the key, made if there is none.
async fn kept(client: &Client, at: &Key, url: &str) -> anyhow::Result<Object> {
    match client.get(at).await {
        Err(error) if error.is_not_found() => {}
        found => return Ok(found?),
    }
    let key = KeyPair::generate()?.serialize_pem();
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "stringData": {MEMBER: key},
        "metadata": {"name": at.name(), "namespace": NAMESPACE,
            "annotations": {ingress::acme::DIRECTORY_ANNOTATION: url}},
    });
    Ok(client.create(&Object::from_value(kinds::SECRET, &secret)?).await?)
}

/// One account for each directory.
fn name(url: &str) -> String {
    format!("coracle-acme-account-{}", hex::encode(&Sha256::digest(url)[..8]))
}
