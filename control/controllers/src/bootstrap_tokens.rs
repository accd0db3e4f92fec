//! Bootstrap tokens that are over are forgotten, as Kubernetes' token cleaner forgets them.

use api::{Key, Object, kinds};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use state::{Event, Snapshot, Txn};

use crate::{Controller, Look, Plan};

/// The controller that forgets them.
pub(crate) struct BootstrapTokens;

/// The type of such a secret, and where it lives.
const TYPE: &str = "bootstrap.kubernetes.io/token";
const NAMESPACE: &str = "kube-system";

// === impl BootstrapTokens ===

impl Controller for BootstrapTokens {
    fn name(&self) -> &'static str {
        "bootstrap-tokens"
    }

    fn affected(&self, event: &Event, _view: &Snapshot) -> Vec<Key> {
        let key = event.key();
        let is_one = key.kind() == kinds::SECRET && key.namespace() == NAMESPACE && event.after().is_some();
        if is_one { vec![key.clone()] } else { Vec::new() }
    }

    fn reconcile(&self, key: &Key, view: &Snapshot, look: Look<'_>) -> Plan {
        let Some(object) = view.get(key) else { return Plan::nothing() };
        match expiration(object) {
            Some(at) if at <= look.now => Plan::of(Txn::delete(object)),
            at => Plan::nothing().again_at(at),
        }
    }
}

/// When a token ends; none if it does not, or if the secret is of another type.
fn expiration(object: &Object) -> Option<Timestamp> {
    let secret = object.decode::<Secret>().ok().filter(|secret| secret.type_.as_deref() == Some(TYPE))?;
    let at = secret.data.as_ref()?.get("expiration")?;
    std::str::from_utf8(&at.0).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notation::{check, object};
    use k8s_openapi::ByteString;
    use serde_json::json;

    #[test]
    fn a_token_ends_when_it_says() {
        let expect = |kind: &str, at: &str, told: &[&str]| {
            let value = json!({"type": kind, "data": {"expiration": ByteString(at.into())}});
            let secret = object(kinds::SECRET, "kube-system/bootstrap-token-abcdef", value);
            check(&BootstrapTokens, std::slice::from_ref(&secret), secret.key(), &[], told);
        };
        expect(TYPE, "2026-11-21T12:00:00Z", &["-Secret bootstrap-token-abcdef"]);
        expect(TYPE, "2026-11-21T12:00:01Z", &[]);
        expect("Opaque", "2026-11-21T12:00:00Z", &[]);
    }
}
