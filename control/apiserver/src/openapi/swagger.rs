//! The same documents as one of OpenAPI v2, for clients that fall back to it.
//!
//! kubectl does so for whatever version 3 has no document of: a kind that nobody knows is then refused by kubectl itself, in
//! the words its users know, and the items of a `List` are checked one by one.

use serde_json::{Map, Value, json};

use super::document::REFERENCE;
use crate::VERSION;

const DEFINITION: &str = "#/definitions/";
const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const OPERATIONS: [&str; 4] = ["get", "put", "post", "delete"];
/// What a schema says in both versions in the same words.
const KEPT: [&str; 5] = ["description", "type", "format", "required", "enum"];

/// One document of version 2 that says what all these of version 3 say.
pub(super) fn of<'a>(documents: impl Iterator<Item = &'a Value>) -> Value {
    let (mut paths, mut definitions) = (Map::new(), Map::new());
    for document in documents {
        for (path, item) in members(&document["paths"]) {
            paths.insert(path.clone(), path_item(item));
        }
        for (name, schema) in members(&document["components"]["schemas"]) {
            definitions.entry(name.clone()).or_insert_with(|| definition(name, schema));
        }
    }
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": VERSION},
        "paths": paths,
        "definitions": definitions,
    })
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn path_item(item: &Value) -> Value {
    let operations = OPERATIONS.iter().chain(&["patch"]);
    let told = operations.filter_map(|method| Some(((*method).to_owned(), operation(item.get(method)?))));
    Value::Object(told.collect())
}

fn operation(operation: &Value) -> Value {
    let mut told: Map<String, Value> = extensions(operation).collect();
    let content = &operation["requestBody"]["content"];
    let body = members(content)
        .next()
        .map(|(_, media)| json!({"name": "body", "in": "body", "required": true, "schema": schema(&media["schema"])}));
    let parameters = operation["parameters"].as_array().into_iter().flatten().map(|parameter| {
        json!({"name": parameter["name"], "in": parameter["in"], "type": parameter["schema"]["type"], "uniqueItems": true})
    });
    let parameters: Vec<Value> = body.into_iter().chain(parameters).collect();
    let responses = members(&operation["responses"]).map(|(code, response)| {
        let answered = schema(&response["content"]["application/json"]["schema"]);
        (code.clone(), json!({"description": response["description"], "schema": answered}))
    });
    told.insert("responses".into(), Value::Object(responses.collect()));
    told.insert("parameters".into(), parameters.into());
    told.insert("produces".into(), json!(["application/json"]));
    told.insert("consumes".into(), members(content).map(|(media, _)| media.as_str()).collect());
    Value::Object(told)
}

fn extensions(value: &Value) -> impl Iterator<Item = (String, Value)> {
    members(value).filter(|(name, _)| name.starts_with("x-")).map(|(name, value)| (name.clone(), value.clone()))
}

fn definition(name: &str, of: &Value) -> Value {
    let mut told = schema(of);
    // Version 2 has no type for a number or text: Kubernetes calls it text, with a format of its own.
    if told.get("x-kubernetes-int-or-string").is_some() {
        told = json!({"description": told["description"], "type": "string"});
        if name != QUANTITY {
            told["format"] = "int-or-string".into();
        }
    }
    told
}

fn schema(of: &Value) -> Value {
    let reference = of.get("$ref").or_else(|| of.pointer("/allOf/0/$ref")).and_then(Value::as_str);
    let mut told: Map<String, Value> = extensions(of).collect();
    told.extend(KEPT.iter().filter_map(|word| Some(((*word).to_owned(), of.get(word)?.clone()))));
    if let Some(name) = reference.and_then(|reference| reference.strip_prefix(REFERENCE)) {
        told.insert("$ref".into(), format!("{DEFINITION}{name}").into());
        return Value::Object(told);
    }
    if of.get("properties").is_some() {
        let properties = members(&of["properties"]).map(|(name, of)| (name.clone(), schema(of)));
        told.insert("properties".into(), Value::Object(properties.collect()));
    }
    if let Some(items) = of.get("items") {
        told.insert("items".into(), schema(items));
    }
    match of.get("additionalProperties") {
        Some(values @ Value::Object(_)) => drop(told.insert("additionalProperties".into(), schema(values))),
        Some(allowed @ Value::Bool(_)) => drop(told.insert("additionalProperties".into(), allowed.clone())),
        _ => {}
    }
    Value::Object(told)
}

#[cfg(test)]
mod tests {
    use super::super::document;
    use super::*;
    use api::kinds;

    fn apps() -> Value {
        let document = document::of(&[api::catalog::by_kind(kinds::DEPLOYMENT).expect("in the catalog").into()], &[]);
        of(std::iter::once(&document))
    }

    #[test]
    fn a_patch_operation_offers_field_validation() {
        let patch = apps()["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"].clone();
        assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Deployment");
        let parameters = patch["parameters"].as_array().expect("parameters");
        assert!(parameters.iter().any(|one| one["name"] == "fieldValidation" && one["in"] == "query"));
    }

    #[test]
    fn types_refer_to_each_other() {
        let definitions = &apps()["definitions"];
        let deployment = &definitions["io.k8s.api.apps.v1.Deployment"];
        assert_eq!(deployment["properties"]["spec"]["$ref"], "#/definitions/io.k8s.api.apps.v1.DeploymentSpec");
        let containers = &definitions["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
        assert_eq!(containers["items"]["$ref"], "#/definitions/io.k8s.api.core.v1.Container");
        assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
        let port = &definitions["io.k8s.apimachinery.pkg.util.intstr.IntOrString"];
        assert_eq!((port["type"].as_str(), port["format"].as_str()), (Some("string"), Some("int-or-string")));
        for (name, definition) in members(definitions) {
            for (_, of) in members(&definition["properties"]) {
                let target = of["$ref"].as_str().or(of["items"]["$ref"].as_str());
                let known = target.is_none_or(|one| definitions.get(one.trim_start_matches(DEFINITION)).is_some());
                assert!(known, "{name} refers to {target:?}");
            }
        }
    }
}
