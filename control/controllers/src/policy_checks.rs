//! Policies are looked at when they are written: what of their expressions fits no object that they are about is told in their status.

use api::policies::{Doubt, doubts};
use api::{Key, Kinds, kinds};
use k8s_openapi::api::admissionregistration::v1::{ExpressionWarning, TypeChecking, ValidatingAdmissionPolicy};
use state::{Event, Snapshot};

use crate::edit::replaced;
use crate::{Controller, Look, Plan};

/// The controller that looks at them.
pub(crate) struct PolicyChecks;

// === impl PolicyChecks ===

impl Controller for PolicyChecks {
    fn name(&self) -> &'static str {
        "policy-checks"
    }

    fn affected(&self, event: &Event, _view: &Snapshot) -> Vec<Key> {
        let is_there = event.key().kind() == kinds::VALIDATING_POLICY && event.after().is_some();
        if is_there { vec![event.key().clone()] } else { Vec::new() }
    }

    fn reconcile(&self, key: &Key, view: &Snapshot, _look: Look<'_>) -> Plan {
        let Some(object) = view.get(key).filter(|policy| !policy.meta().is_terminating()) else {
            return Plan::nothing();
        };
        let Ok(policy) = object.decode::<ValidatingAdmissionPolicy>() else { return Plan::nothing() };
        let generation = Some(object.meta().generation);
        let seen = policy.status.as_ref().and_then(|status| status.observed_generation);
        let Some(spec) = policy.spec.as_ref().filter(|_| seen != generation) else { return Plan::nothing() };
        let known = Kinds::default().after(view.list(kinds::CUSTOM_RESOURCE_DEFINITION));
        let warnings: Vec<ExpressionWarning> = doubts(spec, &known).into_iter().map(warning).collect();
        Plan::of(replaced::<ValidatingAdmissionPolicy>(object, |policy| {
            let status = policy.status.get_or_insert_default();
            status.observed_generation = generation;
            let expression_warnings = (!warnings.is_empty()).then_some(warnings);
            status.type_checking = Some(TypeChecking { expression_warnings });
        }))
    }
}

fn warning(Doubt { path, why }: Doubt) -> ExpressionWarning {
    ExpressionWarning { field_ref: path, warning: why }
}

#[cfg(test)]
mod tests {
    use api::Object;
    use serde_json::{Value, json};

    use super::*;
    use crate::notation::{check, object};

    fn policy(expression: &str, status: Value) -> Object {
        let rule = json!({"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]});
        let spec = json!({"matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": expression}]});
        let version = "admissionregistration.k8s.io/v1";
        let mut policy = json!({"apiVersion": version, "metadata": {"generation": 2}, "spec": spec});
        policy["status"] = status;
        object(kinds::VALIDATING_POLICY, "p", policy)
    }

    fn told(policy: Object, expect: &[&str]) {
        let key = policy.key().clone();
        check(&PolicyChecks, &[policy], &key, &["/status/observedGeneration", "/status/typeChecking"], expect);
    }

    #[test]
    fn a_policy_is_looked_at_once_it_is_written() {
        told(policy("object.spec.replicas < 5", json!(null)), &["~ValidatingAdmissionPolicy p 2 {}"]);
        told(policy("object.spec.replicas < 5", json!({"observedGeneration": 2})), &[]);
        let doubt = r#"{"expressionWarnings":[{"fieldRef":"spec.validations[0].expression","warning":"apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'size'\n | object.size < 5\n | ......^\n"}]}"#;
        told(policy("object.size < 5", json!(null)), &[&format!("~ValidatingAdmissionPolicy p 2 {doubt}")]);
    }
}
