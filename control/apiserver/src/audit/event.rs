//! One line of the log: what is told of a request at one stage of it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::policy::{Level, Stage};
use super::subject::Subject;
use crate::identity::Identity;

/// What is known of a request.
#[derive(Clone, Debug)]
pub(super) struct Event<'a> {
    pub(super) id: &'a str,
    pub(super) level: Level,
    pub(super) subject: &'a Subject,
    pub(super) uri: &'a str,
    /// Who asked; nobody that is known has no name.
    pub(super) who: &'a Identity,
    /// On whose behalf, if on another's.
    pub(super) impersonated: Option<&'a Identity>,
    pub(super) from: Option<IpAddr>,
    pub(super) user_agent: &'a str,
    pub(super) received: Timestamp,
    pub(super) annotations: &'a BTreeMap<String, String>,
}

/// What came of a request.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    pub(super) code: Option<StatusCode>,
    /// The reason of a refusal, and its words.
    pub(super) refused: Option<(String, String)>,
    /// The name of what was made.
    pub(super) made: Option<String>,
    pub(super) said: Option<Value>,
    pub(super) answered: Option<Value>,
}

// === impl Event ===

impl Event<'_> {
    /// The line, with its end.
    pub(super) fn line(&self, stage: Stage, outcome: &Outcome, now: Timestamp) -> Vec<u8> {
        let mut told = json!({
            "kind": "Event", "apiVersion": "audit.k8s.io/v1",
            "level": format!("{:?}", self.level),
            "auditID": self.id,
            "stage": format!("{stage:?}"),
            "requestURI": self.uri,
            "verb": self.subject.verb,
            "user": if self.who.user.is_empty() { json!({}) } else { self.who.told() },
            "requestReceivedTimestamp": moment(self.received),
            "stageTimestamp": moment(now),
        });
        if let Some(impersonated) = self.impersonated {
            told["impersonatedUser"] = impersonated.told();
        }
        if let Some(from) = self.from {
            told["sourceIPs"] = json!([from]);
        }
        if !self.user_agent.is_empty() {
            told["userAgent"] = self.user_agent.into();
        }
        if let Some(resource) = &self.subject.resource {
            told["objectRef"] = resource.told(outcome.made.as_deref());
        }
        if let Some(code) = outcome.code {
            told["responseStatus"] = self.status(code, outcome);
        }
        if !self.annotations.is_empty() {
            told["annotations"] = json!(self.annotations);
        }
        let bodies = [("requestObject", &outcome.said), ("responseObject", &outcome.answered)];
        for (name, body) in bodies.into_iter().filter(|_| !self.subject.is_secret()) {
            if let Some(body) = body {
                told[name] = body.clone();
            }
        }
        let mut line = told.to_string().into_bytes();
        line.push(b'\n');
        line
    }

    fn status(&self, code: StatusCode, outcome: &Outcome) -> Value {
        let mut status = json!({"metadata": {}, "code": code.as_u16()});
        if let Some((reason, message)) = &outcome.refused {
            status["status"] = "Failure".into();
            status["reason"] = reason.as_str().into();
            // Of what is secret not even the words that refuse it, which may quote it.
            if !self.subject.is_secret() || matches!(code.as_u16(), 401 | 403 | 404 | 409) {
                status["message"] = message.as_str().into();
            }
        }
        status
    }
}

fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Method, Uri};

    fn line(method: Method, uri: &'static str, outcome: &Outcome) -> Value {
        let (subject, who) = (Subject::of(&method, &Uri::from_static(uri)), Identity::known("eve", []));
        let annotations = BTreeMap::from([("authorization.k8s.io/decision".into(), "allow".into())]);
        let received = "2026-11-21T12:00:00.25Z".parse().expect("a time");
        let event = Event {
            id: "a-1",
            level: Level::RequestResponse,
            subject: &subject,
            uri,
            who: &who,
            impersonated: None,
            from: Some([127, 0, 0, 1].into()),
            user_agent: "kubectl/v1.33",
            received,
            annotations: &annotations,
        };
        serde_json::from_slice(&event.line(Stage::ResponseComplete, outcome, received)).expect("JSON")
    }

    fn outcome() -> Outcome {
        let body = || Some(json!({"data": {"password": "canary"}}));
        Outcome {
            code: Some(StatusCode::CREATED),
            said: body(),
            answered: body(),
            made: Some("s".into()),
            refused: None,
        }
    }

    #[test]
    fn a_line_has_the_shape_of_kubernetes() {
        let told = line(Method::POST, "/apis/apps/v1/namespaces/shop/deployments?dryRun=All", &outcome());
        let body = json!({"data": {"password": "canary"}});
        let expect = json!({
            "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "RequestResponse", "auditID": "a-1",
            "stage": "ResponseComplete", "requestURI": "/apis/apps/v1/namespaces/shop/deployments?dryRun=All",
            "verb": "create", "user": {"username": "eve", "groups": ["system:authenticated"]},
            "sourceIPs": ["127.0.0.1"], "userAgent": "kubectl/v1.33",
            "objectRef": {
                "resource": "deployments", "namespace": "shop", "name": "s", "apiGroup": "apps", "apiVersion": "v1",
            },
            "responseStatus": {"metadata": {}, "code": 201},
            "requestObject": body, "responseObject": body,
            "requestReceivedTimestamp": "2026-11-21T12:00:00.250000Z", "stageTimestamp": "2026-11-21T12:00:00.250000Z",
            "annotations": {"authorization.k8s.io/decision": "allow"},
        });
        assert_eq!(told, expect);
    }

    #[test]
    fn what_is_secret_is_not_told_whatever_the_policy_says() {
        for uri in ["/api/v1/namespaces/shop/secrets", "/api/v1/namespaces/shop/configmaps"] {
            let told = line(Method::POST, uri, &outcome());
            assert!(!told.to_string().contains("canary"), "{told}");
            assert_eq!(told["objectRef"]["name"], "s");
        }
        let refused = Outcome {
            code: Some(StatusCode::BAD_REQUEST),
            refused: Some(("BadRequest".into(), "canary".into())),
            ..outcome()
        };
        let told = line(Method::POST, "/api/v1/namespaces/shop/secrets", &refused);
        assert!(!told.to_string().contains("canary"), "{told}");
        assert_eq!(told["responseStatus"]["reason"], "BadRequest");
    }
}
