//! One document: the kinds of one group and version, and everything their types refer to.

use api::patch::facts;
use api::schema::{self, Message};
use api::{Kind, Names, Scope, SharedKind};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::VERSION;
use crate::review::Review;

pub(super) const REFERENCE: &str = "#/components/schemas/";
const PATCH_TYPES: [&str; 4] = [
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// The document of these kinds and reviews.
pub(super) fn of(kinds: &[SharedKind], reviews: &[&'static Review]) -> Value {
    let mut generator = SchemaSettings::openapi3().into_generator();
    let mut paths = Map::new();
    for kind in kinds {
        kind.schema(&mut generator);
        paths.extend(paths_of(&**kind));
    }
    for review in reviews {
        (review.schema)(&mut generator);
        paths.extend([path_of(review)]);
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": VERSION},
        "paths": paths,
        "components": {"schemas": schemas(generator, kinds, reviews)},
    })
}

fn paths_of(kind: &dyn Kind) -> Map<String, Value> {
    let names = kind.names();
    let collection = collection(names);
    let reference = json!({"$ref": format!("{REFERENCE}{}", kind.definition())});
    let content = json!({"application/json": {"schema": reference}});
    let answers = json!({"200": {"description": "OK", "content": content}});
    let identity = json!({"group": names.group, "version": names.version, "kind": names.kind});
    let operation = |action: &str, parameters: Value, body: Option<Value>| {
        let mut operation = json!({
            "x-kubernetes-action": action, "x-kubernetes-group-version-kind": identity,
            "parameters": parameters, "responses": answers,
        });
        if let Some(body) = body {
            operation["requestBody"] = json!({"content": body});
        }
        operation
    };
    let strategic = "application/strategic-merge-patch+json";
    let types = PATCH_TYPES.iter().filter(|media| kind.patches_strategically() || **media != strategic);
    let patches: Map<String, Value> =
        types.map(|media| ((*media).to_owned(), json!({"schema": {"type": "object"}}))).collect();
    let mut patching = writing();
    if let Some(parameters) = patching.as_array_mut() {
        parameters.push(parameter("force", "boolean"));
    }
    let object = json!({
        "get": operation("get", json!([]), None),
        "put": operation("put", writing(), Some(content.clone())),
        "patch": operation("patch", patching, Some(patches.into())),
        "delete": operation("delete", json!([parameter("dryRun", "string")]), None),
    });
    let collected = json!({
        "get": operation("list", json!([]), None),
        "post": operation("post", writing(), Some(content)),
    });
    let one = format!("{collection}/{{name}}");
    [(collection, collected), (one, object)].into_iter().collect()
}

/// A review is only created.
fn path_of(review: &Review) -> (String, Value) {
    let names = review.names;
    let reference = json!({"$ref": format!("{REFERENCE}{}", definition(names))});
    let content = json!({"application/json": {"schema": reference}});
    let post = json!({
        "x-kubernetes-action": "post",
        "x-kubernetes-group-version-kind": {"group": names.group, "version": names.version, "kind": names.kind},
        "parameters": writing(), "requestBody": {"content": content},
        "responses": {"201": {"description": "Created", "content": content}},
    });
    (collection(names), json!({"post": post}))
}

fn collection(names: &Names) -> String {
    let root = if names.group.is_empty() { "/api" } else { "/apis" };
    let namespace = if names.scope == Scope::Namespaced { "/namespaces/{namespace}" } else { "" };
    format!("{root}/{}{namespace}/{}", names.api_version(), names.plural)
}

fn writing() -> Value {
    json!([parameter("dryRun", "string"), parameter("fieldManager", "string"), parameter("fieldValidation", "string")])
}

fn parameter(name: &str, of: &str) -> Value {
    json!({"name": name, "in": "query", "schema": {"type": of}})
}

fn definition(names: &Names) -> String {
    format!("io.k8s.{}", schema::of_kind(names))
}

/// Every type, with what the types themselves do not say: which kind they are, and how their lists merge.
fn schemas(mut generator: SchemaGenerator, kinds: &[SharedKind], reviews: &[&'static Review]) -> Map<String, Value> {
    let mut schemas = generator.take_definitions(true);
    for (name, schema) in &mut schemas {
        wrap(schema);
        if let Some(message) = name.strip_prefix("io.k8s.").and_then(schema::message) {
            merge_keys(message, schema);
        }
    }
    let of_kinds = kinds.iter().map(|kind| (kind.names(), kind.definition()));
    let of_reviews = reviews.iter().map(|review| (review.names, definition(review.names)));
    for (names, definition) in of_kinds.chain(of_reviews) {
        let Some(schema) = schemas.get_mut(&definition) else { continue };
        schema["x-kubernetes-group-version-kind"] =
            json!([{"group": names.group, "version": names.version, "kind": names.kind}]);
        // A client need not send what the server can tell.
        if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
            required.retain(|field| field != "metadata");
            if required.is_empty() {
                schema.as_object_mut().map(|schema| schema.remove("required"));
            }
        }
    }
    for kind in kinds {
        if let Some(published) = kind.published() {
            schemas.insert(kind.definition(), published);
        }
    }
    schemas
}

/// A reference says nothing beside itself in OpenAPI 3.0: what a field says of it goes around it. `nullable` says nothing that
/// Kubernetes' own documents say.
fn wrap(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(wrap),
        Value::Object(members) => {
            for (name, value) in members.iter_mut() {
                match value {
                    // What these hold goes by names of people's choice, which mean nothing here.
                    Value::Object(named) if name == "properties" => named.values_mut().for_each(wrap),
                    value => wrap(value),
                }
            }
            members.remove("nullable");
            if members.len() > 1
                && let Some(reference) = members.remove("$ref")
            {
                members.insert("allOf".into(), json!([{"$ref": reference}]));
            }
        }
        _ => {}
    }
}

