//! Secrets of type `kubernetes.io/service-account-token`: each gets its token, and goes with its account.

use std::sync::Arc;

use api::jwt::{self, Claims, SecretClaims};
use api::{Key, Object, kinds};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use state::{Event, Guard, Snapshot, Txn};

use crate::edit::replaced;
use crate::root_certificate::agreed;
use crate::{Config, Controller, Look, Plan, SignToken};

/// The controller that fills them in.
pub(crate) struct AccountSecrets {
    sign: Option<SignToken>,
    certificate: Option<Arc<str>>,
}

/// The type of such a secret.
const TYPE: &str = "kubernetes.io/service-account-token";
/// Which account it is for.
const ACCOUNT: &str = "kubernetes.io/service-account.name";
/// Which account of that name.
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";

// === impl AccountSecrets ===

impl AccountSecrets {
    /// Has tokens signed by whom the configuration names.
    pub(crate) fn new(config: &Config) -> Self {
        Self { sign: config.signers.token.clone(), certificate: config.root_certificate.clone() }
    }
}

impl Controller for AccountSecrets {
    fn name(&self) -> &'static str {
        "account-secrets"
    }

    fn affected(&self, event: &Event, view: &Snapshot) -> Vec<Key> {
        let key = event.key();
        match key.kind() {
            kinds::SECRET if event.after().is_some_and(|secret| account_of(secret).is_some()) => vec![key.clone()],
            // They tell of the authorities, too.
            kinds::SECRET if *key == api::authority::key() => {
                let secrets = view.list(kinds::SECRET).filter(|secret| account_of(secret).is_some());
                secrets.map(|secret| secret.key().clone()).collect()
            }
            kinds::SERVICE_ACCOUNT => {
                let secrets = view.list_in(kinds::SECRET, key.namespace());
                secrets.filter(|secret| account_of(secret) == Some(key.name())).map(|it| it.key().clone()).collect()
            }
            _ => Vec::new(),
        }
    }

    fn reconcile(&self, key: &Key, view: &Snapshot, _look: Look<'_>) -> Plan {
        let Some(object) = view.get(key).filter(|object| !object.meta().is_terminating()) else {
            return Plan::nothing();
        };
        let (Some(name), Ok(secret)) = (account_of(object), object.decode::<Secret>()) else { return Plan::nothing() };
        if secret.type_.as_deref() != Some(TYPE) {
            return Plan::nothing();
        }
        let account = view.get(&key.sibling(kinds::SERVICE_ACCOUNT, name));
        let is_meant = |account: &&Object| {
            object.meta().annotations.get(ACCOUNT_UID).is_none_or(|uid| **uid == *account.meta().uid)
        };
        match account.filter(is_meant) {
            None => Plan::of(Txn::delete(object)),
            Some(account) => Plan::of(self.filled(object, account, agreed(view, self.certificate.as_ref()))),
        }
    }
}

impl AccountSecrets {
    fn filled(&self, object: &Object, account: &Object, certificate: Option<Arc<str>>) -> Txn {
        let Some(sign) = &self.sign else { return Txn::default() };
        let (key, uid) = (object.key(), &*account.meta().uid);
        let txn = replaced::<Secret>(object, |secret| {
            secret.metadata.annotations.get_or_insert_default().insert(ACCOUNT_UID.into(), uid.into());
            let data = secret.data.get_or_insert_default();
            data.entry("namespace".into()).or_insert_with(|| ByteString(key.namespace().into()));
            if let Some(certificate) = &certificate {
                data.insert("ca.crt".into(), ByteString(certificate.as_bytes().to_vec()));
            }
            if data.get("token").is_none_or(|token| token.0.is_empty())
                && let Ok(token) = sign(&claims(key, account))
            {
                data.insert("token".into(), ByteString(token.into_bytes()));
            }
        });
        if txn.is_empty() { txn } else { txn.guard(Guard::Alive(account.key().clone())) }
    }
}

/// The account that a secret says it is for.
fn account_of(secret: &Object) -> Option<&str> {
    secret.meta().annotations.get(ACCOUNT).map(String::as_str)
}

fn claims(secret: &Key, account: &Object) -> Claims {
    let name = account.key().name();
    Claims {
        iss: jwt::SECRET_ISSUER.into(),
        sub: jwt::account_user(secret.namespace(), name),
        secret: SecretClaims {
            namespace: Some(secret.namespace().into()),
            secret_name: Some(secret.name().into()),
            account_name: Some(name.into()),
            account_uid: Some(account.meta().uid.as_ref().into()),
        },
        ..Claims::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Signers;
    use crate::notation::{check, config, object};
    use serde_json::{Value, json};

    fn expect(objects: &[Object], told: &[&str]) {
        let sign: SignToken = Arc::new(|claims: &Claims| Ok(format!("for {}", claims.sub)));
        let signers = Signers { certificate: None, token: Some(sign) };
        let controller = AccountSecrets::new(&Config { signers, root_certificate: Some("PEM".into()), ..config() });
        check(&controller, objects, objects[0].key(), &["/data"], told);
    }

    fn secret(more: Value) -> Object {
        let mut annotations = json!({ACCOUNT: "web"});
        annotations.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let value = json!({"metadata": {"annotations": annotations}, "type": TYPE});
        object(kinds::SECRET, "shop/token", value)
    }

    #[test]
    fn a_secret_gets_a_token_of_its_account() {
        let account = object(kinds::SERVICE_ACCOUNT, "shop/web", json!({}));
        let text = |text: &str| serde_json::to_string(&ByteString(text.into())).expect("JSON");
        let data = format!(
            r#"~Secret token {{"ca.crt":{},"namespace":{},"token":{}}}"#,
            text("PEM"),
            text("shop"),
            text("for system:serviceaccount:shop:web")
        );
        expect(&[secret(json!({})), account.clone()], &[&data]);
        expect(&[secret(json!({ACCOUNT_UID: "another"})), account], &["-Secret token"]);
    }

    #[test]
    fn it_goes_with_its_account() {
        expect(&[secret(json!({}))], &["-Secret token"]);
        let opaque = object(kinds::SECRET, "shop/token", json!({"metadata": {"annotations": {ACCOUNT: "web"}}}));
        expect(&[opaque], &[]);
    }
}
