//! Programs that are asked before something is stored, and may say no.

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use serde_json::Value;

use super::{AGE, NAME, integer};
use crate::rules::Causes;
use crate::rules::webhooks::{self, Webhook};
use crate::{Column, Names, Resource, Scope, cells};

/// The kind.
#[derive(Debug)]
pub struct ValidatingWebhookConfigurations;

impl Resource for ValidatingWebhookConfigurations {
    type Object = ValidatingWebhookConfiguration;

    const NAMES: &'static Names = &Names {
        group: "admissionregistration.k8s.io",
        version: "v1",
        kind: "ValidatingWebhookConfiguration",
        plural: "validatingwebhookconfigurations",
        singular: "validatingwebhookconfiguration",
        short: &[],
        categories: &["api-extensions"],
        scope: Scope::Cluster,
    };
    const COUNTS_GENERATIONS: bool = true;
    const COLUMNS: &'static [Column] = &[NAME, integer("Webhooks", "How many programs are asked."), AGE];

    fn default(configuration: &mut ValidatingWebhookConfiguration) {
        for webhook in configuration.webhooks.iter_mut().flatten() {
            webhook.failure_policy.get_or_insert_with(|| "Fail".into());
            webhook.match_policy.get_or_insert_with(|| "Equivalent".into());
            webhook.namespace_selector.get_or_insert_default();
            webhook.object_selector.get_or_insert_default();
            webhook.timeout_seconds.get_or_insert(webhooks::TIMEOUT_SECONDS);
            webhooks::default(&mut webhook.client_config, webhook.rules.as_deref_mut());
        }
    }

    fn validate(configuration: &ValidatingWebhookConfiguration, causes: &mut Causes) {
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
            reinvocation_policy: None,
        });
        webhooks::validate(hooks, causes);
    }

    fn cells(configuration: &ValidatingWebhookConfiguration, now: Timestamp) -> Vec<Value> {
        let count = configuration.webhooks.as_ref().map_or(0, Vec::len);
        vec![cells::name(&configuration.metadata), count.into(), cells::age(&configuration.metadata, now)]
    }
}
