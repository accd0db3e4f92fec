//! Somebody wants a certificate: asked for, approved or denied, and issued.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use serde_json::Value;

use super::{AGE, NAME, text};
use crate::rules::Causes;
use crate::{Cause, Column, Names, Resource, Scope, Subresource, cells, certificate_request, duration};

/// The kind.
#[derive(Debug)]
pub struct CertificateSigningRequests;

/// What may be asked to be done with a certificate, in the order in which it is told.
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];
/// What was decided; none of it is taken back.
const FINAL: [&str; 3] = ["Approved", "Denied", "Failed"];
/// As Kubernetes has it.
const SECONDS_MIN: i32 = 600;
const SIGNER_FORM: &str = "must be a fully qualified domain and path of the form 'example.com/signer-name'";

impl Resource for CertificateSigningRequests {
    type Object = CertificateSigningRequest;

    const NAMES: &'static Names = &Names {
        group: "certificates.k8s.io",
        version: "v1",
        kind: "CertificateSigningRequest",
        plural: "certificatesigningrequests",
        singular: "certificatesigningrequest",
        short: &["csr"],
        categories: &[],
        scope: Scope::Cluster,
    };
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Approval, Subresource::Status];
    const COLUMNS: &'static [Column] = &[
        NAME,
        AGE,
        text("SignerName", "Who is asked to sign."),
        text("Requestor", "Who asks."),
        text("RequestedDuration", "How long the certificate is to be valid."),
        text("Condition", "What became of it."),
    ];
    const SELECTABLE: &'static [&'static str] = &["spec.signerName"];

    /// What is asked does not change.
    fn prepare_update(request: &mut CertificateSigningRequest, old: &CertificateSigningRequest) {
        request.spec = old.spec.clone();
    }

    fn validate(request: &CertificateSigningRequest, causes: &mut Causes) {
        let spec = &request.spec;
        if let Err(why) = certificate_request::parse(&spec.request.0) {
            causes.invalid_go("spec.request", &go_bytes(&spec.request.0), &format!("unable to parse csr: {why}"));
        }
        let usages = spec.usages.as_deref().unwrap_or_default();
        if usages.is_empty() {
            causes.required("spec.usages", "usages must be provided");
        }
        let mut seen = BTreeSet::new();
        for (index, usage) in usages.iter().enumerate() {
            if !USAGES.contains(&usage.as_str()) {
                causes.unsupported(format!("spec.usages[{index}]"), usage, &USAGES);
            }
            if !seen.insert(usage) {
                causes.duplicate(format!("spec.usages[{index}]"), usage);
            }
        }
        signer(&spec.signer_name, causes);
        if let Some(seconds) = spec.expiration_seconds.filter(|seconds| *seconds < SECONDS_MIN) {
            let detail = "may not specify a duration less than 600 seconds (10 minutes)";
            causes.invalid("spec.expirationSeconds", seconds, detail);
        }
    }

    fn cells(request: &CertificateSigningRequest, now: Timestamp) -> Vec<Value> {
        let spec = &request.spec;
        let lasts = spec.expiration_seconds.map(|seconds| duration::human(seconds.into()));
        vec![
            cells::name(&request.metadata),
            cells::age(&request.metadata, now),
            cells::text(Some(&spec.signer_name)),
            spec.username.as_deref().unwrap_or_default().into(),
            cells::text(lasts.as_deref()),
            condition(request).into(),
        ]
    }

    fn fields(request: &CertificateSigningRequest) -> Vec<(&'static str, String)> {
        vec![("spec.signerName", request.spec.signer_name.clone())]
    }
}

