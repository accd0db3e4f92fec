//! A `CustomResourceDefinition` as everything here reads it. Schemas stay text, word for word: a tree of one is many times larger,
//! and nobody needs it for longer than a moment.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as upstream;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::{ClusterResourceScope, Metadata, Resource};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// What a kind is that the cluster is taught.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "the names are Kubernetes' own and say it")]
pub struct CustomResourceDefinition {
    api_version: String,
    kind: String,
    pub metadata: ObjectMeta,
    pub spec: DefinitionSpec,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<DefinitionStatus>,
}

/// What is wanted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "the names are Kubernetes' own and say it")]
pub struct DefinitionSpec {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversion: Option<Conversion>,
    pub group: String,
    pub names: DefinitionNames,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preserve_unknown_fields: Option<bool>,
    pub scope: String,
    pub versions: Vec<DefinitionVersion>,
}

/// How objects of one version become objects of another.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "the names are Kubernetes' own and say it")]
pub struct Conversion {
    pub strategy: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Value>,
}

/// What the kind is called.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "the names are Kubernetes' own and say it")]
pub struct DefinitionNames {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<String>,
    pub kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub list_kind: String,
    pub plural: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub short_names: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub singular: String,
}

/// The kind in one version.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "the names are Kubernetes' own and say it")]
pub struct DefinitionVersion {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub additional_printer_columns: Vec<Value>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub deprecated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deprecation_warning: Option<String>,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<Validation>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub selectable_fields: Vec<SelectableField>,
    pub served: bool,
    pub storage: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subresources: Option<Subresources>,
}

/// Where the schema is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names are Kubernetes' own and say it")]
pub struct Validation {
    #[serde(rename = "openAPIV3Schema", default, skip_serializing_if = "Option::is_none")]
    pub open_api_v3_schema: Option<Written>,
}

/// A schema as it is written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Written(Box<RawValue>);

/// A field that a field selector may name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "the names are Kubernetes' own and say it")]
pub struct SelectableField {
    pub json_path: String,
}

/// What may be asked beside the object itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are Kubernetes' own and say it")]
pub struct Subresources {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<ScalePaths>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Value>,
}

/// Where the numbers of a scale are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "the names are Kubernetes' own and say it")]
pub struct ScalePaths {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_selector_path: Option<String>,
    pub spec_replicas_path: String,
    pub status_replicas_path: String,
}

/// What there is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "the names are Kubernetes' own and say it")]
pub struct DefinitionStatus {
    pub accepted_names: DefinitionNames,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stored_versions: Vec<String>,
}

/// Something that holds of a definition, or does not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "the names are Kubernetes' own and say it")]
pub struct Condition {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Time>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    pub status: String,
    pub r#type: String,
}

/// The kind is served.
pub const CONDITION_ESTABLISHED: &str = "Established";
/// Nobody else has its names.
pub const CONDITION_NAMES_ACCEPTED: &str = "NamesAccepted";
/// It is on its way out.
pub const CONDITION_TERMINATING: &str = "Terminating";

// === impl CustomResourceDefinition ===

impl CustomResourceDefinition {
    /// Whether a condition holds.
    pub fn is(&self, condition: &str) -> bool {
        let conditions = self.status.iter().flat_map(|status| &status.conditions);
        conditions.into_iter().any(|one| one.r#type == condition && one.status == "True")
    }
}

impl Resource for CustomResourceDefinition {
    const API_VERSION: &'static str = <upstream::CustomResourceDefinition as Resource>::API_VERSION;
    const GROUP: &'static str = <upstream::CustomResourceDefinition as Resource>::GROUP;
    const KIND: &'static str = <upstream::CustomResourceDefinition as Resource>::KIND;
    const VERSION: &'static str = <upstream::CustomResourceDefinition as Resource>::VERSION;
    const URL_PATH_SEGMENT: &'static str = <upstream::CustomResourceDefinition as Resource>::URL_PATH_SEGMENT;
    type Scope = ClusterResourceScope;
}

impl Metadata for CustomResourceDefinition {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl schemars::JsonSchema for CustomResourceDefinition {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        upstream::CustomResourceDefinition::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        upstream::CustomResourceDefinition::json_schema(generator)
    }
}

// === impl Written ===

impl Written {
    /// As a tree.
    pub fn tree(&self) -> Value {
        serde_json::from_str(self.0.get()).unwrap_or_default()
    }
}

impl PartialEq for Written {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

// === impl DefinitionSpec ===

impl DefinitionSpec {
    /// The version in which objects are stored.
    pub fn storage(&self) -> Option<&DefinitionVersion> {
        self.versions.iter().find(|version| version.storage)
    }
}
