//! The certificates of the cluster's authorities, in every namespace: what a pod needs to know the API by.
//!
//! Which they are is what the servers have agreed; before the first rotation it is what this one was started with.

use std::sync::Arc;

use api::authority::{self, BUNDLE as ENTRY, PUBLISHED as NAME};
use api::{Key, Object, kinds};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use state::{Event, Guard, Snapshot, Txn};

use crate::created::created;
use crate::edit::replaced;
use crate::{Config, Controller, Look, Plan};

const DESCRIPTION: (&str, &str) = (
    "kubernetes.io/description",
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the \
     internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes \
     clusters.",
);

/// The controller that publishes it.
pub(crate) struct RootCertificate {
    /// In PEM; none if the cluster has no authority to tell of.
    certificate: Option<Arc<str>>,
}

// === impl RootCertificate ===

impl RootCertificate {
    /// Publishes the certificate of the configuration.
    pub(crate) fn new(config: &Config) -> Self {
        Self { certificate: config.root_certificate.clone() }
    }
}

impl Controller for RootCertificate {
    fn name(&self) -> &'static str {
        "root-certificate"
    }

    fn affected(&self, event: &Event, view: &Snapshot) -> Vec<Key> {
        let key = event.key();
        match key.kind() {
            kinds::NAMESPACE if event.after().is_some() => vec![key.clone()],
            kinds::CONFIG_MAP if key.name() == NAME => vec![kinds::NAMESPACE.cluster_key(key.namespace())],
            kinds::SECRET if *key == authority::key() => {
                view.list(kinds::NAMESPACE).map(|namespace| namespace.key().clone()).collect()
            }
            _ => Vec::new(),
        }
    }

    fn reconcile(&self, key: &Key, view: &Snapshot, look: Look<'_>) -> Plan {
        let (Some(certificate), Some(namespace)) = (agreed(view, self.certificate.as_ref()), view.get(key)) else {
            return Plan::nothing();
        };
        if namespace.meta().is_terminating() {
            return Plan::nothing();
        }
        match view.get(&kinds::CONFIG_MAP.key(key.name(), NAME)) {
            Some(known) => Plan::of(corrected(known, &certificate)),
            None => published(&certificate, key, look),
        }
    }
}

/// Who is trusted, PEM: those whom the servers have agreed on, or else whom this one was started with.
pub(crate) fn agreed(view: &Snapshot, started: Option<&Arc<str>>) -> Option<Arc<str>> {
    let secret = view.get(&authority::key()).and_then(|secret| secret.decode::<Secret>().ok());
    let bundle = secret.as_ref().and_then(|secret| secret.data.as_ref()?.get(ENTRY));
    let bundle = bundle.and_then(|bundle| std::str::from_utf8(&bundle.0).ok()).filter(|bundle| !bundle.is_empty());
    bundle.map(Arc::from).or_else(|| started.cloned())
}

fn published(certificate: &str, home: &Key, look: Look<'_>) -> Plan {
    let wanted = ConfigMap {
        metadata: ObjectMeta {
            name: Some(NAME.into()),
            namespace: Some(home.name().into()),
            annotations: Some([(DESCRIPTION.0.into(), DESCRIPTION.1.into())].into()),
            ..ObjectMeta::default()
        },
        data: Some([(ENTRY.into(), certificate.into())].into()),
        ..ConfigMap::default()
    };
    match created(kinds::CONFIG_MAP, &wanted, look) {
        Ok(wanted) => Plan::of(Txn::create(wanted).guard(Guard::Alive(home.clone()))),
        Err(_) => Plan::nothing(),
    }
}

/// What somebody else wrote into it does not stay.
fn corrected(known: &Object, certificate: &str) -> Txn {
    replaced::<ConfigMap>(known, |known| known.data = Some([(ENTRY.into(), certificate.into())].into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notation::{check, config, object};
    use serde_json::json;

    fn expect(objects: &[Object], told: &[&str]) {
        let controller = RootCertificate::new(&Config { root_certificate: Some("PEM".into()), ..config() });
        check(&controller, objects, objects[0].key(), &["/data"], told);
    }

    #[test]
    fn every_living_namespace_has_it() {
        expect(&[object(kinds::NAMESPACE, "shop", json!({}))], &[r#"+ConfigMap kube-root-ca.crt {"ca.crt":"PEM"}"#]);
        let ending = json!({"metadata": {"deletionTimestamp": "2026-11-21T11:59:00Z"}});
        expect(&[object(kinds::NAMESPACE, "shop", ending)], &[]);
    }

    #[test]
    fn what_the_servers_agreed_on_is_told_to_all() {
        let shop = object(kinds::NAMESPACE, "shop", json!({}));
        let agreed = object(
            kinds::SECRET,
            &format!("{}/{}", authority::NAMESPACE, authority::SECRET),
            json!({"data": {"ca.crt": k8s_openapi::ByteString(b"BOTH".to_vec())}}),
        );
        let says = object(kinds::CONFIG_MAP, "shop/kube-root-ca.crt", json!({"data": {"ca.crt": "PEM"}}));
        expect(&[shop.clone(), says, agreed.clone()], &[r#"~ConfigMap kube-root-ca.crt {"ca.crt":"BOTH"}"#]);
        let view = Snapshot::load(state::Revision(1), [shop.clone(), agreed.clone()]);
        let event = Event { revision: agreed.revision(), change: state::Change::Added(agreed) };
        let controller = RootCertificate::new(&config());
        assert_eq!(controller.affected(&event, &view), [shop.key().clone()]);
    }

    #[test]
    fn what_it_says_is_kept_true() {
        let shop = object(kinds::NAMESPACE, "shop", json!({}));
        let says = |data| object(kinds::CONFIG_MAP, "shop/kube-root-ca.crt", json!({"data": data}));
        expect(&[shop.clone(), says(json!({"ca.crt": "PEM"}))], &[]);
        let wrong = says(json!({"ca.crt": "mine", "more": ""}));
        expect(&[shop, wrong], &[r#"~ConfigMap kube-root-ca.crt {"ca.crt":"PEM"}"#]);
    }
}
