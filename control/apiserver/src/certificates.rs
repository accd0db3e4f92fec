//! Requests for certificates, as far as they are the door's: who asks, what may be asked, and who may write which part.

use api::{GroupKind, Object, StatusError, Subresource, catalog, certificate_request, kinds};
use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use serde_json::{Value, json};

use crate::Door;
use crate::authorization::question::{Question, Resource};
use crate::identity::{Identity, MASTERS, SERVERS};
use crate::rest::Part;

/// The request with who asks in it, whatever it says itself.
pub(crate) fn signed_by(identity: &Identity, kind: GroupKind, mut incoming: Value) -> Value {
    if kind == kinds::CERTIFICATE_SIGNING_REQUEST && incoming["spec"].is_object() {
        let spec = &mut incoming["spec"];
        spec["username"] = identity.user.as_str().into();
        spec["uid"] = identity.uid.as_deref().unwrap_or_default().into();
        spec["groups"] = json!(identity.groups);
        spec["extra"] = json!(identity.extra);
    }
    incoming
}

/// Refuses a request to become somebody who may do everything.
pub(crate) fn restrict(request: &Object) -> Result<(), StatusError> {
    if request.key().kind() != kinds::CERTIFICATE_SIGNING_REQUEST {
        return Ok(());
    }
    let typed = request.decode::<CertificateSigningRequest>().map_err(StatusError::internal)?;
    let wanted = certificate_request::parse(&typed.spec.request.0).unwrap_or_default();
    let group = wanted.organizations.iter().find(|group| [MASTERS, SERVERS].contains(&group.as_str()));
    let Some(group) = group.filter(|_| typed.spec.signer_name == certificate_request::CLIENT) else { return Ok(()) };
    let names = catalog::by_kind(kinds::CERTIFICATE_SIGNING_REQUEST).expect("it is in the catalog").names();
    let why = format!("use of {} signer with {group} group is not allowed", certificate_request::CLIENT);
    Err(StatusError::forbidden(names, request.key().name(), &why))
}

/// Refuses a decision about a request to those who may not decide for its signer.
pub(crate) fn permit(door: &Door, who: &Identity, part: Part, old: &Object) -> Result<(), StatusError> {
    let verb = match part {
        Part::Main | Part::Resize => return Ok(()),
        _ if old.key().kind() != kinds::CERTIFICATE_SIGNING_REQUEST => return Ok(()),
        Part::Status => "sign",
        Part::Approval => "approve",
    };
    let request = old.decode::<CertificateSigningRequest>().map_err(StatusError::internal)?;
    let signer = request.spec.signer_name.as_str();
    let domain = format!("{}/*", signer.split('/').next().unwrap_or_default());
    let may = |name: &str| {
        let signers = Resource::new("certificates.k8s.io", "signers").named(name);
        door.decide(who, &Question::of_resource(verb, signers)).is_yes()
    };
    if may(signer) || may(&domain) {
        return Ok(());
    }
    let names = catalog::by_kind(kinds::CERTIFICATE_SIGNING_REQUEST).expect("it is in the catalog").names();
    let why = format!("user not permitted to {verb} requests with signerName {signer:?}");
    Err(StatusError::forbidden(names, old.key().name(), &why))
}

/// What a write to a part of a request comes to; of anything else it is what was said.
pub(crate) fn decided(part: Part, wanted: Value, old: &Object, now: Timestamp) -> Result<Value, StatusError> {
    let part = match part {
        Part::Main | Part::Resize => return Ok(wanted),
        _ if old.key().kind() != kinds::CERTIFICATE_SIGNING_REQUEST => return Ok(wanted),
        Part::Status => Subresource::Status,
        Part::Approval => Subresource::Approval,
    };
    let mut wanted = wanted;
    date(&mut wanted, old, now)?;
    let old = old.decode::<CertificateSigningRequest>().map_err(StatusError::internal)?;
    let names = catalog::by_kind(kinds::CERTIFICATE_SIGNING_REQUEST).expect("it is in the catalog").names();
    let new: CertificateSigningRequest =
        serde_json::from_value(wanted.clone()).map_err(|error| StatusError::bad_request(error.to_string()))?;
    let causes = catalog::judge_decision(part, &new, &old);
    let name = old.metadata.name.as_deref().unwrap_or_default();
    if causes.is_empty() { Ok(wanted) } else { Err(StatusError::invalid(names, name, causes)) }
}

/// Conditions that are new say since when.
fn date(wanted: &mut Value, old: &Object, now: Timestamp) -> Result<(), StatusError> {
    let old = old.to_value().map_err(StatusError::internal)?;
    let now = Value::from(now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    let known = old.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
    let conditions = wanted.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten().filter(|condition| condition.is_object()) {
        let before = known.iter().find(|known| known["type"] == condition["type"]);
        if condition["lastUpdateTime"].is_null() {
            condition["lastUpdateTime"] = now.clone();
        }
        if condition["lastTransitionTime"].is_null() {
            let since = before.filter(|before| before["status"] == condition["status"]);
            let since = since.map(|before| before["lastTransitionTime"].clone()).filter(|since| !since.is_null());
            condition["lastTransitionTime"] = since.unwrap_or_else(|| now.clone());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Object {
        let mut value = value;
        value["apiVersion"] = "certificates.k8s.io/v1".into();
        value["kind"] = "CertificateSigningRequest".into();
        value["metadata"] = json!({"name": "r"});
        Object::from_value(kinds::CERTIFICATE_SIGNING_REQUEST, &value).expect("an object")
    }

    #[test]
    fn who_asks_is_not_for_who_asks_to_say() {
        let eve = Identity { uid: Some("u".into()), ..Identity::known("eve", []) };
        let said = json!({"spec": {"username": "admin", "groups": [MASTERS]}});
        let spec = signed_by(&eve, kinds::CERTIFICATE_SIGNING_REQUEST, said.clone())["spec"].clone();
        assert_eq!(spec, json!({"username": "eve", "uid": "u", "groups": ["system:authenticated"], "extra": {}}));
        assert_eq!(signed_by(&eve, kinds::POD, said.clone()), said);
    }

    #[test]
    fn a_new_condition_says_since_when() {
        let old = object(json!({"spec": {"request": "", "signerName": "s"}}));
        let now = "2026-11-21T12:00:00Z".parse().expect("a time");
        let mut said = old.to_value().expect("JSON");
        said["status"] = json!({"conditions": [{"type": "Approved", "status": "True"}]});
        let decided = decided(Part::Approval, said, &old, now).expect("fine");
        assert_eq!(decided["status"]["conditions"][0]["lastTransitionTime"], "2026-11-21T12:00:00Z");
        assert_eq!(decided["status"]["conditions"][0]["lastUpdateTime"], "2026-11-21T12:00:00Z");
    }
}
