//! How much pods matter beside others.

use jiff::Timestamp;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use serde_json::Value;

use super::{AGE, NAME, integer, text};
use crate::rules::Causes;
use crate::{Column, Names, Resource, Scope, cells};

/// The kind.
#[derive(Debug)]
pub struct PriorityClasses;

/// As much as users may give; what is above is the cluster's own.
const VALUE_MAX: i32 = 1_000_000_000;
/// The classes of the cluster itself, and how much they matter.
pub const SYSTEM: [(&str, i32); 2] =
    [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];
const POLICIES: &[&str] = &["PreemptLowerPriority", "Never"];

impl Resource for PriorityClasses {
    type Object = PriorityClass;

    const NAMES: &'static Names = &Names {
        group: "scheduling.k8s.io",
        version: "v1",
        kind: "PriorityClass",
        plural: "priorityclasses",
        singular: "priorityclass",
        short: &["pc"],
        categories: &[],
        scope: Scope::Cluster,
    };
    const COUNTS_GENERATIONS: bool = true;
    const COLUMNS: &'static [Column] = &[
        NAME,
        integer("Value", "How much its pods matter."),
        Column { kind: "boolean", ..text("Global-Default", "Whether pods that ask for no class are of it.") },
        AGE,
        text("PreemptionPolicy", "Whether its pods may take the place of lesser ones."),
    ];

    fn default(class: &mut PriorityClass) {
        class.preemption_policy.get_or_insert_with(|| "PreemptLowerPriority".into());
    }

    fn validate(class: &PriorityClass, causes: &mut Causes) {
        let name = class.metadata.name.as_deref().unwrap_or_default();
        if name.starts_with("system-") {
            let known = SYSTEM.iter().find(|(known, _)| *known == name);
            let problem = match known {
                None => Some(format!("{name} is not a known system priority class")),
                Some((_, value)) if class.value != *value => {
                    Some(format!("value of {name} PriorityClass must be {value}"))
                }
                Some(_) if class.global_default == Some(true) => {
                    Some(format!("globalDefault of {name} PriorityClass must be false"))
                }
                Some(_) => None,
            };
            if let Some(problem) = problem {
                let told = "priority class names with 'system-' prefix are reserved for system use only. error: ";
                causes.forbidden("metadata.name", &format!("{told}{problem}"));
            }
        } else if class.value > VALUE_MAX {
            let detail = format!("maximum allowed value of a user defined priority is {VALUE_MAX}");
            causes.forbidden("value", &detail);
        }
        if let Some(policy) = &class.preemption_policy {
            causes.one_of("preemptionPolicy", policy, POLICIES);
        }
    }

    fn validate_update(class: &PriorityClass, old: &PriorityClass, causes: &mut Causes) {
        if class.value != old.value {
            causes.forbidden("value", "may not be changed in an update.");
        }
        causes.immutable("preemptionPolicy", &class.preemption_policy, &old.preemption_policy);
    }

    fn cells(class: &PriorityClass, now: Timestamp) -> Vec<Value> {
        vec![
            cells::name(&class.metadata),
            class.value.into(),
            class.global_default.unwrap_or(false).into(),
            cells::age(&class.metadata, now),
            class.preemption_policy.as_deref().unwrap_or_default().into(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalog::testing::*;
    use crate::kinds::PRIORITY_CLASS as CLASS;

    fn class() -> Value {
        json!({"metadata": {"name": "high"}, "value": 1000})
    }

    #[test]
    fn what_breaks_a_rule_is_told() {
        let check = |path: &str, wrong: Value, expect: &str| assert_eq!(refusal(CLASS, class(), path, wrong), expect);
        check(
            "/value",
            json!(1_000_000_001),
            "value: Forbidden: maximum allowed value of a user defined priority is 1000000000",
        );
        check(
            "/metadata/name",
            json!("system-mine"),
            "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: system-mine is not a known system priority class",
        );
        check(
            "/preemptionPolicy",
            json!("Always"),
            "preemptionPolicy: Unsupported value: \"Always\": supported values: \"PreemptLowerPriority\", \"Never\"",
        );
        let old = created(CLASS, class());
        assert_eq!(refused_change(&old, "/value", json!(5)), "value: Forbidden: may not be changed in an update.");
        assert_eq!(
            refused_change(&old, "/preemptionPolicy", json!("Never")),
            "preemptionPolicy: Invalid value: \"Never\": field is immutable"
        );
        assert_eq!(row(CLASS, &tree(&old)), json!(["high", 1000, false, "5m3s", "PreemptLowerPriority"]));
    }
}
