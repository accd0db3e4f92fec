//! What the names of a custom kind must be like.

use crate::custom::DefinitionNames;
use crate::rules::{Causes, NameRule};

/// Adds everything wrong with the names.
pub(super) fn validate(names: &DefinitionNames, causes: &mut Causes) {
    let all = [
        ("spec.names.plural", &names.plural),
        ("spec.names.singular", &names.singular),
        ("spec.names.kind", &names.kind),
        ("spec.names.listKind", &names.list_kind),
    ];
    for (path, name) in all {
        if name.is_empty() {
            causes.required(path, "");
        }
    }
    for (path, name) in &all[..2] {
        label(path, name, causes);
    }
    for (path, kind) in &all[2..] {
        let problems = NameRule::LetterLabel.problems(&kind.to_lowercase());
        if !kind.is_empty() && !problems.is_empty() {
            let detail = format!("may have mixed case, but should otherwise match: {}", problems.join(","));
            causes.invalid(*path, kind, &detail);
        }
    }
    for (index, name) in names.short_names.iter().enumerate() {
        label(&format!("spec.names.shortNames[{index}]"), name, causes);
    }
    if !names.kind.is_empty() && names.kind == names.list_kind {
        causes.invalid("spec.names.listKind", &names.list_kind, "kind and listKind may not be the same");
    }
    for (index, name) in names.categories.iter().enumerate() {
        label(&format!("spec.names.categories[{index}]"), name, causes);
    }
}

fn label(path: &str, name: &str, causes: &mut Causes) {
    let problems = NameRule::LetterLabel.problems(name);
    if !name.is_empty() && !problems.is_empty() {
        causes.invalid(path, name, &problems.join(","));
    }
}
