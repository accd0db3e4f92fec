//! A webhook: whom it is asked about, what it is sent, and how its answer is read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::cel::Authorizer;
use api::policies::{Asked, Matcher, Verdict};
use api::{Reason, StatusError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MutatingWebhook, RuleWithOperations, ValidatingWebhook, WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use rustls::ClientConfig;
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::warn;

use super::Candidate;
use super::call::{Place, call, trusting};

/// The form of a review that is spoken here.
const REVIEW: &str = "admission.k8s.io/v1";
/// As Kubernetes has it.
const TIMEOUT_SECONDS: i32 = 10;

/// A compiled webhook.
pub(super) struct Webhook {
    name: String,
    /// The object that names it, for the log.
    configuration: String,
    matcher: Result<Matcher, String>,
    fails_closed: bool,
    timeout: Duration,
    place: Place,
    tls: Result<Arc<ClientConfig>, String>,
    speaks_v1: bool,
    /// Whether it wants to see what others made of an object after it was asked.
    pub(super) is_reinvoked: bool,
}

/// What a webhook answers when it lets a request pass.
#[derive(Default)]
pub(super) struct Answered {
    pub(super) warnings: Vec<String>,
    pub(super) patch: Option<Value>,
}

/// What both kinds of webhooks have.
struct Common<'a> {
    name: &'a str,
    client: &'a WebhookClientConfig,
    rules: Option<&'a [RuleWithOperations]>,
    match_policy: Option<&'a str>,
    selectors: (Option<&'a LabelSelector>, Option<&'a LabelSelector>),
    conditions: Option<&'a [MatchCondition]>,
    failure_policy: Option<&'a str>,
    timeout_seconds: Option<i32>,
    versions: &'a [String],
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    response: Option<Response>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Response {
    uid: String,
    allowed: bool,
    status: Option<Status>,
    patch: Option<String>,
    patch_type: Option<String>,
    warnings: Vec<String>,
    audit_annotations: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    code: u16,
    message: String,
    reason: String,
}

// === impl Webhook ===

impl Webhook {
    pub(super) fn mutating(configuration: &str, webhook: &MutatingWebhook) -> Self {
        let common = Common {
            name: &webhook.name,
            client: &webhook.client_config,
            rules: webhook.rules.as_deref(),
            match_policy: webhook.match_policy.as_deref(),
            selectors: (webhook.namespace_selector.as_ref(), webhook.object_selector.as_ref()),
            conditions: webhook.match_conditions.as_deref(),
            failure_policy: webhook.failure_policy.as_deref(),
            timeout_seconds: webhook.timeout_seconds,
            versions: &webhook.admission_review_versions,
        };
        let is_reinvoked = webhook.reinvocation_policy.as_deref() == Some("IfNeeded");
        Self { is_reinvoked, ..Self::new(configuration, &common) }
    }

    pub(super) fn validating(configuration: &str, webhook: &ValidatingWebhook) -> Self {
        let common = Common {
            name: &webhook.name,
            client: &webhook.client_config,
            rules: webhook.rules.as_deref(),
            match_policy: webhook.match_policy.as_deref(),
            selectors: (webhook.namespace_selector.as_ref(), webhook.object_selector.as_ref()),
            conditions: webhook.match_conditions.as_deref(),
            failure_policy: webhook.failure_policy.as_deref(),
            timeout_seconds: webhook.timeout_seconds,
            versions: &webhook.admission_review_versions,
        };
        Self::new(configuration, &common)
    }

    fn new(configuration: &str, common: &Common<'_>) -> Self {
        let timeout_seconds = common.timeout_seconds.unwrap_or(TIMEOUT_SECONDS).clamp(1, 30);
        Self {
            name: common.name.into(),
            configuration: configuration.into(),
            matcher: Matcher::of_webhook(common.rules, common.match_policy, common.selectors, common.conditions),
            fails_closed: common.failure_policy != Some("Ignore"),
            timeout: Duration::from_secs(timeout_seconds.unsigned_abs().into()),
            place: Place::of(common.client, timeout_seconds),
            tls: trusting(common.client.ca_bundle.as_ref().map(|ByteString(pem)| pem.as_slice())),
            speaks_v1: common.versions.iter().any(|version| version == "v1"),
            is_reinvoked: false,
        }
    }

    /// Whether it is to be asked about a request.
    pub(super) fn is_about(&self, asked: &Asked<'_>, authorizer: &dyn Authorizer) -> Result<bool, StatusError> {
        let Ok(matcher) = &self.matcher else { return Ok(false) };
        if !matcher.is_about(asked) {
            return Ok(false);
        }
        match matcher.conditions_of(asked, authorizer) {
            Verdict::Holds => Ok(true),
            Verdict::Fails => Ok(false),
            Verdict::Faulty(why) if self.fails_closed => Err(StatusError::forbidden(asked.names, asked.name, &why)),
            Verdict::Faulty(_) => Ok(false),
        }
    }

    /// Asks it. One that fails refuses, unless it is to be ignored then.
    pub(super) async fn ask(&self, candidate: &Candidate<'_>, asked: &Asked<'_>) -> Result<Answered, StatusError> {
        let uid = candidate.door.uid();
        let failed = |why: String| {
            let message = format!("failed calling webhook {:?}: {why}", self.name);
            if self.fails_closed {
                return Err(StatusError::internal(message));
            }
            warn!(webhook = self.name, configuration = self.configuration, why, "a webhook failed and is ignored");
            Ok(Answered::default())
        };
        if !self.speaks_v1 {
            return failed("webhook does not accept known AdmissionReview versions (v1)".into());
        }
        let mut request = asked.request();
        request["uid"] = uid.as_str().into();
        request["object"] = asked.object.clone();
        request["oldObject"] = asked.old.clone();
        let review = json!({"kind": "AdmissionReview", "apiVersion": REVIEW, "request": request});
        let body = match call(candidate, &self.place, &self.tls, self.timeout, review.to_string()).await {
            Ok(body) => body,
            Err(why) => return failed(format!("failed to call webhook: Post {:?}: {why}", self.place.url())),
        };
        let response = read(&body, &uid);
        for (key, value) in response.iter().flat_map(|response| &response.audit_annotations) {
            candidate.trail.annotate(&format!("{}/{key}", self.name), value);
        }
        match response {
            Ok(response) if response.allowed => match patch_of(&response) {
                Ok(patch) => Ok(Answered { warnings: response.warnings, patch }),
                Err(why) => failed(format!("received invalid webhook response: {why}")),
            },
            Ok(response) => Err(self.denial(response.status.unwrap_or_default())),
            Err(why) => failed(format!("received invalid webhook response: {why}")),
        }
    }

    /// The object as a patch of the webhook makes it.
    pub(super) fn patched(&self, object: Value, patch: &Value) -> Result<Value, StatusError> {
        api::patch::json(object, patch).map_err(|error| {
            StatusError::internal(format!("failed calling webhook {:?}: {}", self.name, error.message))
        })
    }

    fn denial(&self, status: Status) -> StatusError {
        let denied = format!("admission webhook {:?} denied the request", self.name);
        let message = match (status.message.as_str(), status.reason.as_str()) {
            ("", "") => format!("{denied} without explanation"),
            ("", reason) => format!("{denied}: {reason}"),
            (message, _) => format!("{denied}: {message}"),
        };
        StatusError::new(Reason::told(&status.reason, status.code.clamp(400, 599)), message)
    }
}

/// The response to a review, if it is one to ours.
fn read(body: &[u8], uid: &str) -> Result<Response, String> {
    let review: Review = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    if review.api_version != REVIEW || review.kind != "AdmissionReview" {
        let (version, kind) = (review.api_version, review.kind);
        return Err(format!("expected webhook response of {REVIEW}, Kind=AdmissionReview, got {version}, Kind={kind}"));
    }
    let response = review.response.ok_or("webhook response was absent")?;
    if response.uid != uid {
        return Err(format!("expected response.uid={uid:?}, got {:?}", response.uid));
    }
    Ok(response)
}

fn patch_of(response: &Response) -> Result<Option<Value>, String> {
    match (response.patch.as_deref().unwrap_or_default(), response.patch_type.as_deref()) {
        ("", None) => Ok(None),
        ("", Some(_)) => Err("response.patchType not allowed without response.patch".into()),
        (_, None) => Err("webhook returned response.patch but not response.patchType".into()),
        (patch, Some("JSONPatch")) => {
            let bytes = STANDARD.decode(patch).map_err(|error| error.to_string())?;
            serde_json::from_slice(&bytes).map(Some).map_err(|error| error.to_string())
        }
        (_, Some(other)) => Err(format!("webhook returned invalid response.patchType of {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook() -> Webhook {
        let typed: ValidatingWebhook = serde_json::from_value(json!({
            "name": "pods.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": "https://hook.example.com/x"},
        }))
        .expect("a webhook");
        Webhook::validating("team", &typed)
    }

    #[test]
    fn a_denial_carries_the_words_and_the_code_of_the_webhook() {
        let check = |status: Value, expect: &str| {
            let denial = webhook().denial(serde_json::from_value(status).expect("a status"));
            let told = denial.to_value();
            assert_eq!(
                format!("{} {} {}", told["code"], told["reason"].as_str().unwrap_or_default(), denial.message),
                expect
            );
        };
        let denied = "admission webhook \"pods.example.com\" denied the request";
        check(json!({}), &format!("400  {denied} without explanation"));
        check(json!({"message": "no"}), &format!("400  {denied}: no"));
        check(json!({"code": 403, "reason": "Forbidden", "message": "no"}), &format!("403 Forbidden {denied}: no"));
        check(json!({"code": 418, "reason": "Teapot"}), &format!("418  {denied}: Teapot"));
    }

    #[test]
    fn only_an_answer_to_the_question_counts() {
        let check = |body: Value, expect: Result<bool, &str>| {
            let found = read(body.to_string().as_bytes(), "u1").map(|response| response.allowed);
            assert_eq!(found, expect.map_err(str::to_owned));
        };
        let review = |response: Value| json!({"apiVersion": REVIEW, "kind": "AdmissionReview", "response": response});
        check(review(json!({"uid": "u1", "allowed": true})), Ok(true));
        check(review(json!({"uid": "u1"})), Ok(false));
        check(review(json!({"uid": "u2", "allowed": true})), Err("expected response.uid=\"u1\", got \"u2\""));
        check(review(Value::Null), Err("webhook response was absent"));
        check(
            json!({"apiVersion": "v1", "kind": "Pod"}),
            Err("expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got v1, Kind=Pod"),
        );
    }

    #[test]
    fn a_patch_comes_with_its_type() {
        let check = |response: Value, expect: Result<Option<Value>, &str>| {
            let response = serde_json::from_value(response).expect("a response");
            assert_eq!(patch_of(&response), expect.map_err(str::to_owned));
        };
        let patch = STANDARD.encode(r#"[{"op":"remove","path":"/a"}]"#);
        check(json!({}), Ok(None));
        check(json!({"patch": patch, "patchType": "JSONPatch"}), Ok(Some(json!([{"op": "remove", "path": "/a"}]))));
        check(json!({"patch": patch}), Err("webhook returned response.patch but not response.patchType"));
        check(json!({"patchType": "JSONPatch"}), Err("response.patchType not allowed without response.patch"));
    }
}
