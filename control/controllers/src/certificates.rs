//! Requests for certificates: nodes' own are approved, what is approved is signed, and what is over is forgotten.
//!
//! The rules of each signer are `api`'s; nothing here has a key. A request that breaks the rules of its signer fails for good.

use api::certificate_request::{self, CLIENT, NODE_CLIENT, NODE_SERVER};
use api::{Key, Object, kinds};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use state::{Event, Snapshot, Txn};

use crate::edit::replaced;
use crate::signers::{CertificateOrder, Signers};
use crate::{Config, Controller, Look, Plan};

/// The controller of requests for certificates.
pub(crate) struct Certificates {
    signers: Signers,
}

/// As Kubernetes has it: a certificate lasts a year unless less is asked for.
const LIFE_MAX: SignedDuration = SignedDuration::from_hours(365 * 24);
/// As Kubernetes has it: for clocks that differ.
const BACKDATE: SignedDuration = SignedDuration::from_mins(5);
/// As Kubernetes has it: what was decided is kept so long, for whoever asked.
const DECIDED_KEPT: SignedDuration = SignedDuration::from_hours(1);
/// As Kubernetes has it: what nobody decides is kept so long.
const PENDING_KEPT: SignedDuration = SignedDuration::from_hours(24);

const SELF_NODE: &str = "Auto approving self kubelet client certificate after SubjectAccessReview.";
const NEW_NODE: &str = "Auto approving kubelet client certificate after SubjectAccessReview.";

// === impl Certificates ===

impl Certificates {
    /// Has certificates signed by whom the configuration names.
    pub(crate) fn new(config: &Config) -> Self {
        Self { signers: config.signers.clone() }
    }
}

impl Controller for Certificates {
    fn name(&self) -> &'static str {
        "certificates"
    }

    fn affected(&self, event: &Event, _view: &Snapshot) -> Vec<Key> {
        let is_there = event.key().kind() == kinds::CERTIFICATE_SIGNING_REQUEST && event.after().is_some();
        if is_there { vec![event.key().clone()] } else { Vec::new() }
    }

    fn reconcile(&self, key: &Key, view: &Snapshot, look: Look<'_>) -> Plan {
        let Some(object) = view.get(key) else { return Plan::nothing() };
        let Ok(request) = object.decode::<CertificateSigningRequest>() else { return Plan::nothing() };
        let forgotten_at = forgotten_at(object, &request);
        if forgotten_at.is_some_and(|at| at <= look.now) {
            return Plan::of(Txn::delete(object));
        }
        let plan = match says(&request, "Approved") {
            _ if says(&request, "Denied") || says(&request, "Failed") || is_issued(&request) => Plan::nothing(),
            false => approved(object, &request, look),
            true => self.signed(object, &request, look),
        };
        plan.again_at(forgotten_at)
    }
}

impl Certificates {
    /// What is approved gets its certificate, or is told why it gets none. Other signers are other people's.
    fn signed(&self, object: &Object, request: &CertificateSigningRequest, look: Look<'_>) -> Plan {
        let spec = &request.spec;
        let Some(sign) = self.signers.certificate.as_ref().filter(|_| is_ours(&spec.signer_name)) else {
            return Plan::nothing();
        };
        let usages = spec.usages.clone().unwrap_or_default();
        let wanted = certificate_request::parse(&spec.request.0).map_err(|error| error.to_string());
        let judged =
            wanted.and_then(|wanted| match certificate_request::refusal(&spec.signer_name, &wanted, &usages) {
                Some(why) => Err(why),
                None => Ok(()),
            });
        let life = spec.expiration_seconds.map_or(LIFE_MAX, |seconds| SignedDuration::from_secs(seconds.into()));
        let order = CertificateOrder {
            request: spec.request.0.clone(),
            usages,
            begins: look.now - BACKDATE,
            ends: look.now + life.min(LIFE_MAX),
        };
        match judged.and_then(|()| sign(&order)) {
            Ok(certificate) => Plan::of(replaced::<CertificateSigningRequest>(object, |request| {
                let status = request.status.get_or_insert_default();
                status.certificate = Some(ByteString(certificate.into_bytes()));
            })),
            Err(why) => Plan::of(decide(object, "Failed", "SignerValidationFailure", &why, look)),
        }
    }
}

