use serde_json::{Value, json};

use super::structural;
use crate::catalog::testing::*;
use crate::kinds::CUSTOM_RESOURCE_DEFINITION as DEFINITION;

/// The CronTab of the Kubernetes documentation.
fn cron_tab() -> Value {
    let spec = json!({"type": "object", "properties": {"cronSpec": {"type": "string"}, "image": {"type": "string"}, "replicas": {"type": "integer"}}});
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}});
    json!({"metadata": {"name": "crontabs.stable.example.com"}, "spec": {
        "group": "stable.example.com", "scope": "Namespaced",
        "names": {"plural": "crontabs", "singular": "crontab", "kind": "CronTab", "shortNames": ["ct"]},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}]}})
}

#[test]
fn what_is_left_out_is_filled_in() {
    let completed = completed(DEFINITION, cron_tab());
    assert_eq!(completed["spec"]["names"]["listKind"], "CronTabList");
    assert_eq!(completed["spec"]["conversion"], json!({"strategy": "None"}));
    assert_eq!(completed["status"]["storedVersions"], json!(["v1"]));
    assert_eq!(completed["metadata"]["generation"], 1);
    let row = row(DEFINITION, &completed);
    assert_eq!(row, json!(["crontabs.stable.example.com", "2026-11-21T05:13:14Z"]));
}

#[test]
fn what_breaks_a_rule_is_told() {
    let check =
        |path: &str, wrong: Value, expect: &str| assert_eq!(refusal(DEFINITION, cron_tab(), path, wrong), expect);
    check(
        "/metadata/name",
        json!("crontabs"),
        "metadata.name: Invalid value: \"crontabs\": must be spec.names.plural+\".\"+spec.group",
    );
    check(
        "/spec/scope",
        json!("Everywhere"),
        "spec.scope: Unsupported value: \"Everywhere\": supported values: \"Cluster\", \"Namespaced\"",
    );
    check(
        "/spec/names/listKind",
        json!("Cron_Tabs"),
        "spec.names.listKind: Invalid value: \"Cron_Tabs\": may have mixed case, but should otherwise match: a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')",
    );
    check(
        "/spec/preserveUnknownFields",
        json!(true),
        "spec.preserveUnknownFields: Invalid value: true: cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
    );
    check(
        "/spec/conversion",
        json!({"strategy": "Webhook"}),
        "spec.conversion.strategy: Unsupported value: \"Webhook\": supported values: \"None\"",
    );
    check(
        "/spec/versions/0/schema",
        json!({}),
        "spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required",
    );
    check(
        "/spec/versions/0/additionalPrinterColumns",
        json!([{"name": "A", "type": "float", "jsonPath": "spec.a"}]),
        "[spec.versions[0].additionalPrinterColumns[0].type: Invalid value: \"float\": must be one of boolean,date,integer,number,string, spec.versions[0].additionalPrinterColumns[0].jsonPath: Invalid value: \"spec.a\": must be a simple json path starting with .]",
    );
    check(
        "/spec/versions/0/subresources",
        json!({"scale": {"specReplicasPath": ".status.replicas", "statusReplicasPath": ""}}),
        "[spec.versions[0].subresources.scale.specReplicasPath: Invalid value: \".status.replicas\": should be a json path under .spec, spec.versions[0].subresources.scale.statusReplicasPath: Required value]",
    );
    let refused = refusal(DEFINITION, cron_tab(), "/spec/versions/0/storage", json!(false));
    assert!(refused.ends_with("must have exactly one version marked as storage version"), "{refused}");
}

#[test]
fn protected_groups_need_approval() {
    let definition = |annotation: &str| {
        let mut definition = cron_tab();
        definition["metadata"] =
            json!({"name": "crontabs.batch.k8s.io", "annotations": {"api-approved.kubernetes.io": annotation}});
        definition["spec"]["group"] = "batch.k8s.io".into();
        definition
    };
    assert!(create(DEFINITION, definition("https://github.com/kubernetes/kubernetes/pull/78458")).is_ok());
    assert!(create(DEFINITION, definition("unapproved, experimental")).is_ok());
    let refused = message(create(DEFINITION, definition("")));
    assert!(
        refused.ends_with("metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111"),
        "{refused}"
    );
}

