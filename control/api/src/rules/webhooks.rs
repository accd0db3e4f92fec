//! What is true of everything that configures admission: webhooks, and the rules that say which requests are meant.

use std::collections::BTreeSet;

use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MatchResources, RuleWithOperations, ServiceReference, WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::{Causes, NameRule, labels};
use crate::policies::{compile_conditions, environment};

/// How long a webhook may take unless its configuration says otherwise.
pub const TIMEOUT_SECONDS: i32 = 10;
const TIMEOUT_SECONDS_MAX: i32 = 30;
/// As Kubernetes has it.
const CONDITIONS_MAX: usize = 64;
const HTTPS_PORT: i32 = 443;
/// The forms of a review that are spoken here, or that other clusters speak.
const VERSIONS: [&str; 2] = ["v1", "v1beta1"];
const FORMAT: &str = "desired format: https://host[/path]";

/// A webhook of either kind.
pub struct Webhook<'a> {
    /// What messages call it.
    pub name: &'a str,
    /// Where it is.
    pub client: &'a WebhookClientConfig,
    /// What it is asked about.
    pub rules: &'a [RuleWithOperations],
    #[allow(missing_docs, reason = "the names are Kubernetes' own and say it")]
    pub failure_policy: &'a str,
    #[allow(missing_docs, reason = "the names are Kubernetes' own and say it")]
    pub match_policy: &'a str,
    /// Of namespaces, and of objects.
    pub selectors: [Option<&'a LabelSelector>; 2],
    #[allow(missing_docs, reason = "the names are Kubernetes' own and say it")]
    pub side_effects: &'a str,
    #[allow(missing_docs, reason = "the names are Kubernetes' own and say it")]
    pub timeout_seconds: i32,
    /// The forms of a review that it reads.
    pub versions: &'a [String],
    /// What must be true of a request.
    pub conditions: &'a [MatchCondition],
    /// Of those that change objects, whether they want to see what others made of them.
    pub reinvocation_policy: Option<&'a str>,
}

/// Fills in what a webhook may leave out.
pub fn default(client: &mut WebhookClientConfig, rules: Option<&mut [RuleWithOperations]>) {
    if let Some(service) = &mut client.service {
        service.port.get_or_insert(HTTPS_PORT);
    }
    for rule in rules.into_iter().flatten() {
        rule.scope.get_or_insert_with(|| "*".into());
    }
}

/// Fills in what the rules of a policy may leave out.
pub fn default_resources(resources: &mut MatchResources) {
    resources.match_policy.get_or_insert_with(|| "Equivalent".into());
    resources.namespace_selector.get_or_insert_default();
    resources.object_selector.get_or_insert_default();
    for rules in [&mut resources.resource_rules, &mut resources.exclude_resource_rules] {
        for rule in rules.iter_mut().flatten() {
            rule.scope.get_or_insert_with(|| "*".into());
        }
    }
}

/// Everything wrong with webhooks.
pub fn validate<'a>(webhooks: impl Iterator<Item = Webhook<'a>>, causes: &mut Causes) {
    let mut names = BTreeSet::new();
    for (place, webhook) in webhooks.enumerate() {
        let path = format!("webhooks[{place}]");
        webhook.validate(&path, causes);
        if !names.insert(webhook.name.to_owned()) {
            causes.duplicate(format!("{path}.name"), webhook.name);
        }
    }
}

/// Everything wrong with the rules of a policy.
pub fn validate_resources(path: &str, resources: &MatchResources, causes: &mut Causes) {
    causes.one_of(
        format!("{path}.matchPolicy"),
        resources.match_policy.as_deref().unwrap_or_default(),
        &["Equivalent", "Exact"],
    );
    for (name, selector) in
        [("namespaceSelector", &resources.namespace_selector), ("objectSelector", &resources.object_selector)]
    {
        if let Some(selector) = selector {
            labels::selector(&format!("{path}.{name}"), selector, causes);
        }
    }
    for (name, rules) in
        [("resourceRules", &resources.resource_rules), ("excludeResourceRules", &resources.exclude_resource_rules)]
    {
        for (place, rule) in rules.iter().flatten().enumerate() {
            let path = format!("{path}.{name}[{place}]");
            let plain = RuleWithOperations {
                api_groups: rule.api_groups.clone(),
                api_versions: rule.api_versions.clone(),
                operations: rule.operations.clone(),
                resources: rule.resources.clone(),
                scope: rule.scope.clone(),
            };
            validate_rule(&path, &plain, causes);
            let mut names = BTreeSet::new();
            for (place, name) in rule.resource_names.iter().flatten().enumerate() {
                for problem in NameRule::PathSegment.problems(name) {
                    causes.invalid(format!("{path}.resourceNames[{place}]"), name, &problem);
                }
                if !names.insert(name) {
                    causes.duplicate(format!("{path}.resourceNames[{place}]"), name);
                }
            }
        }
    }
}

