//! New objects, admitted as if a client had sent them.

use api::{Admission, FieldValidation, GroupKind, Object, Operation, catalog};
use serde::Serialize;

use crate::Look;

/// The object to store for what a controller wants to exist, complete and valid; its uid follows from the look and its name.
/// If it is refused, the refusal in words.
pub(crate) fn created<T: Serialize>(kind: GroupKind, wanted: &T, look: Look) -> Result<Object, String> {
    let rules = catalog::by_kind(kind).ok_or_else(|| format!("no kind {kind} is known"))?;
    let value = serde_json::to_value(wanted).map_err(|error| error.to_string())?;
    let word = |name: &str| value["metadata"][name].as_str().unwrap_or_default().to_owned();
    let (namespace, name) = (word("namespace"), word("name"));
    let what = format!("{kind} {namespace}/{name}");
    let admission = Admission {
        operation: Operation::Create { uid: &look.uid(&what), seed: look.number(&what) },
        namespace: &namespace,
        validation: FieldValidation::Ignore,
        duplicates: &[],
        now: look.now,
    };
    rules.admit(value, &admission).map(|admitted| admitted.object).map_err(|refusal| refusal.to_string())
}
