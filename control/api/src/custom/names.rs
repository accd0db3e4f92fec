//! The names of learned kinds, kept for the life of the process.
//!
//! Names are told by reference everywhere, to the labels of metrics. A definition that comes back finds the names it had; how many
//! different ones there may be is limited, and who comes after that is not served until the process starts anew.

use std::collections::HashSet;
use std::sync::{LazyLock, Mutex, PoisonError};

use super::definition::{CustomResourceDefinition, DefinitionVersion};
use crate::{GroupKind, Names, Scope};

/// More kinds in more versions than any cluster has; each costs some hundred bytes.
const NAMES_MAX: usize = 20_000;
/// Short names and categories of one kind that are kept; a definition may list more than anyone types.
const WORDS_MAX: usize = 64;

/// What the kind is called in a version; nothing if there have been too many.
pub(super) fn of(definition: &CustomResourceDefinition, version: &DefinitionVersion) -> Option<&'static Names> {
    static KNOWN: LazyLock<Mutex<HashSet<&'static Names>>> = LazyLock::new(Mutex::default);
    let (spec, names) = (&definition.spec, &definition.spec.names);
    let kind = GroupKind::learned(&spec.group, &names.kind)?;
    let word = |word: &str| GroupKind::learned(word, "").map(|kind| kind.group);
    let words =
        |words: &[String]| -> Option<Vec<&'static str>> { words.iter().take(WORDS_MAX).map(|one| word(one)).collect() };
    let (short, categories) = (words(&names.short_names)?, words(&names.categories)?);
    let scope = if spec.scope == "Cluster" { Scope::Cluster } else { Scope::Namespaced };
    let (plural, singular, version) = (word(&names.plural)?, word(&names.singular)?, word(&version.name)?);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let same = known.iter().find(|known| {
        (known.group, known.kind, known.version) == (kind.group, kind.kind, version)
            && (known.plural, known.singular, known.scope) == (plural, singular, scope)
            && (known.short, known.categories) == (short.as_slice(), categories.as_slice())
    });
    if let Some(same) = same {
        return Some(same);
    }
    if known.len() >= NAMES_MAX {
        return None;
    }
    let names: &'static Names = Box::leak(Box::new(Names {
        group: kind.group,
        version,
        kind: kind.kind,
        plural,
        singular,
        short: short.leak(),
        categories: categories.leak(),
        scope,
    }));
    known.insert(names);
    Some(names)
}
