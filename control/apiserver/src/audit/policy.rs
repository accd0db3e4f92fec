//! What is told of which request: Kubernetes' audit policy, the first rule that fits decides.

use serde::Deserialize;

use super::subject::{Resource, Subject};
use crate::identity::Identity;

/// How much is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) enum Level {
    /// Nothing.
    #[default]
    None,
    /// Who asked for what, and what came of it.
    Metadata,
    /// And what was said.
    Request,
    /// And what was answered.
    RequestResponse,
}

/// When it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum Stage {
    RequestReceived,
    ResponseStarted,
    ResponseComplete,
    Panic,
}

/// What is told of which request.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: String,
    #[serde(default, rename = "metadata")]
    _metadata: Option<serde_json::Value>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    #[serde(default)]
    omit_managed_fields: bool,
    rules: Vec<Rule>,
}

/// A policy that says nothing, or what cannot be.
#[derive(Debug, thiserror::Error)]
#[error("the audit policy cannot be used: {0}")]
pub struct PolicyError(String);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Rule {
    level: Option<Level>,
    users: Vec<String>,
    user_groups: Vec<String>,
    verbs: Vec<String>,
    resources: Vec<Resources>,
    namespaces: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    paths: Vec<String>,
    omit_stages: Vec<Stage>,
    omit_managed_fields: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Resources {
    group: String,
    #[serde(rename = "resources")]
    plurals: Vec<String>,
    #[serde(rename = "resourceNames")]
    names: Vec<String>,
}

/// What a policy says of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) level: Level,
    pub(super) omitted: Vec<Stage>,
    pub(super) omit_managed_fields: bool,
}

/// What is told when nobody says: everything that was asked and by whom, but for questions about health.
const DEFAULT: &str = r#"{
    "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "nonResourceURLs": ["/healthz*", "/livez*", "/readyz*", "/version"]},
        {"level": "Metadata"}
    ]
}"#;

// === impl Policy ===

impl Default for Policy {
    fn default() -> Self {
        Self::parse(DEFAULT).expect("it is part of the program")
    }
}

impl Policy {
    /// A policy in YAML or JSON.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let refused = |why: String| PolicyError(why);
        let policy: Self = serde_saphyr::from_str(text).map_err(|error| refused(error.to_string()))?;
        if policy.api_version != "audit.k8s.io/v1" || policy.kind != "Policy" {
            return Err(refused(format!(
                "it is a {} of {}, and not a Policy of audit.k8s.io/v1",
                policy.kind, policy.api_version
            )));
        }
        for (index, rule) in policy.rules.iter().enumerate() {
            rule.judge().map_err(|why| refused(format!("rules[{index}]{why}")))?;
        }
        Ok(policy)
    }

    /// What is told of a request.
    pub(super) fn verdict(&self, subject: &Subject, who: Option<&Identity>) -> Verdict {
        let Some(rule) = self.rules.iter().find(|rule| rule.fits(subject, who)) else { return Verdict::default() };
        Verdict {
            level: rule.level.unwrap_or_default(),
            omitted: self.omit_stages.iter().chain(&rule.omit_stages).copied().collect(),
            omit_managed_fields: rule.omit_managed_fields.unwrap_or(self.omit_managed_fields),
        }
    }
}

// === impl Rule ===

impl Rule {
    fn judge(&self) -> Result<(), &'static str> {
        if self.level.is_none() {
            return Err(".level: Required value");
        }
        let is_path =
            |path: &String| path == "*" || (path.starts_with('/') && !path.trim_end_matches('*').contains('*'));
        if !self.paths.iter().all(is_path) {
            return Err(".nonResourceURLs: a path is `*`, or begins with `/` and has a `*` at its end only");
        }
        if !self.paths.is_empty() && (!self.resources.is_empty() || !self.namespaces.is_empty()) {
            return Err(".nonResourceURLs: rules cannot apply to both regular resources and non-resource URLs");
        }
        let nameless = |of: &Resources| !of.names.is_empty() && of.plurals.is_empty();
        if self.resources.iter().any(nameless) {
            return Err(".resources: using resourceNames requires at least one resource");
        }
        Ok(())
    }

    fn fits(&self, subject: &Subject, who: Option<&Identity>) -> bool {
        let among = |list: &[String], one: &str| list.iter().any(|known| known == one);
        let user = who.map_or("", |who| who.user.as_str());
        let groups = who.map_or(&[][..], |who| &who.groups);
        if !self.users.is_empty() && !among(&self.users, user)
            || !self.user_groups.is_empty() && !groups.iter().any(|group| among(&self.user_groups, group))
            || !self.verbs.is_empty() && !among(&self.verbs, &subject.verb)
        {
            return false;
        }
        match &subject.resource {
            Some(resource) if !self.namespaces.is_empty() || !self.resources.is_empty() => {
                let here = self.namespaces.is_empty() || among(&self.namespaces, &resource.namespace);
                here && (self.resources.is_empty() || self.resources.iter().any(|of| of.has(resource)))
            }
            None if !self.paths.is_empty() => self.paths.iter().any(|path| is_below(path, &subject.path)),
            _ => self.namespaces.is_empty() && self.resources.is_empty() && self.paths.is_empty(),
        }
    }
}

