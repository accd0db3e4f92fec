//! Configuration that is not for everyone's eyes.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde_json::Value;

use super::{AGE, NAME, integer, text};
use crate::rules::{self, Causes};
use crate::{Column, Names, Resource, Scope, cells, json};

/// The kind.
#[derive(Debug)]
pub struct Secrets;

/// The annotation that says which account a token is for.
const ACCOUNT: &str = "kubernetes.io/service-account.name";

impl Resource for Secrets {
    type Object = Secret;

    const NAMES: &'static Names = &Names {
        group: "",
        version: "v1",
        kind: "Secret",
        plural: "secrets",
        singular: "secret",
        short: &[],
        categories: &[],
        scope: Scope::Namespaced,
    };
    const COLUMNS: &'static [Column] =
        &[NAME, text("Type", "What it is used for."), integer("Data", "How many keys it has."), AGE];
    const SELECTABLE: &'static [&'static str] = &["type"];

    fn default(secret: &mut Secret) {
        if let Some(texts) = secret.string_data.take() {
            let data = secret.data.get_or_insert_default();
            data.extend(texts.into_iter().map(|(key, text)| (key, ByteString(text.into_bytes()))));
        }
        secret.type_.get_or_insert_with(|| "Opaque".into());
    }

    fn validate(secret: &Secret, causes: &mut Causes) {
        rules::data_keys("data", secret.data.iter().flat_map(|data| data.keys()), causes);
        rules::data_size("data", secret.data.iter().flatten().map(|(_, bytes)| bytes.0.len()).sum(), causes);
        let none = BTreeMap::new();
        let data = secret.data.as_ref().unwrap_or(&none);
        let needed: &[&str] = match secret.type_.as_deref() {
            Some("kubernetes.io/tls") => &["tls.crt", "tls.key"],
            Some("kubernetes.io/dockerconfigjson") => &[".dockerconfigjson"],
            Some("kubernetes.io/dockercfg") => &[".dockercfg"],
            Some("kubernetes.io/ssh-auth") => &["ssh-privatekey"],
            _ => &[],
        };
        for key in needed.iter().filter(|key| !data.contains_key(**key)) {
            causes.required(format!("data[{key}]"), "");
        }
        let account = secret.metadata.annotations.as_ref().and_then(|annotations| annotations.get(ACCOUNT));
        if secret.type_.as_deref() == Some("kubernetes.io/service-account-token")
            && account.is_none_or(String::is_empty)
        {
            causes.required(format!("metadata.annotations[{ACCOUNT}]"), "");
        }
        if secret.type_.as_deref() == Some("kubernetes.io/basic-auth")
            && !data.contains_key("username")
            && !data.contains_key("password")
        {
            causes.required("data[username]", "");
            causes.required("data[password]", "");
        }
        for key in [".dockerconfigjson", ".dockercfg"] {
            let wanted = needed.contains(&key);
            if let Some(why) = data.get(key).filter(|_| wanted).and_then(|bytes| json::complaint(&bytes.0)) {
                causes.invalid(format!("data[{key}]"), "<secret contents redacted>", &why);
            }
        }
    }

    fn validate_update(secret: &Secret, old: &Secret, causes: &mut Causes) {
        causes.immutable("type", &secret.type_, &old.type_);
        if old.immutable != Some(true) {
            return;
        }
        if secret.immutable != Some(true) {
            causes.forbidden("immutable", "field is immutable when `immutable` is set");
        }
        if secret.data != old.data {
            causes.forbidden("data", "field is immutable when `immutable` is set");
        }
    }

    fn cells(secret: &Secret, now: Timestamp) -> Vec<Value> {
        let keys = secret.data.as_ref().map_or(0, BTreeMap::len);
        let kind = secret.type_.as_deref().unwrap_or_default().into();
        vec![cells::name(&secret.metadata), kind, keys.into(), cells::age(&secret.metadata, now)]
    }

    fn fields(secret: &Secret) -> Vec<(&'static str, String)> {
        vec![("type", secret.type_.clone().unwrap_or_default())]
    }
}
