//! What the author of a kind writes: one unit type that implements [`Resource`]. [`Kind`] follows from it.

use jiff::Timestamp;
use k8s_openapi::Metadata;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::kind::{Admission, Admitted, Column, Kind, Names, Subresource};
use crate::rules::{Causes, NameRule};
use crate::{Object, StatusError, admit, scale};

/// A kind, typed. Siblings have the same anatomy: names, defaults, rules, cells, fields.
pub trait Resource: Send + Sync + 'static {
    /// The type that objects of the kind have.
    type Object: DeserializeOwned
        + Serialize
        + Metadata<Ty = ObjectMeta>
        + schemars::JsonSchema
        + Clone
        + Send
        + Sync
        + 'static;

    /// What it is called.
    const NAMES: &'static Names;
    /// What else may be asked of its objects.
    const SUBRESOURCES: &'static [Subresource] = &[];
    /// What its names look like.
    const NAME_RULE: NameRule = NameRule::Subdomain;
    /// Whether `metadata.generation` counts the changes of what is wanted.
    const COUNTS_GENERATIONS: bool = false;
    /// Whether an update may leave out which version it was made for.
    const UPDATES_BLINDLY: bool = true;
    /// The columns of its table.
    const COLUMNS: &'static [Column];
    /// The fields a field selector may name.
    const SELECTABLE: &'static [&'static str] = &[];

    /// Fills in what a client may leave out.
    fn default(_object: &mut Self::Object) {}

    /// What the server sets on a new object, whatever the client says.
    fn prepare_create(_object: &mut Self::Object) {}

    /// What the server keeps or sets when an object changes, whatever the client says.
    fn prepare_update(_object: &mut Self::Object, _old: &Self::Object) {}

    /// Everything wrong with an object.
    fn validate(object: &Self::Object, causes: &mut Causes);

    /// Everything else wrong with a new object.
    fn validate_create(_object: &Self::Object, _causes: &mut Causes) {}

    /// Everything wrong with a change.
    fn validate_update(_object: &Self::Object, _old: &Self::Object, _causes: &mut Causes) {}

    /// What stays as it is when an object is resized, whatever the client says.
    fn prepare_resize(_object: &mut Self::Object, _old: &Self::Object) {}

    /// Everything wrong with a resize.
    fn validate_resize(_object: &Self::Object, _old: &Self::Object, _causes: &mut Causes) {}

    /// What deserves a sentence although it is accepted.
    fn warnings(_object: &Self::Object) -> Vec<String> {
        Vec::new()
    }

    /// The cells of its row.
    fn cells(object: &Self::Object, now: Timestamp) -> Vec<Value>;

    /// The fields a field selector may name, with their values.
    fn fields(_object: &Self::Object) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

impl<R: Resource> Kind for R {
    fn names(&self) -> &'static Names {
        R::NAMES
    }

    fn subresources(&self) -> &'static [Subresource] {
        R::SUBRESOURCES
    }

    fn admit(&self, incoming: Value, admission: &Admission<'_>) -> Result<Admitted, StatusError> {
        admit::admit::<R>(incoming, admission)
    }

    fn updates_blindly(&self) -> bool {
        R::UPDATES_BLINDLY
    }

    fn columns(&self) -> Vec<Column> {
        R::COLUMNS.to_vec()
    }

    fn cells(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        match object.decode::<R::Object>() {
            Ok(typed) => R::cells(&typed, now),
            Err(_) => R::COLUMNS.iter().map(|column| unreadable(column, object)).collect(),
        }
    }

    fn fields(&self, object: &Object) -> Vec<(&str, String)> {
        if R::SELECTABLE.is_empty() {
            return Vec::new();
        }
        object.decode::<R::Object>().map(|typed| R::fields(&typed)).unwrap_or_default()
    }

    fn selectable(&self) -> Vec<&str> {
        R::SELECTABLE.to_vec()
    }

    fn schema(&self, generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        generator.subschema_for::<R::Object>()
    }

    fn scale(&self, object: &Object) -> Option<Value> {
        R::SUBRESOURCES.contains(&Subresource::Scale).then(|| scale::of(object))?
    }

    fn with_scale(&self, object: &Object, scale: &Value) -> Result<Value, StatusError> {
        scale::set(R::NAMES, object, scale)
    }
}

/// A row that cannot be read still tells its name.
fn unreadable(column: &Column, object: &Object) -> Value {
    if column.format == "name" { object.key().name().into() } else { "<unknown>".into() }
}