/// Everything wrong with the names of conditions; whether they compile is another question.
pub fn validate_condition_names(path: &str, conditions: &[MatchCondition], causes: &mut Causes) {
    if conditions.len() > CONDITIONS_MAX {
        causes.too_many(path, conditions.len(), CONDITIONS_MAX);
    }
    let mut names = BTreeSet::new();
    for (place, condition) in conditions.iter().enumerate() {
        let at = format!("{path}[{place}]");
        if condition.expression.trim().is_empty() {
            causes.required(format!("{at}.expression"), "");
        }
        match condition.name.as_str() {
            "" => causes.required(format!("{at}.name"), ""),
            name => {
                for problem in labels::qualified_name(name) {
                    causes.invalid(format!("{at}.name"), name, &problem);
                }
                if !names.insert(name) {
                    causes.duplicate(format!("{at}.name"), name);
                }
            }
        }
    }
}

fn validate_rule(path: &str, rule: &RuleWithOperations, causes: &mut Causes) {
    let list = |words: &Option<Vec<String>>| words.clone().unwrap_or_default();
    let mut words = |name: &str, what: &str, words: &[String], must_be: bool| {
        if words.is_empty() {
            causes.required(format!("{path}.{name}"), "");
        } else if words.len() > 1 && words.iter().any(|word| word == "*") {
            let detail = format!("if '*' is present, must not specify other {what}");
            causes.invalid(format!("{path}.{name}"), words, &detail);
        }
        for (place, word) in words.iter().enumerate() {
            if must_be && word.is_empty() {
                causes.required(format!("{path}.{name}[{place}]"), "");
            }
        }
    };
    let (operations, resources) = (list(&rule.operations), list(&rule.resources));
    words("operations", "operations", &operations, false);
    words("apiGroups", "API groups", &list(&rule.api_groups), false);
    words("apiVersions", "API versions", &list(&rule.api_versions), true);
    const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
    for (place, operation) in operations.iter().enumerate() {
        if !OPERATIONS.contains(&operation.as_str()) {
            causes.unsupported(format!("{path}.operations[{place}]"), operation, &OPERATIONS);
        }
    }
    validate_rule_resources(path, &resources, causes);
    let scope = rule.scope.as_deref().unwrap_or("*");
    if !["*", "Cluster", "Namespaced"].contains(&scope) {
        causes.unsupported(format!("{path}.scope"), scope, &["*", "Cluster", "Namespaced"]);
    }
}

fn validate_rule_resources(path: &str, resources: &[String], causes: &mut Causes) {
    let path = format!("{path}.resources");
    let has = |wanted: &str| resources.iter().any(|resource| resource == wanted);
    if resources.is_empty() {
        causes.required(path, "");
        return;
    }
    for (place, resource) in resources.iter().enumerate() {
        let at = format!("{path}[{place}]");
        match resource.split_once('/') {
            _ if resource.is_empty() => causes.required(at, ""),
            Some((name, part)) if part != "*" && name != "*" && has(&format!("{name}/*")) => {
                let detail = format!("if '{name}/*' is present, must not specify {resource}");
                causes.invalid(at, resource, &detail);
            }
            Some((name, part)) if name != "*" && part != "*" && has(&format!("*/{part}")) => {
                let detail = format!("if '*/{part}' is present, must not specify {resource}");
                causes.invalid(at, resource, &detail);
            }
            _ => {}
        }
    }
    if resources.len() > 1 && has("*/*") {
        causes.invalid(path, resources, "if '*/*' is present, must not specify other resources");
    } else if has("*") && resources.iter().any(|resource| resource != "*" && !resource.contains('/')) {
        causes.invalid(path, resources, "if '*' is present, must not specify other resources without subresources");
    }
}

// === impl Webhook ===

