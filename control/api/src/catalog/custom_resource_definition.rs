//! What a kind is that the cluster is taught.

mod names;
mod rules;
mod structural;
mod versions;

use jiff::Timestamp;
use serde_json::Value;

use super::{CREATED_AT, NAME};
use crate::custom::{CONDITION_ESTABLISHED, Conversion, CustomResourceDefinition};
use crate::rules::Causes;
use crate::{Column, Names, Resource, Scope, Subresource, cells};

/// The kind.
#[derive(Debug)]
pub struct CustomResourceDefinitions;

impl Resource for CustomResourceDefinitions {
    type Object = CustomResourceDefinition;

    const NAMES: &'static Names = &Names {
        group: "apiextensions.k8s.io",
        version: "v1",
        kind: "CustomResourceDefinition",
        plural: "customresourcedefinitions",
        singular: "customresourcedefinition",
        short: &["crd", "crds"],
        categories: &["api-extensions"],
        scope: Scope::Cluster,
    };
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status];
    const COUNTS_GENERATIONS: bool = true;
    const COLUMNS: &'static [Column] = &[NAME, CREATED_AT];

    fn default(definition: &mut CustomResourceDefinition) {
        let names = &mut definition.spec.names;
        if names.singular.is_empty() {
            names.singular = names.kind.to_lowercase();
        }
        if names.list_kind.is_empty() && !names.kind.is_empty() {
            names.list_kind = format!("{}List", names.kind);
        }
        definition
            .spec
            .conversion
            .get_or_insert_with(|| Conversion { strategy: rules::CONVERSION_NONE.into(), webhook: None });
    }

    fn prepare_create(definition: &mut CustomResourceDefinition) {
        definition.status = None;
        remember_storage(definition);
    }

    fn prepare_update(definition: &mut CustomResourceDefinition, _old: &CustomResourceDefinition) {
        remember_storage(definition);
    }

    fn validate(definition: &CustomResourceDefinition, causes: &mut Causes) {
        rules::validate(definition, causes);
    }

    fn validate_update(definition: &CustomResourceDefinition, old: &CustomResourceDefinition, causes: &mut Causes) {
        let (new, was) = (&definition.spec, &old.spec);
        if old.is(CONDITION_ESTABLISHED) {
            // Where and as what objects are stored cannot change under them.
            causes.immutable("spec.scope", &new.scope, &was.scope);
            causes.immutable("spec.names.kind", &new.names.kind, &was.names.kind);
        }
        causes.immutable("spec.group", &new.group, &was.group);
        causes.immutable("spec.names.plural", &new.names.plural, &was.names.plural);
    }

    fn cells(definition: &CustomResourceDefinition, _now: Timestamp) -> Vec<Value> {
        vec![cells::name(&definition.metadata), cells::created_at(&definition.metadata)]
    }
}

/// Objects may be stored in every version that was ever the one to store in.
fn remember_storage(definition: &mut CustomResourceDefinition) {
    let Some(storage) = definition.spec.storage().map(|version| version.name.clone()) else { return };
    let stored = &mut definition.status.get_or_insert_default().stored_versions;
    if !stored.contains(&storage) {
        stored.push(storage);
    }
}

#[cfg(test)]
mod tests;
