//! What a workload was like: its history, one object for each change of its template.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ControllerRevision;
use serde_json::Value;

use super::{AGE, NAME, integer, text};
use crate::rules::Causes;
use crate::{Column, Names, Resource, Scope, cells};

/// The kind.
#[derive(Debug)]
pub struct ControllerRevisions;

impl Resource for ControllerRevisions {
    type Object = ControllerRevision;

    const NAMES: &'static Names = &Names {
        group: "apps",
        version: "v1",
        kind: "ControllerRevision",
        plural: "controllerrevisions",
        singular: "controllerrevision",
        short: &[],
        categories: &[],
        scope: Scope::Namespaced,
    };
    const COLUMNS: &'static [Column] = &[
        NAME,
        text("Controller", "Whose history it is part of."),
        integer("Revision", "Which change it is, counted from the first."),
        AGE,
    ];

    fn validate(revision: &ControllerRevision, causes: &mut Causes) {
        if revision.data.as_ref().is_none_or(|data| data.0.is_null()) {
            causes.required("data", "data is mandatory");
        }
        causes.not_negative("revision", revision.revision);
    }

    fn validate_update(revision: &ControllerRevision, old: &ControllerRevision, causes: &mut Causes) {
        causes.immutable("data", &revision.data, &old.data);
    }

    fn cells(revision: &ControllerRevision, now: Timestamp) -> Vec<Value> {
        vec![
            cells::name(&revision.metadata),
            cells::text(cells::controller(&revision.metadata).as_deref()),
            revision.revision.into(),
            cells::age(&revision.metadata, now),
        ]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalog::testing::*;
    use crate::kinds::CONTROLLER_REVISION;

    fn revision() -> Value {
        json!({"metadata": {"name": "db-1"}, "data": {"spec": {"template": {}}}, "revision": 1})
    }

    #[test]
    fn history_does_not_change() {
        let old = created(CONTROLLER_REVISION, revision());
        assert_eq!(
            refused_change(&old, "/data", json!({"a": 1})),
            "data: Invalid value: {\"a\":1}: field is immutable"
        );
        assert!(update(&old, with(&old, &[("/revision", json!(3))])).is_ok());
        let check = |path: &str, wrong: Value, expect: &str| {
            assert_eq!(refusal(CONTROLLER_REVISION, revision(), path, wrong), expect);
        };
        check("/data", Value::Null, "data: Required value: data is mandatory");
        check("/revision", json!(-1), "revision: Invalid value: -1: must be greater than or equal to 0");
    }

    #[test]
    fn a_row_tells_whose_it_is() {
        let owner =
            json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "u", "controller": true}]);
        let owned = completed(CONTROLLER_REVISION, plus(revision(), "/metadata/ownerReferences", owner));
        assert_eq!(row(CONTROLLER_REVISION, &owned), json!(["db-1", "statefulset.apps/db", 1, "5m3s"]));
        assert_eq!(row(CONTROLLER_REVISION, &completed(CONTROLLER_REVISION, revision()))[1], json!("<none>"));
    }
}
