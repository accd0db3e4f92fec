//! A kind in a version that its objects are not stored in.
//!
//! Objects are stored in one version. Another one is two functions: what somebody says in it in the words of the stored version,
//! and a stored object in its own words. Everything else is the stored kind's.

use std::borrow::Cow;
use std::marker::PhantomData;

use jiff::Timestamp;
use serde_json::Value;

use crate::admit::{cannot_handle, identify, judge_unknown};
use crate::decode::decode;
use crate::kind::{Admission, Admitted, FieldValidation, Heading, Kind, Names, Operation, Subresource};
use crate::rules::Causes;
use crate::{GroupKind, Object, StatusError, schema};

/// What the author of another version writes.
pub trait Version: Send + Sync + 'static {
    /// The type that objects have in this version.
    type Object: schemars::JsonSchema;

    /// What the kind is called in it.
    const NAMES: &'static Names;
    /// The fields a field selector may name, and what the stored kind calls each.
    const SELECTABLE: &'static [(&'static str, &'static str)] = &[];

    /// The kind as it is stored.
    fn stored() -> &'static dyn Kind;

    /// The words of the stored version for what is said in this one.
    fn to_stored(said: Value) -> Value;

    /// The words of this version for what is stored.
    fn of_stored(stored: Value) -> Value;

    /// Everything that this version alone finds wrong with a new object.
    fn validate_create(_said: &Value, _causes: &mut Causes) {}
}

/// The kind that a version makes.
#[derive(Debug, Default)]
pub struct In<V>(PhantomData<V>);

// === impl In ===

impl<V> In<V> {
    /// There is one of each.
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<V: Version> Kind for In<V> {
    fn names(&self) -> &'static Names {
        V::NAMES
    }

    fn subresources(&self) -> &'static [Subresource] {
        V::stored().subresources()
    }

    fn admit(&self, mut incoming: Value, admission: &Admission<'_>) -> Result<Admitted, StatusError> {
        identify(V::NAMES, &mut incoming)?;
        let decoded = decode(&schema::of_kind(V::NAMES), incoming).map_err(|why| cannot_handle(V::NAMES, &why))?;
        let mut warnings = judge_unknown(V::NAMES, &decoded.unknown, admission.validation, admission.duplicates)?;
        if matches!(admission.operation, Operation::Create { .. }) {
            let mut causes = Causes::default();
            V::validate_create(&decoded.value, &mut causes);
            if !causes.is_empty() {
                let name = decoded.value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
                return Err(StatusError::invalid(V::NAMES, name, causes.into_inner()));
            }
        }
        let stored = V::stored();
        let mut said = V::to_stored(decoded.value);
        said["apiVersion"] = stored.names().api_version().into();
        // What this version does not have was found, the stored one is not to find it again.
        let known = Admission { validation: FieldValidation::Ignore, duplicates: &[], ..*admission };
        let mut admitted = stored.admit(said, &known)?;
        warnings.append(&mut admitted.warnings);
        Ok(Admitted { object: admitted.object, warnings })
    }

    fn columns(&self) -> Vec<Heading<'_>> {
        V::stored().columns()
    }

    fn cells(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        V::stored().cells(object, now)
    }

    fn fields(&self, object: &Object) -> Vec<(&str, String)> {
        let stored = V::stored().fields(object);
        let value = |name: &str| stored.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
        V::SELECTABLE.iter().map(|(own, name)| (*own, value(name).unwrap_or_default())).collect()
    }

    fn selectable(&self) -> Vec<&str> {
        V::SELECTABLE.iter().map(|(own, _)| *own).collect()
    }

    fn scale(&self, object: &Object) -> Option<Value> {
        V::stored().scale(object)
    }

    fn with_scale(&self, object: &Object, scale: &Value) -> Result<Value, StatusError> {
        V::stored().with_scale(object, scale).map(Self::said)
    }

    fn schema(&self, generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        generator.subschema_for::<V::Object>()
    }

    fn group_kind(&self) -> GroupKind {
        V::stored().group_kind()
    }

    fn shown<'a>(&self, stored: &'a Object) -> Cow<'a, Object> {
        let shown = || {
            let value = Self::said(serde_json::from_slice(stored.body()).ok()?);
            Object::from_value(self.group_kind(), &value).ok()
        };
        shown().map_or(Cow::Borrowed(stored), |shown| Cow::Owned(shown.at(stored.revision())))
    }
}

impl<V: Version> In<V> {
    fn said(stored: Value) -> Value {
        let mut said = V::of_stored(stored);
        said["apiVersion"] = V::NAMES.api_version().into();
        said["kind"] = V::NAMES.kind.into();
        said
    }
}
