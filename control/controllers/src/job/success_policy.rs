//! When a job has succeeded before all its indexes have.

use k8s_openapi::api::batch::v1::{SuccessPolicy, SuccessPolicyRule};

use super::indexes::Indexes;
use super::work::count;

/// Which rule is met, in words.
pub(super) fn met(policy: &SuccessPolicy, done: &Indexes, completions: usize) -> Option<String> {
    let at = policy.rules.iter().position(|rule| is_met(rule, done, completions))?;
    Some(format!("Matched rules at index {at}"))
}

fn is_met(rule: &SuccessPolicyRule, done: &Indexes, completions: usize) -> bool {
    let named = rule.succeeded_indexes.as_deref().map(|text| Indexes::read(text, completions));
    let reached = named.as_ref().map_or(done.len(), |named| named.shared_with(done));
    match (rule.succeeded_count, named) {
        (Some(wanted), _) => reached >= count(wanted),
        (None, Some(named)) => reached >= named.len(),
        (None, None) => false,
    }
}