#[test]
fn some_things_cannot_change() {
    let old = created(DEFINITION, cron_tab());
    assert_eq!(
        refused_change(&old, "/spec/group", json!("other.example.com")),
        "[metadata.name: Invalid value: \"crontabs.stable.example.com\": must be spec.names.plural+\".\"+spec.group, spec.group: Invalid value: \"other.example.com\": field is immutable]"
    );
    let version = old.to_value().expect("a tree")["spec"]["versions"][0].clone();
    let mut newer = version.clone();
    newer["name"] = "v2".into();
    let refused = refused_change(&old, "/spec/versions", json!([newer]));
    assert!(refused.starts_with("status.storedVersions[0]: Invalid value: \"v1\": missing from spec.versions; v1 was previously a storage version"), "{refused}");
    let mut older = version;
    older["storage"] = false.into();
    let both = update(&old, with(&old, &[("/spec/versions", json!([older, newer]))])).expect("valid").object;
    assert_eq!(tree(&both)["status"]["storedVersions"], json!(["v1", "v2"]));
}

#[test]
fn schemas_are_structural() {
    let check = |spec: Value, expect: &[&str]| {
        let schema = json!({"type": "object", "properties": {"spec": spec}});
        assert_eq!(structural::problems(&schema), expect);
    };
    let at = "schema.properties[spec]";
    check(json!({"type": "object"}), &[]);
    check(json!({}), &[&format!("{at}.type: Required value: must not be empty for specified object fields")]);
    check(
        json!({"type": "array", "items": {}}),
        &[&format!("{at}.items.type: Required value: must not be empty for specified array items")],
    );
    check(
        json!({"type": "object", "properties": {"a": {"type": "string"}}, "anyOf": [{"properties": {"b": {"minLength": 1}}}]}),
        &[&format!("{at}.properties[b]: Required value: because it is defined in {at}.anyOf[0].properties[b]")],
    );
    check(
        json!({"type": "object", "properties": {"a": {"type": "string"}}, "allOf": [{"properties": {"a": {"type": "string"}}}]}),
        &[&format!("{at}.allOf[0].properties[a].type: Forbidden: must be empty to be structural")],
    );
    check(json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}), &[]);
    check(
        json!({"type": "array", "uniqueItems": true, "items": {"type": "string"}}),
        &[&format!(
            "{at}.uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        )],
    );
    check(
        json!({"type": "object", "additionalProperties": {"type": "string"}, "properties": {"a": {"type": "string"}}}),
        &[&format!("{at}.additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive")],
    );
    let items = json!({"type": "object", "properties": {"name": {"type": "string"}}});
    check(
        json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name", "port"], "items": items}),
        &[
            &format!(
                "{at}.items.properties[name].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            ),
            &format!(
                "{at}.x-kubernetes-list-map-keys[1]: Invalid value: \"port\": entries must all be names of item properties"
            ),
        ],
    );
    check(
        json!({"type": "string", "pattern": "("}),
        &[&format!(
            "{at}.pattern: Invalid value: \"(\": must be a valid regular expression, but isn't: error: unclosed group"
        )],
    );
    check(
        json!({"type": "integer", "default": "x"}),
        &[&format!("{at}.default: Invalid value: \"string\":  in body must be of type integer: \"string\"")],
    );
}

#[test]
fn unknown_words_of_a_schema_are_named() {
    let refused = |path: &str, wrong: Value| message(create(DEFINITION, plus(cron_tab(), path, wrong)));
    let words = "CustomResourceDefinition in version \"v1\" cannot be handled as a CustomResourceDefinition: strict decoding error: ";
    assert_eq!(
        refused("/spec/versions/0/schema/openAPIV3Schema/properties/spec/propertees", json!({})),
        format!("{words}unknown field \"spec.versions[0].schema.openAPIV3Schema.properties.spec.propertees\"")
    );
    let limits = json!({"type": "object", "additionalProperties": {"type": "number", "maximum": 1.5, "minimum": 0}});
    let definition =
        plus(cron_tab(), "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/limits", limits.clone());
    let stored = completed(DEFINITION, definition);
    let schema =
        &stored["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["limits"];
    assert_eq!(*schema, limits, "word for word");
}