/// The request approved, if it is a node's for itself or that of a machine that may become one.
fn approved(object: &Object, request: &CertificateSigningRequest, look: Look<'_>) -> Plan {
    let spec = &request.spec;
    let usages = spec.usages.clone().unwrap_or_default();
    let Ok(wanted) = certificate_request::parse(&spec.request.0) else { return Plan::nothing() };
    if spec.signer_name != NODE_CLIENT || certificate_request::refusal(NODE_CLIENT, &wanted, &usages).is_some() {
        return Plan::nothing();
    }
    let is_in = |group: &str| spec.groups.iter().flatten().any(|known| known == group);
    let why = if is_in("system:nodes") && spec.username.as_deref() == Some(&wanted.common_name) {
        SELF_NODE
    } else if is_in("system:bootstrappers") {
        NEW_NODE
    } else {
        return Plan::nothing();
    };
    Plan::of(decide(object, "Approved", "AutoApproved", why, look))
}

fn decide(object: &Object, kind: &str, reason: &str, message: &str, look: Look<'_>) -> Txn {
    replaced::<CertificateSigningRequest>(object, |request| {
        let conditions = request.status.get_or_insert_default().conditions.get_or_insert_default();
        conditions.push(CertificateSigningRequestCondition {
            type_: kind.into(),
            status: "True".into(),
            reason: Some(reason.into()),
            message: Some(message.into()),
            last_update_time: Some(look.time()),
            last_transition_time: Some(look.time()),
        });
    })
}

fn is_ours(signer: &str) -> bool {
    [CLIENT, NODE_CLIENT, NODE_SERVER].contains(&signer)
}

fn is_issued(request: &CertificateSigningRequest) -> bool {
    let certificate = request.status.as_ref().and_then(|status| status.certificate.as_ref());
    certificate.is_some_and(|certificate| !certificate.0.is_empty())
}

fn condition<'a>(request: &'a CertificateSigningRequest, kind: &str) -> Option<&'a CertificateSigningRequestCondition> {
    let mut conditions = request.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.find(|condition| condition.type_ == kind)
}

fn says(request: &CertificateSigningRequest, kind: &str) -> bool {
    condition(request, kind).is_some()
}