impl Webhook<'_> {
    fn validate(&self, path: &str, causes: &mut Causes) {
        self.validate_name(path, causes);
        for (place, rule) in self.rules.iter().enumerate() {
            validate_rule(&format!("{path}.rules[{place}]"), rule, causes);
        }
        causes.one_of(format!("{path}.failurePolicy"), self.failure_policy, &["Fail", "Ignore"]);
        causes.one_of(format!("{path}.matchPolicy"), self.match_policy, &["Equivalent", "Exact"]);
        match self.side_effects {
            "" => causes.required(format!("{path}.sideEffects"), "must specify one of None, NoneOnDryRun"),
            known => causes.one_of(format!("{path}.sideEffects"), known, &["None", "NoneOnDryRun"]),
        }
        if !(1..=TIMEOUT_SECONDS_MAX).contains(&self.timeout_seconds) {
            let detail = "the timeout value must be between 1 and 30 seconds";
            causes.invalid(format!("{path}.timeoutSeconds"), self.timeout_seconds, detail);
        }
        for (name, selector) in ["namespaceSelector", "objectSelector"].into_iter().zip(self.selectors) {
            if let Some(selector) = selector {
                labels::selector(&format!("{path}.{name}"), selector, causes);
            }
        }
        validate_client(&format!("{path}.clientConfig"), self.client, causes);
        if let Some(policy) = self.reinvocation_policy {
            causes.one_of(format!("{path}.reinvocationPolicy"), policy, &["IfNeeded", "Never"]);
        }
        let versions = format!("{path}.admissionReviewVersions");
        if self.versions.is_empty() {
            causes.required(versions, "must specify one of v1, v1beta1");
        } else if !self.versions.iter().any(|version| VERSIONS.contains(&version.as_str())) {
            causes.invalid(versions, self.versions, "must include at least one of v1, v1beta1");
        }
        let conditions = format!("{path}.matchConditions");
        validate_condition_names(&conditions, self.conditions, causes);
        for wrong in compile_conditions(self.conditions, &environment(false, true)).err().into_iter().flatten() {
            let expression = &self.conditions[wrong.place].expression;
            causes.invalid(format!("{conditions}[{}].expression", wrong.place), expression, &wrong.why);
        }
    }

    fn validate_name(&self, path: &str, causes: &mut Causes) {
        let path = format!("{path}.name");
        if self.name.is_empty() {
            return causes.required(path, "");
        }
        let problems = NameRule::Subdomain.problems(self.name);
        for problem in &problems {
            causes.invalid(path.as_str(), self.name, problem);
        }
        if problems.is_empty() && self.name.split('.').count() < 3 {
            causes.invalid(path, self.name, "should be a domain with at least three segments separated by dots");
        }
    }
}

fn validate_client(path: &str, client: &WebhookClientConfig, causes: &mut Causes) {
    match (&client.url, &client.service) {
        (Some(url), None) => validate_url(&format!("{path}.url"), url, causes),
        (None, Some(service)) => validate_service(&format!("{path}.service"), service, causes),
        _ => causes.required(path, "exactly one of url or service is required"),
    }
}

fn validate_url(path: &str, url: &str, causes: &mut Causes) {
    let Some((scheme, rest)) = url.split_once("://") else {
        return causes.invalid(path, url, &format!("url must be a valid URL: {FORMAT}"));
    };
    if scheme != "https" {
        causes.invalid(path, scheme, &format!("'https' is the only allowed URL scheme; {FORMAT}"));
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = rest.split('/').next().unwrap_or_default();
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if host.is_empty() {
        causes.invalid(path, host, &format!("host must be specified; {FORMAT}"));
    }
    for (part, what) in [
        (user, "user information is not permitted"),
        (fragment, "fragments are not permitted"),
        (query, "query parameters are not permitted"),
    ] {
        if !part.is_empty() {
            causes.invalid(path, part, &format!("{what} in the URL; {FORMAT}"));
        }
    }
}

fn validate_service(path: &str, service: &ServiceReference, causes: &mut Causes) {
    if service.name.is_empty() {
        causes.required(format!("{path}.name"), "service name is required");
    }
    if service.namespace.is_empty() {
        causes.required(format!("{path}.namespace"), "service namespace is required");
    }
    let port = service.port.unwrap_or(HTTPS_PORT);
    if !(1..=65535).contains(&port) {
        let detail = "port is not valid: must be between 1 and 65535, inclusive";
        causes.invalid(format!("{path}.port"), port, detail);
    }
    let Some(whole) = service.path.as_deref() else { return };
    let path = format!("{path}.path");
    if !whole.starts_with('/') {
        return causes.invalid(path, whole, "must start with a '/'");
    }
    for (place, step) in whole[1..].split('/').enumerate() {
        if step.is_empty() && place < whole[1..].split('/').count() - 1 {
            causes.invalid(path.as_str(), whole, &format!("segment[{place}] may not be empty"));
        }
    }
}
