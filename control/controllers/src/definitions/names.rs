//! Which names a definition may have beside the others of its group.

use std::collections::BTreeSet;

use api::custom::{CustomResourceDefinition, DefinitionNames};
use api::{Object, catalog};
use state::Snapshot;

use super::{DEFINITION, group_of};

/// What others have.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// Plurals, singulars and short names: all are asked for by the same words.
    resources: BTreeSet<String>,
    /// Kinds, and the kinds of lists.
    kinds: BTreeSet<String>,
}

/// Why names are not accepted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// What the others of the group have, or will have because they are older.
pub(super) fn taken(own: &Object, view: &Snapshot) -> Taken {
    let mut taken = Taken::default();
    // Nobody teaches what the program knows by itself.
    for names in catalog::all().iter().map(|kind| kind.names()).filter(|names| names.group == group_of(own)) {
        taken.resources.extend([names.plural, names.singular].map(String::from));
        taken.resources.extend(names.short.iter().copied().map(String::from));
        taken.kinds.extend([names.kind.to_owned(), format!("{}List", names.kind)]);
    }
    let age = |object: &Object| (object.meta().creation_timestamp, object.key().name().to_owned());
    let others = view.list(DEFINITION).filter(|other| other.key() != own.key() && group_of(other) == group_of(own));
    for other in others {
        let Ok(definition) = other.decode::<CustomResourceDefinition>() else { continue };
        let accepted = definition.status.as_ref().map(|status| &status.accepted_names);
        let names = match accepted {
            Some(accepted) if !accepted.plural.is_empty() => accepted,
            _ if age(other) < age(own) => &definition.spec.names,
            _ => continue,
        };
        taken.resources.extend([names.plural.clone(), names.singular.clone()]);
        taken.resources.extend(names.short_names.iter().cloned());
        taken.kinds.extend([names.kind.clone(), names.list_kind.clone()]);
    }
    taken
}

/// Accepts of the wanted names what nobody else has; what somebody has stays as it was accepted before.
pub(super) fn accept(wanted: &DefinitionNames, accepted: &mut DefinitionNames, taken: &Taken) -> Option<Refused> {
    let mut refused = None;
    let mut judge = |name: &str, is_taken: bool, reason: &'static str| {
        if is_taken {
            let message = format!("{name:?} is already in use");
            refused.get_or_insert(Refused { reason, message });
        }
        !is_taken
    };
    let resource = |name: &str| taken.resources.contains(name);
    let kind = |name: &str| taken.kinds.contains(name);
    if judge(&wanted.plural, resource(&wanted.plural), "PluralConflict") {
        accepted.plural.clone_from(&wanted.plural);
    }
    if judge(&wanted.singular, resource(&wanted.singular), "SingularConflict") {
        accepted.singular.clone_from(&wanted.singular);
    }
    let short = wanted.short_names.iter().find(|name| resource(name));
    if judge(short.map_or("", String::as_str), short.is_some(), "ShortNamesConflict") {
        accepted.short_names.clone_from(&wanted.short_names);
    }
    if judge(&wanted.kind, kind(&wanted.kind), "KindConflict") {
        accepted.kind.clone_from(&wanted.kind);
    }
    if judge(&wanted.list_kind, kind(&wanted.list_kind), "ListKindConflict") {
        accepted.list_kind.clone_from(&wanted.list_kind);
    }
    accepted.categories.clone_from(&wanted.categories);
    refused
}
