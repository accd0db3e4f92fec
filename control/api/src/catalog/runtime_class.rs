//! Who runs a pod.

use jiff::Timestamp;
use k8s_openapi::api::node::v1::RuntimeClass;
use serde_json::Value;

use super::{AGE, NAME, text};
use crate::rules::{self, Budget, Causes, NameRule};
use crate::{Column, Names, Resource, Scope, cells};

/// The kind.
#[derive(Debug)]
pub struct RuntimeClasses;

impl Resource for RuntimeClasses {
    type Object = RuntimeClass;

    const NAMES: &'static Names = &Names {
        group: "node.k8s.io",
        version: "v1",
        kind: "RuntimeClass",
        plural: "runtimeclasses",
        singular: "runtimeclass",
        short: &[],
        categories: &[],
        scope: Scope::Cluster,
    };
    const UPDATES_BLINDLY: bool = false;
    const COLUMNS: &'static [Column] = &[NAME, text("Handler", "What it is called on nodes."), AGE];

    fn validate(class: &RuntimeClass, causes: &mut Causes) {
        NameRule::Label.check("handler", &class.handler, causes);
        let overhead = class.overhead.as_ref().and_then(|overhead| overhead.pod_fixed.as_ref());
        rules::resources("overhead.podFixed", overhead, Budget::Limit, causes);
        if let Some(scheduling) = &class.scheduling {
            if let Some(labels) = &scheduling.node_selector {
                rules::labels("scheduling.nodeSelector", labels, causes);
            }
            let tolerations = scheduling.tolerations.as_deref();
            crate::pod_spec::validate_tolerations("scheduling.tolerations", tolerations, causes);
        }
    }

    fn validate_update(class: &RuntimeClass, old: &RuntimeClass, causes: &mut Causes) {
        causes.immutable("handler", &class.handler, &old.handler);
    }

    fn cells(class: &RuntimeClass, now: Timestamp) -> Vec<Value> {
        vec![cells::name(&class.metadata), class.handler.as_str().into(), cells::age(&class.metadata, now)]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalog::testing::*;
    use crate::kinds::RUNTIME_CLASS as CLASS;

    #[test]
    fn what_breaks_a_rule_is_told() {
        let class = || json!({"metadata": {"name": "wasm"}, "handler": "wasmtime"});
        let check = |path: &str, wrong: Value, expect: &str| assert_eq!(refusal(CLASS, class(), path, wrong), expect);
        check(
            "/overhead",
            json!({"podFixed": {"cpu": "-1"}}),
            "overhead.podFixed[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
        );
        check(
            "/scheduling",
            json!({"tolerations": [{"operator": "Equal"}]}),
            "scheduling.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
        );
        assert!(
            refusal(CLASS, class(), "/handler", json!("Wasm Time"))
                .starts_with("handler: Invalid value: \"Wasm Time\": a lowercase RFC 1123 label")
        );
        let old = created(CLASS, class());
        assert_eq!(
            refused_change(&old, "/handler", json!("other")),
            "handler: Invalid value: \"other\": field is immutable"
        );
        assert_eq!(row(CLASS, &tree(&old)), json!(["wasm", "wasmtime", "5m3s"]));
    }
}