/// Everything wrong with a change of what was decided, by whoever approves or by whoever signs.
pub fn judge_decision(
    part: Subresource,
    new: &CertificateSigningRequest,
    old: &CertificateSigningRequest,
) -> Vec<Cause> {
    let mut causes = Causes::default();
    let conditions = |request: &CertificateSigningRequest| conditions(request).to_vec();
    let (new_conditions, old_conditions) = (conditions(new), conditions(old));
    let count = |list: &[CertificateSigningRequestCondition], kind: &str| {
        list.iter().filter(|condition| condition.type_ == kind).count()
    };
    for kind in FINAL {
        if count(&new_conditions, kind) < count(&old_conditions, kind) {
            let why = format!("updates may not remove a condition of type {kind:?}");
            causes.forbidden("status.conditions", &why);
        }
    }
    if part != Subresource::Approval {
        for kind in ["Approved", "Denied"] {
            if count(&new_conditions, kind) > count(&old_conditions, kind) {
                causes.forbidden("status.conditions", &format!("updates may not add a condition of type {kind:?}"));
            }
        }
    }
    let certificate = |request: &CertificateSigningRequest| {
        let status = request.status.as_ref();
        status.and_then(|status| status.certificate.clone()).map(|bytes| bytes.0).unwrap_or_default()
    };
    let (issued, before) = (certificate(new), certificate(old));
    if issued != before && part == Subresource::Approval {
        causes.forbidden("status.certificate", "updates may not set certificate content");
    } else if issued != before && !before.is_empty() {
        causes.forbidden("status.certificate", "updates may not modify existing certificate content");
    } else if issued != before && !issued.windows(PEM.len()).any(|bytes| bytes == PEM) {
        causes.invalid("status.certificate", "<certificate data>", "must contain at least one CERTIFICATE PEM block");
    }
    for (index, condition) in new_conditions.iter().enumerate() {
        judge_condition(index, condition, &new_conditions, &mut causes);
    }
    causes.into_inner()
}

const PEM: &[u8] = b"-----BEGIN CERTIFICATE-----";

fn judge_condition(
    index: usize,
    condition: &CertificateSigningRequestCondition,
    all: &[CertificateSigningRequestCondition],
    causes: &mut Causes,
) {
    let path = format!("status.conditions[{index}]");
    let kind = condition.type_.as_str();
    if kind.is_empty() {
        causes.required(format!("{path}.type"), "");
    }
    match condition.status.as_str() {
        "" => causes.required(format!("{path}.status"), ""),
        "True" => {}
        "False" | "Unknown" if FINAL.contains(&kind) => {
            causes.unsupported(format!("{path}.status"), &condition.status, &["True"]);
        }
        "False" | "Unknown" => {}
        other => causes.unsupported(format!("{path}.status"), other, &["False", "True", "Unknown"]),
    }
    if all[..index].iter().any(|before| before.type_ == kind) {
        causes.duplicate(format!("{path}.type"), kind);
    }
    let other = match kind {
        "Approved" => "Denied",
        "Denied" => "Approved",
        _ => return,
    };
    if all[..index].iter().any(|before| before.type_ == other) {
        causes.invalid(format!("{path}.type"), kind, "Approved and Denied conditions are mutually exclusive");
    }
}

fn conditions(request: &CertificateSigningRequest) -> &[CertificateSigningRequestCondition] {
    request.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default()
}

/// What became of a request, in a word or two.
fn condition(request: &CertificateSigningRequest) -> String {
    let has = |kind: &str| conditions(request).iter().any(|condition| condition.type_ == kind);
    let mut told = if has("Denied") {
        "Denied"
    } else if has("Approved") {
        "Approved"
    } else {
        "Pending"
    }
    .to_owned();
    if has("Failed") {
        told.push_str(",Failed");
    }
    let status = request.status.as_ref();
    if status.and_then(|status| status.certificate.as_ref()).is_some_and(|bytes| !bytes.0.is_empty()) {
        told.push_str(",Issued");
    }
    told
}

fn signer(name: &str, causes: &mut Causes) {
    const FIELD: &str = "spec.signerName";
    match name.split_once('/') {
        _ if name.is_empty() => causes.required(FIELD, ""),
        _ if name == "kubernetes.io/legacy-unknown" => {
            causes.invalid(FIELD, name, "the legacy signerName is not allowed via this API version");
        }
        Some((domain, path)) if domain.contains('.') && !path.is_empty() && !path.contains('/') => {
            for name in [domain, path] {
                crate::rules::NameRule::Subdomain.check(FIELD, name, causes);
            }
        }
        _ => causes.invalid(FIELD, name, SIGNER_FORM),
    }
}