/// What says that a map, or an object, is owned as a whole.
const MAP_TYPE: &str = "x-kubernetes-map-type";

/// How objects of a type merge, and each of their members.
fn merge_keys(message: &Message, schema: &mut Value) {
    if facts::is_atomic(message) {
        schema[MAP_TYPE] = "atomic".into();
    }
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for field in message.members() {
        if let (Some(Value::Object(property)), Some(facts)) =
            (properties.get_mut(field.name), facts::of(message, field))
        {
            property.extend(facts.extensions());
        }
        if let Some(Value::Object(property)) = properties.get_mut(field.name)
            && facts::is_atomic_map(message, field)
        {
            property.insert(MAP_TYPE.into(), "atomic".into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::kinds;

    fn apps() -> Value {
        of(&[api::catalog::by_kind(kinds::DEPLOYMENT).expect("in the catalog").into()], &[])
    }

    #[test]
    fn a_patch_operation_offers_field_validation() {
        let document = apps();
        let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
        assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Deployment");
        let parameters = patch["parameters"].as_array().expect("parameters");
        assert!(parameters.iter().any(|one| one["name"] == "fieldValidation"));
        assert!(patch["requestBody"]["content"].get("application/strategic-merge-patch+json").is_some());
    }

    #[test]
    fn lists_say_how_they_merge() {
        let document = apps();
        let containers = &document["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
        assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
        assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
        assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
        let schemas = &document["components"]["schemas"];
        assert_eq!(schemas["io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector"][MAP_TYPE], "atomic");
        let pod = &schemas["io.k8s.api.core.v1.PodSpec"];
        assert_eq!((&pod["properties"]["nodeSelector"][MAP_TYPE], &pod[MAP_TYPE]), (&json!("atomic"), &Value::Null));
    }

    #[test]
    fn a_reference_stands_alone_and_the_kind_is_told() {
        let document = apps();
        let deployment = &document["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"];
        assert_eq!(deployment["x-kubernetes-group-version-kind"][0]["kind"], "Deployment");
        assert_eq!(
            deployment["properties"]["spec"]["allOf"][0]["$ref"],
            "#/components/schemas/io.k8s.api.apps.v1.DeploymentSpec"
        );
        assert!(deployment["properties"]["spec"]["description"].is_string());
    }
}
