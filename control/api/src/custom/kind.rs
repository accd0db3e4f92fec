//! One version of a custom kind.

use std::borrow::Cow;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::columns::{self, PrinterColumn};
use super::definition::{CustomResourceDefinition, DefinitionVersion, Written};
use super::scale::Places;
use super::{JsonPath, Schema, admit, compile, complete, names, open_api, prune};
use crate::managed::Shape;
use crate::{
    Admission, Admitted, GroupKind, Heading, Key, Kind, Names, Object, Revision, StatusError, Subresource, kinds,
};

/// A custom kind in one version, ready to be served.
#[derive(Debug)]
pub struct CustomKind {
    pub(super) names: &'static Names,
    /// The version in which objects are stored, as in `apiVersion`.
    pub(super) stored_version: String,
    pub(super) schema: Schema,
    pub(super) has_rules: bool,
    /// Objects that were written before this may not be what the schema asks for.
    since: Revision,
    list_kind: String,
    subresources: &'static [Subresource],
    columns: Vec<PrinterColumn>,
    fields: Vec<(String, JsonPath)>,
    scale: Option<Places>,
    written: Option<Written>,
    deprecation: Option<String>,
    definition: Key,
}

// === impl CustomKind ===

impl CustomKind {
    /// The kind as the definition, which was written at `since`, has it in a version; nothing if there have been too many kinds.
    pub fn new(definition: &CustomResourceDefinition, version: &DefinitionVersion, since: Revision) -> Option<Self> {
        let names = names::of(definition, version)?;
        let written = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.clone());
        let subresources = version.subresources.as_ref();
        let has_status = subresources.is_some_and(|parts| parts.status.is_some());
        let scale = subresources.and_then(|parts| parts.scale.as_ref());
        let storage = definition.spec.storage().map_or(names.version, |storage| storage.name.as_str());
        let field = |path: &str| Some((path.trim_start_matches('.').to_owned(), JsonPath::parse(path).ok()?));
        let warning = || format!("{}/{} {} is deprecated", names.group, names.version, names.kind);
        let schema = compile(&written.as_ref().map(Written::tree).unwrap_or_default());
        Some(Self {
            names,
            stored_version: format!("{}/{storage}", names.group),
            has_rules: schema.has_rules(),
            schema,
            since,
            list_kind: definition.spec.names.list_kind.clone(),
            subresources: match (has_status, scale.is_some()) {
                (false, false) => &[],
                (true, false) => &[Subresource::Status],
                (false, true) => &[Subresource::Scale],
                (true, true) => &[Subresource::Status, Subresource::Scale],
            },
            columns: columns::compile(&version.additional_printer_columns),
            fields: version.selectable_fields.iter().filter_map(|one| field(&one.json_path)).collect(),
            scale: scale.map(Places::new),
            written,
            deprecation: version.deprecated.then(|| version.deprecation_warning.clone().unwrap_or_else(warning)),
            definition: kinds::CUSTOM_RESOURCE_DEFINITION.cluster_key(&names.resource()),
        })
    }

    /// The tree of a stored object, as this version says it.
    pub(super) fn tree(&self, stored: &Object) -> Value {
        self.shown(stored).to_value().unwrap_or_default()
    }

    /// An object from before the schema was what it is.
    fn renewed(&self, stored: &Object) -> Option<Object> {
        let mut value = stored.to_value().ok()?;
        prune(&self.schema, &mut value, &mut Vec::new());
        complete(&self.schema, &mut value);
        value["apiVersion"] = self.names.api_version().into();
        let mut renewed = Object::from_value(stored.key().kind(), &value).ok()?;
        if renewed.revision() == Revision::ZERO {
            renewed = renewed.at(stored.revision());
        }
        Some(renewed)
    }
}

impl Kind for CustomKind {
    fn names(&self) -> &'static Names {
        self.names
    }

    fn subresources(&self) -> &'static [Subresource] {
        self.subresources
    }

    fn admit(&self, incoming: Value, admission: &Admission<'_>) -> Result<Admitted, StatusError> {
        admit::admit(self, incoming, admission)
    }

    fn columns(&self) -> Vec<Heading<'_>> {
        columns::headings(&self.columns)
    }

    fn cells(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        columns::cells(&self.columns, object.key().name(), &self.tree(object), now)
    }

    fn fields(&self, object: &Object) -> Vec<(&str, String)> {
        if self.fields.is_empty() {
            return Vec::new();
        }
        let tree = self.tree(object);
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), Into::into);
        let value = |path: &JsonPath| path.find(&tree).first().map(|value| text(value)).unwrap_or_default();
        self.fields.iter().map(|(name, path)| (name.as_str(), value(path))).collect()
    }

    fn selectable(&self) -> Vec<&str> {
        self.fields.iter().map(|(name, _)| name.as_str()).collect()
    }

    fn scale(&self, object: &Object) -> Option<Value> {
        self.scale.as_ref()?.of(&self.tree(object))
    }

    fn with_scale(&self, object: &Object, scale: &Value) -> Result<Value, StatusError> {
        let Some(places) = &self.scale else { return Err(StatusError::internal("the kind has no scale")) };
        places.set(self.names, object, self.tree(object), scale)
    }

    fn replicas_path(&self) -> String {
        self.scale.as_ref().map(Places::wanted).unwrap_or_default()
    }

    fn schema(&self, generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        generator.subschema_for::<ObjectMeta>()
    }

    fn published(&self) -> Option<Value> {
        Some(open_api::published(self.names, self.written.as_ref().map(Written::tree).unwrap_or_default()))
    }

    fn group_kind(&self) -> GroupKind {
        GroupKind::new(self.names.group, self.names.kind)
    }

    fn shown<'a>(&self, stored: &'a Object) -> Cow<'a, Object> {
        let is_old = stored.revision() != Revision::ZERO && stored.revision() < self.since;
        let version = self.names.api_version();
        let shown = if is_old {
            self.renewed(stored)
        } else if stored.is_in_version(&version) {
            None
        } else {
            stored.in_version(&version).ok()
        };
        shown.filter(|shown| shown != stored).map_or(Cow::Borrowed(stored), Cow::Owned)
    }

    fn shape(&self) -> Shape<'_> {
        Shape::of_custom(&self.schema)
    }

    fn patches_strategically(&self) -> bool {
        false
    }

    fn list_kind(&self) -> Cow<'_, str> {
        self.list_kind.as_str().into()
    }

    fn definition(&self) -> String {
        open_api::name(self.names)
    }

    fn taught_by(&self) -> Option<&Key> {
        Some(&self.definition)
    }

    fn deprecation(&self) -> Option<&str> {
        self.deprecation.as_deref()
    }
}