/// Bytes as Go prints them.
fn go_bytes(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "[]byte(nil)".into();
    }
    let mut told = String::from("[]byte{");
    for (index, byte) in bytes.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        let _ = write!(told, "{comma}{byte:#x}");
    }
    told.push('}');
    told
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use crate::kinds::CERTIFICATE_SIGNING_REQUEST as KIND;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use serde_json::json;

    fn request() -> Value {
        let pem = include_str!("../certificate_request/node.csr");
        json!({"metadata": {"name": "n1"}, "spec": {
            "request": BASE64.encode(pem), "signerName": "kubernetes.io/kubelet-serving",
            "usages": ["digital signature", "server auth"], "expirationSeconds": 86400, "username": "eve",
        }})
    }

    #[test]
    fn what_breaks_a_rule_is_told_in_kubernetes_words() {
        let check = |path: &str, wrong: Value, expect: &str| {
            assert_eq!(testing::refusal(KIND, request(), path, wrong), expect);
        };
        check(
            "/spec/request",
            BASE64.encode("no").into(),
            "spec.request: Invalid value: []byte{0x6e, 0x6f}: unable to parse csr: PEM block type must be CERTIFICATE REQUEST",
        );
        check("/spec/usages/1", "digital signature".into(), "spec.usages[1]: Duplicate value: \"digital signature\"");
        check("/spec/usages", json!([]), "spec.usages: Required value: usages must be provided");
        check("/spec/signerName", "".into(), "spec.signerName: Required value");
        check(
            "/spec/signerName",
            "example".into(),
            "spec.signerName: Invalid value: \"example\": must be a fully qualified domain and path of the form 'example.com/signer-name'",
        );
        check(
            "/spec/expirationSeconds",
            json!(599),
            "spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 600 seconds (10 minutes)",
        );
    }

    #[test]
    fn what_is_asked_does_not_change() {
        let old = testing::created(KIND, request());
        let changed = testing::with(&old, &[("/spec/signerName", "kubernetes.io/kube-apiserver-client".into())]);
        let now = testing::update(&old, changed).expect("taken").object;
        assert_eq!(testing::tree(&now)["spec"], testing::tree(&old)["spec"]);
    }

    fn decided(conditions: Value, certificate: &str) -> CertificateSigningRequest {
        let mut value = request();
        value["status"] = json!({"conditions": conditions, "certificate": BASE64.encode(certificate)});
        serde_json::from_value(value).expect("a request")
    }

    fn check(part: Subresource, new: (Value, &str), old: (Value, &str), expect: &[&str]) {
        let causes = judge_decision(part, &decided(new.0, new.1), &decided(old.0, old.1));
        let told: Vec<String> = causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
        assert_eq!(told, expect);
    }

    #[test]
    fn decisions_are_not_taken_back_and_not_mixed() {
        use Subresource::{Approval, Status};
        let of = |kind: &str| json!({"type": kind, "status": "True"});
        let (yes, no) = (of("Approved"), of("Denied"));
        check(Approval, (json!([yes]), ""), (json!([]), ""), &[]);
        check(
            Approval,
            (json!([]), ""),
            (json!([yes]), ""),
            &["status.conditions: Forbidden: updates may not remove a condition of type \"Approved\""],
        );
        check(
            Approval,
            (json!([yes, no]), ""),
            (json!([yes]), ""),
            &[
                "status.conditions[1].type: Invalid value: \"Denied\": Approved and Denied conditions are mutually exclusive",
            ],
        );
        check(
            Approval,
            (json!([yes]), "x"),
            (json!([]), ""),
            &["status.certificate: Forbidden: updates may not set certificate content"],
        );
        check(
            Status,
            (json!([yes]), ""),
            (json!([]), ""),
            &["status.conditions: Forbidden: updates may not add a condition of type \"Approved\""],
        );
        let pem = "-----BEGIN CERTIFICATE-----";
        check(Status, (json!([yes]), pem), (json!([yes]), ""), &[]);
        check(
            Status,
            (json!([yes]), pem),
            (json!([yes]), "other"),
            &["status.certificate: Forbidden: updates may not modify existing certificate content"],
        );
    }

    #[test]
    fn its_row_tells_what_became_of_it() {
        let mut value = testing::completed(KIND, request());
        assert_eq!(
            testing::row(KIND, &value),
            json!(["n1", "5m3s", "kubernetes.io/kubelet-serving", "eve", "24h", "Pending"])
        );
        let approved = json!({"type": "Approved", "status": "True"});
        value["status"] = json!({"conditions": [approved], "certificate": BASE64.encode("x")});
        assert_eq!(testing::row(KIND, &value)[5], "Approved,Issued");
    }
}
