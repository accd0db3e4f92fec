//! What a custom kind says of itself in OpenAPI.

use serde_json::{Value, json};

use crate::Names;

const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const METADATA: &str = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
const OBJECT_META: &str = "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// The name of a kind's definition: its group from behind, its version, the kind.
pub(super) fn name(names: &Names) -> String {
    let group: Vec<&str> = names.group.rsplit('.').collect();
    format!("{}.{}.{}", group.join("."), names.version, names.kind)
}

/// The definition: the schema as it was written, with what every object has.
pub(super) fn published(names: &Names, mut published: Value) -> Value {
    if !published.is_object() {
        published = json!({});
    }
    let Some(members) = published.as_object_mut() else { return published };
    members.insert("type".into(), "object".into());
    let properties = members.entry("properties").or_insert_with(|| json!({}));
    properties["apiVersion"] = json!({"description": API_VERSION, "type": "string"});
    properties["kind"] = json!({"description": KIND, "type": "string"});
    properties["metadata"] = json!({"description": METADATA, "allOf": [{"$ref": OBJECT_META}]});
    members.insert(
        "x-kubernetes-group-version-kind".into(),
        json!([{"group": names.group, "version": names.version, "kind": names.kind}]),
    );
    published
}