fn is_below(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => path.starts_with(start),
        None => path == pattern,
    }
}

// === impl Resources ===

impl Resources {
    fn has(&self, found: &Resource) -> bool {
        if self.group != found.group {
            return false;
        }
        let whole = found.whole();
        let is_one = |pattern: &String| match pattern.split_once('/') {
            _ if pattern == "*" || *pattern == whole => true,
            Some(("*", part)) => !found.subresource.is_empty() && part == found.subresource,
            Some((plural, "*")) => plural == found.plural,
            _ => false,
        };
        let named = self.names.is_empty() || self.names.contains(&found.name);
        self.plurals.is_empty() || (named && self.plurals.iter().any(is_one))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Method, Uri};

    /// The policy of Kubernetes' own documentation, for the most part.
    const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - {level: RequestResponse, resources: [{group: "", resources: [pods]}]}
  - {level: Metadata, resources: [{group: "", resources: [pods/log, pods/status]}]}
  - {level: None, resources: [{group: "", resources: [configmaps], resourceNames: [controller-leader]}]}
  - {level: None, users: ["system:kube-proxy"], verbs: [watch], resources: [{group: "", resources: [endpoints, services]}]}
  - {level: None, userGroups: ["system:authenticated"], nonResourceURLs: ["/api*", "/version"]}
  - {level: Request, resources: [{group: "", resources: [configmaps]}], namespaces: [kube-system]}
  - {level: Metadata, resources: [{group: "", resources: [secrets, configmaps]}]}
  - {level: Request, resources: [{group: apps}]}
  - {level: Metadata, omitStages: [ResponseStarted]}
"#;

    fn check(user: &str, method: Method, uri: &'static str, expect: Level) {
        let who = Identity::known(user, []);
        let subject = Subject::of(&method, &Uri::from_static(uri));
        let verdict = Policy::parse(POLICY).expect("a policy").verdict(&subject, Some(&who));
        assert_eq!(verdict.level, expect, "{method} {uri}");
        assert!(verdict.omitted.contains(&Stage::RequestReceived));
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        use Level::{Metadata, None, Request, RequestResponse};
        check("eve", Method::GET, "/api/v1/pods", RequestResponse);
        check("eve", Method::GET, "/api/v1/namespaces/a/pods/b/log", Metadata);
        check("eve", Method::GET, "/api/v1/namespaces/a/configmaps/controller-leader", None);
        check("system:kube-proxy", Method::GET, "/api/v1/services?watch=true", None);
        check("eve", Method::GET, "/api/v1/services?watch=true", Metadata);
        check("eve", Method::GET, "/apis", None);
        check("eve", Method::PUT, "/api/v1/namespaces/kube-system/configmaps/c", Request);
        check("eve", Method::PUT, "/api/v1/namespaces/shop/configmaps/c", Metadata);
        check("eve", Method::PATCH, "/apis/apps/v1/namespaces/shop/deployments/d/scale", Request);
        check("eve", Method::GET, "/metrics", Metadata);
    }

    #[test]
    fn without_a_word_everything_is_told_but_health() {
        let level = |uri: &'static str| {
            Policy::default().verdict(&Subject::of(&Method::GET, &Uri::from_static(uri)), None).level
        };
        assert_eq!(
            (level("/readyz"), level("/version"), level("/api/v1/pods")),
            (Level::None, Level::None, Level::Metadata)
        );
    }

    #[test]
    fn a_policy_that_cannot_be_is_refused() {
        let refused = |rule: &str| {
            let text = format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{rule}]");
            Policy::parse(&text).expect_err("refused").to_string()
        };
        assert!(refused("{level: Everything}").contains("Everything"));
        assert!(refused("{verbs: [get]}").ends_with("rules[0].level: Required value"));
        assert!(refused("{level: None, nonResourceURLs: [metrics]}").contains("a path is `*`"));
        assert!(refused("{level: None, namespaces: [a], nonResourceURLs: [/x]}").contains("cannot apply to both"));
        assert!(refused("{level: None, verb: [get]}").contains("verb"));
        assert!(Policy::parse("apiVersion: v1\nkind: Policy\nrules: []").is_err());
    }
}