/// When a request is over and done with. One that was approved and waits for a signer of others is not.
fn forgotten_at(object: &Object, request: &CertificateSigningRequest) -> Option<Timestamp> {
    let created = object.meta().creation_timestamp?;
    let decided = |kind: &str| {
        let condition = condition(request, kind)?;
        Some(condition.last_update_time.as_ref().map_or(created, |time| time.0) + DECIDED_KEPT)
    };
    if let Some(at) = decided("Denied").or_else(|| decided("Failed")) {
        return Some(at);
    }
    match decided("Approved") {
        None => Some(created + PENDING_KEPT),
        Some(at) => is_issued(request).then_some(at),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::notation::{check, config, object};
    use serde_json::{Value, json};

    /// The request of `n1`, whose subject is a node's; it asks to be a server at `n1` and 192.0.2.1.
    const SERVER: &str = include_str!("../../api/src/certificate_request/node.csr");
    /// The same without names of servers.
    const CLIENT_OF_NODE: &str = include_str!("certificates/node-client.csr");

    fn request(signer: &str, pem: &str, more: Value, conditions: Value) -> Object {
        let usage = if signer == NODE_SERVER { "server auth" } else { "client auth" };
        let mut spec = json!({
            "request": ByteString(pem.into()), "signerName": signer, "usages": ["digital signature", usage],
        });
        spec.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let metadata = json!({"creationTimestamp": "2026-11-21T11:59:00Z"});
        let (version, status) = ("certificates.k8s.io/v1", json!({"conditions": conditions}));
        let value = json!({"apiVersion": version, "metadata": metadata, "spec": spec, "status": status});
        object(kinds::CERTIFICATE_SIGNING_REQUEST, "r", value)
    }

    fn expect(request: &Object, told: &[&str]) {
        let sign: crate::SignCertificate = Arc::new(|order: &CertificateOrder| {
            let life = order.ends.duration_since(order.begins).as_secs();
            Ok(format!("{} for {life} s", order.usages.join("+")))
        });
        let signers = Signers { certificate: Some(sign), token: None };
        let controller = Certificates::new(&Config { signers, ..config() });
        let show = [
            "/status/conditions/0/type",
            "/status/conditions/0/message",
            "/status/conditions/1/message",
            "/status/certificate",
        ];
        check(&controller, std::slice::from_ref(request), request.key(), &show, told);
    }

    fn yes() -> Value {
        json!([{"type": "Approved", "status": "True", "lastUpdateTime": "2026-11-21T11:59:30Z"}])
    }

    #[test]
    fn a_nodes_own_request_is_approved_and_nobody_elses() {
        let node = json!({"username": "system:node:n1", "groups": ["system:nodes"]});
        let ask = |who: &Value| request(NODE_CLIENT, CLIENT_OF_NODE, who.clone(), json!([]));
        expect(&ask(&node), &[&format!("~CertificateSigningRequest r \"Approved\" {SELF_NODE:?}")]);
        let joining = json!({"username": "system:bootstrap:abcdef", "groups": ["system:bootstrappers"]});
        expect(&ask(&joining), &[&format!("~CertificateSigningRequest r \"Approved\" {NEW_NODE:?}")]);
        expect(&ask(&json!({"username": "system:node:n2", "groups": ["system:nodes"]})), &[]);
        expect(&ask(&json!({"username": "eve", "groups": ["system:authenticated"]})), &[]);
        expect(&request(NODE_SERVER, SERVER, node, json!([])), &[]);
    }

    #[test]
    fn what_is_approved_is_signed() {
        let issued = |text: &str| {
            let certificate = serde_json::to_string(&ByteString(text.into())).expect("JSON");
            format!("~CertificateSigningRequest r \"Approved\" {certificate}")
        };
        let year = 365 * 86_400 + 300;
        expect(
            &request(NODE_SERVER, SERVER, json!({}), yes()),
            &[&issued(&format!("digital signature+server auth for {year} s"))],
        );
        expect(
            &request(CLIENT, SERVER, json!({"expirationSeconds": 600}), yes()),
            &[&issued("digital signature+client auth for 900 s")],
        );
        expect(&request("example.com/own", SERVER, json!({}), yes()), &[]);
        let denied = json!([{"type": "Denied", "status": "True", "lastUpdateTime": "2026-11-21T11:59:30Z"}]);
        expect(&request(CLIENT, SERVER, json!({}), denied), &[]);
    }

    #[test]
    fn what_breaks_the_rules_of_its_signer_fails() {
        expect(
            &request(NODE_CLIENT, SERVER, json!({}), yes()),
            &[r#"~CertificateSigningRequest r "Approved" "DNS subjectAltNames are not allowed""#],
        );
    }

    #[test]
    fn what_is_over_is_forgotten() {
        let at = |kind: &str, time: &str| json!([{"type": kind, "status": "True", "lastUpdateTime": time}]);
        let (early, late) = ("2026-11-21T11:00:00Z", "2026-11-21T11:00:01Z");
        expect(&request(CLIENT, SERVER, json!({}), at("Denied", early)), &["-CertificateSigningRequest r \"Denied\""]);
        expect(&request(CLIENT, SERVER, json!({}), at("Denied", late)), &[]);
        expect(&request(CLIENT, SERVER, json!({}), at("Failed", early)), &["-CertificateSigningRequest r \"Failed\""]);
        let mut old: Value = request(CLIENT, SERVER, json!({}), json!([])).to_value().expect("JSON");
        old["metadata"]["creationTimestamp"] = "2026-11-20T12:00:00Z".into();
        expect(&object(kinds::CERTIFICATE_SIGNING_REQUEST, "r", old), &["-CertificateSigningRequest r"]);
    }
}
