//! Keeping a certificate where the Ingress looks for it.

use anyhow::bail;
use api::{Object, kinds};
use client::Client;
use ingress::acme::{DIRECTORY_ANNOTATION, LABEL, Wish};
use k8s_openapi::ByteString;
use serde_json::{Value, json};

/// How often somebody else may be quicker.
const TRIES: usize = 5;

/// A certificate with those that vouch for it, and its key; both PEM.
pub(super) struct Issued {
    pub(super) chain: String,
    pub(super) key: String,
}

/// Writes the secret of a wish, unless somebody else has made one of that name meanwhile.
pub(super) async fn keep(client: &Client, wish: &Wish, issued: &Issued, directory: &str) -> anyhow::Result<()> {
    for _ in 0..TRIES {
        let written = match client.get(&wish.secret).await {
            Ok(found) if found.meta().labels.get(LABEL).is_none_or(|value| value != "true") => {
                bail!("secret {} was made by somebody else meanwhile; it is left as it is", wish.secret.name())
            }
            Ok(found) => client.replace(&filled(found.to_value()?, issued, directory)?).await,
            Err(error) if error.is_not_found() => client.create(&filled(empty(wish), issued, directory)?).await,
            Err(error) => Err(error),
        };
        match written {
            Err(error) if error.is_conflict() => {}
            written => return Ok(written.map(drop)?),
        }
    }
    bail!("secret {} is changed too often by others", wish.secret.name())
}

fn empty(wish: &Wish) -> Value {
    let (name, namespace) = (wish.secret.name(), wish.secret.namespace());
    json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": name, "namespace": namespace, "labels": {LABEL: "true"}}})
}

fn filled(mut secret: Value, issued: &Issued, directory: &str) -> anyhow::Result<Object> {
    let bytes = |text: &String| ByteString(text.clone().into_bytes());
    secret["data"] = json!({"tls.crt": bytes(&issued.chain), "tls.key": bytes(&issued.key)});
    secret["metadata"]["annotations"][DIRECTORY_ANNOTATION] = directory.into();
    Ok(Object::from_value(kinds::SECRET, &secret)?)
}
