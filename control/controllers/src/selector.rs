//! Which labels a selector matches.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Whether the selector matches; an empty one matches nothing here, because no controller may claim the whole namespace.
pub(crate) fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let exact = selector.match_labels.iter().flatten();
    let expressions = selector.match_expressions.as_deref().unwrap_or_default();
    let empty = expressions.is_empty() && selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty);
    !empty
        && exact.into_iter().all(|(name, value)| labels.get(name) == Some(value))
        && expressions.iter().all(|requirement| {
            let found = labels.get(&requirement.key);
            let listed = |value: &String| requirement.values.iter().flatten().any(|one| one == value);
            match requirement.operator.as_str() {
                "In" => found.is_some_and(listed),
                "NotIn" => !found.is_some_and(listed),
                "Exists" => found.is_some(),
                "DoesNotExist" => found.is_none(),
                _ => false,
            }
        })
}
