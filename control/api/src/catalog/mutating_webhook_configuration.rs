//! Programs that are asked before something is stored, and may change it.

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use serde_json::Value;

use super::{AGE, NAME, integer};
use crate::rules::Causes;
use crate::rules::webhooks::{self, Webhook};
use crate::{Column, Names, Resource, Scope, cells};

/// The kind.
#[derive(Debug)]
pub struct MutatingWebhookConfigurations;

impl Resource for MutatingWebhookConfigurations {
    type Object = MutatingWebhookConfiguration;

    const NAMES: &'static Names = &Names {
        group: "admissionregistration.k8s.io",
        version: "v1",
        kind: "MutatingWebhookConfiguration",
        plural: "mutatingwebhookconfigurations",
        singular: "mutatingwebhookconfiguration",
        short: &[],
        categories: &["api-extensions"],
        scope: Scope::Cluster,
    };
    const COUNTS_GENERATIONS: bool = true;
    const COLUMNS: &'static [Column] = &[NAME, integer("Webhooks", "How many programs are asked."), AGE];

    fn default(configuration: &mut MutatingWebhookConfiguration) {
        for webhook in configuration.webhooks.iter_mut().flatten() {
            webhook.failure_policy.get_or_insert_with(|| "Fail".into());
            webhook.match_policy.get_or_insert_with(|| "Equivalent".into());
            webhook.namespace_selector.get_or_insert_default();
            webhook.object_selector.get_or_insert_default();
            webhook.timeout_seconds.get_or_insert(webhooks::TIMEOUT_SECONDS);
            webhook.reinvocation_policy.get_or_insert_with(|| "Never".into());
            webhooks::default(&mut webhook.client_config, webhook.rules.as_deref_mut());
        }
    }

    fn validate(configuration: &MutatingWebhookConfiguration, causes: &mut Causes) {
        let hooks = configuration.webhooks.iter().flatten().map(|webhook| Webhook {
            name: &webhook.name,
            client: &webhook.client_config,
            rules: webhook.rules.as_deref().unwrap_or_default(),
            failure_policy: webhook.failure_policy.as_deref().unwrap_or_default(),
            match_policy: webhook.match_policy.as_deref().unwrap_or_default(),
            selectors: [webhook.namespace_selector.as_ref(), webhook.object_selector.as_ref()],
            side_effects: &webhook.side_effects,
            timeout_seconds: webhook.timeout_seconds.unwrap_or(webhooks::TIMEOUT_SECONDS),
            versions: &webhook.admission_review_versions,
            conditions: webhook.match_conditions.as_deref().unwrap_or_default(),
            reinvocation_policy: webhook.reinvocation_policy.as_deref(),
        });
        webhooks::validate(hooks, causes);
    }

    fn cells(configuration: &MutatingWebhookConfiguration, now: Timestamp) -> Vec<Value> {
        let count = configuration.webhooks.as_ref().map_or(0, Vec::len);
        vec![cells::name(&configuration.metadata), count.into(), cells::age(&configuration.metadata, now)]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalog::testing::*;
    use crate::kinds::{MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS};

    fn configuration() -> Value {
        let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]});
        json!({"metadata": {"name": "team"}, "webhooks": [{
            "name": "pods.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"], "rules": [rule],
            "clientConfig": {"service": {"namespace": "team", "name": "hook"}},
        }]})
    }

    #[test]
    fn what_is_left_out_is_filled_in() {
        let webhook = &completed(MUTATING_WEBHOOKS, configuration())["webhooks"][0];
        assert_eq!(webhook["failurePolicy"], "Fail");
        assert_eq!(webhook["matchPolicy"], "Equivalent");
        assert_eq!(webhook["reinvocationPolicy"], "Never");
        assert_eq!(webhook["timeoutSeconds"], 10);
        assert_eq!(webhook["namespaceSelector"], json!({}));
        assert_eq!(webhook["rules"][0]["scope"], "*");
        assert_eq!(webhook["clientConfig"]["service"]["port"], 443);
        let validating = &completed(VALIDATING_WEBHOOKS, configuration())["webhooks"][0];
        assert_eq!(validating.get("reinvocationPolicy"), None);
        assert_eq!(
            row(VALIDATING_WEBHOOKS, &completed(VALIDATING_WEBHOOKS, configuration())),
            json!(["team", 1, "5m3s"])
        );
    }

    #[test]
    fn what_breaks_a_rule_is_told() {
        let check = |path: &str, wrong: Value, expect: &str| {
            for kind in [MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS] {
                assert_eq!(
                    refusal(kind, configuration(), &format!("/webhooks/0/{path}"), wrong.clone()),
                    format!("webhooks[0].{expect}")
                );
            }
        };
        check(
            "name",
            json!("pods"),
            "name: Invalid value: \"pods\": should be a domain with at least three segments separated by dots",
        );
        check(
            "sideEffects",
            json!("Some"),
            "sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\"",
        );
        check(
            "timeoutSeconds",
            json!(31),
            "timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds",
        );
        check(
            "failurePolicy",
            json!("Maybe"),
            "failurePolicy: Unsupported value: \"Maybe\": supported values: \"Fail\", \"Ignore\"",
        );
        check("clientConfig", json!({}), "clientConfig: Required value: exactly one of url or service is required");
        check(
            "clientConfig",
            json!({"url": "http://a/"}),
            "clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
        );
        check(
            "clientConfig",
            json!({"url": "https://u@a/"}),
            "clientConfig.url: Invalid value: \"u\": user information is not permitted in the URL; desired format: https://host[/path]",
        );
        check(
            "clientConfig",
            json!({"url": "https://a/?x=1"}),
            "clientConfig.url: Invalid value: \"x=1\": query parameters are not permitted in the URL; desired format: https://host[/path]",
        );
        check(
            "admissionReviewVersions",
            json!(["v2"]),
            "admissionReviewVersions: Invalid value: []string{\"v2\"}: must include at least one of v1, v1beta1",
        );
        check(
            "rules/0/operations",
            json!(["*", "CREATE"]),
            "rules[0].operations: Invalid value: []string{\"*\", \"CREATE\"}: if '*' is present, must not specify other operations",
        );
        check(
            "rules/0/operations",
            json!(["MAKE"]),
            "rules[0].operations[0]: Unsupported value: \"MAKE\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"DELETE\", \"UPDATE\"",
        );
        check("rules/0/resources", json!([]), "rules[0].resources: Required value");
        check(
            "rules/0/resources",
            json!(["*/*", "pods"]),
            "rules[0].resources: Invalid value: []string{\"*/*\", \"pods\"}: if '*/*' is present, must not specify other resources",
        );
        check(
            "matchConditions",
            json!([{"name": "x", "expression": "params.y"}]),
            "matchConditions[0].expression: Invalid value: \"params.y\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'params' (in container '')\n | params.y\n | ^",
        );
    }
}
