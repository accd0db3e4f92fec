//! Whether a pod may be evicted, by the budget that covers it. Pure: what is decided here becomes one transaction with the deletion,
//! so that no two evictions are allowed on the same figures.

use api::selector::LabelSelector;
use api::{Cause, Details, Object, Reason, StatusError, kinds};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use serde_json::{Value, json};
use state::Snapshot;

/// As Kubernetes has it: evictions that are allowed and not seen yet.
const DISRUPTED_MAX: usize = 2_000;
/// As Kubernetes has it: a budget that is behind is worth another try after this.
const RETRY_SECONDS: u32 = 10;

const ALLOWED: &str = "DisruptionAllowed";

/// An eviction that may be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Eviction {
    /// The pod as it says why it goes.
    pub(crate) pod: Object,
    /// The budget that this is taken from, before and after.
    pub(crate) budget: Option<(Object, Object)>,
}

/// Whether `pod` may go now.
pub(crate) fn judge(pod: &Object, world: &Snapshot, now: Timestamp) -> Result<Eviction, StatusError> {
    let typed = pod.decode::<Pod>().map_err(StatusError::internal)?;
    let says_so = |budget| Ok(Eviction { pod: told_why(pod, now)?, budget });
    let phase = typed.status.as_ref().and_then(|status| status.phase.as_deref());
    // What does not serve is not missed.
    if pod.meta().is_terminating() || matches!(phase, Some("Succeeded" | "Failed" | "Pending") | None) {
        return says_so(None);
    }
    let budgets = world.list_in(kinds::POD_DISRUPTION_BUDGET, pod.key().namespace());
    let budgets: Vec<(&Object, std::sync::Arc<PodDisruptionBudget>)> = budgets
        .filter_map(|budget| Some((budget, budget.decode::<PodDisruptionBudget>().ok()?)))
        .filter(|(_, budget)| covers(budget, pod))
        .collect();
    let (object, budget) = match budgets.as_slice() {
        [] => return says_so(None),
        [one] => one,
        _ => {
            let why =
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            return Err(StatusError::new(Reason::InternalError, why));
        }
    };
    let status = budget.status.clone().unwrap_or_default();
    if !is_ready(&typed) {
        let policy = budget.spec.as_ref().and_then(|spec| spec.unhealthy_pod_eviction_policy.as_deref());
        let enough = status.current_healthy >= status.desired_healthy && status.desired_healthy > 0;
        if policy == Some("AlwaysAllow") || enough {
            return says_so(None);
        }
    }
    let taken = taken(object, status, pod.key().name(), now)?;
    says_so(Some(((*object).clone(), taken)))
}

fn covers(budget: &PodDisruptionBudget, pod: &Object) -> bool {
    let selector = LabelSelector::of(budget.spec.as_ref().and_then(|spec| spec.selector.as_ref()));
    selector.is_ok_and(|selector| selector.matches(&pod.meta().labels))
}

fn is_ready(pod: &Pod) -> bool {
    let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The budget once one more pod is missing, or why it must not be.
fn taken(
    budget: &Object,
    mut status: PodDisruptionBudgetStatus,
    pod: &str,
    now: Timestamp,
) -> Result<Object, StatusError> {
    let name = budget.key().name();
    if status.observed_generation.unwrap_or(0) < budget.meta().generation {
        let why = format!("The disruption budget {name} is still being processed by the server.");
        return Err(too_many(why, Some(RETRY_SECONDS)));
    }
    if status.disruptions_allowed < 0 {
        return Err(forbidden(name, "pdb disruptions allowed is negative"));
    }
    let disrupted = status.disrupted_pods.get_or_insert_default();
    if disrupted.len() > DISRUPTED_MAX {
        return Err(forbidden(name, "DisruptedPods map too big - too many evictions not confirmed by PDB controller"));
    }
    if status.disruptions_allowed == 0 {
        let (has, needs) = (status.current_healthy, status.desired_healthy);
        let failed = status.conditions.iter().flatten().find(|one| one.type_ == ALLOWED && one.reason == "SyncFailed");
        let why = match failed {
            Some(failed) => format!(
                "The disruption budget {name} does not allow evicting pods currently because it failed sync: {}",
                failed.message
            ),
            None if has <= needs => {
                format!("The disruption budget {name} needs {needs} healthy pods and has {has} currently")
            }
            None => format!("The disruption budget {name} does not allow evicting pods currently"),
        };
        return Err(too_many(why, None));
    }
    let at = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut value = budget.to_value().map_err(StatusError::internal)?;
    let status_value = &mut value["status"];
    status_value["disruptionsAllowed"] = (status.disruptions_allowed - 1).into();
    status_value["disruptedPods"][pod] = at.as_str().into();
    if status.disruptions_allowed == 1
        && let Some(conditions) = status_value["conditions"].as_array_mut()
        && let Some(allowed) = conditions.iter_mut().find(|condition| condition["type"] == ALLOWED)
    {
        allowed["status"] = "False".into();
        allowed["reason"] = "InsufficientPods".into();
        allowed["lastTransitionTime"] = at.into();
    }
    Object::from_value(budget.key().kind(), &value).map_err(StatusError::internal)
}

/// The pod with the reason of its end.
fn told_why(pod: &Object, now: Timestamp) -> Result<Object, StatusError> {
    let mut value = pod.to_value().map_err(StatusError::internal)?;
    let says = json!({
        "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting",
        "lastTransitionTime": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    });
    match value["status"]["conditions"].as_array_mut() {
        Some(conditions) if conditions.iter().any(|condition| condition["type"] == says["type"]) => {}
        Some(conditions) => conditions.push(says),
        None => value["status"]["conditions"] = Value::Array(vec![says]),
    }
    let told = Object::from_value(pod.key().kind(), &value).map_err(StatusError::internal)?;
    Ok(told.at(pod.revision()))
}

fn too_many(why: String, retry_after_seconds: Option<u32>) -> StatusError {
    let cause = Cause { reason: "DisruptionBudget", message: why, field: String::new() };
    StatusError {
        reason: Reason::TooManyRequests,
        message: "Cannot evict pod as it would violate the pod's disruption budget.".into(),
        details: Some(Box::new(Details { causes: vec![cause], retry_after_seconds, ..Details::default() })),
    }
}

fn forbidden(name: &str, why: &str) -> StatusError {
    let message = format!("poddisruptionbudget \"{name}\" is forbidden: {why}");
    let details = Details { name: name.into(), kind: "poddisruptionbudget".into(), ..Details::default() };
    StatusError { reason: Reason::Forbidden, message, details: Some(Box::new(details)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::{GroupKind, Revision};

    fn object(kind: GroupKind, api_version: &str, name: &str, rest: Value) -> Object {
        let mut value = json!({"apiVersion": api_version, "kind": kind.kind});
        value.as_object_mut().expect("an object").extend(rest.as_object().expect("an object").clone());
        value["metadata"]["name"] = name.into();
        value["metadata"]["namespace"] = "shop".into();
        Object::from_value(kind, &value).expect("an object").at(Revision(1))
    }

    fn pod(phase: &str, ready: bool) -> Object {
        let ready = if ready { "True" } else { "False" };
        let status = json!({"phase": phase, "conditions": [{"type": "Ready", "status": ready}]});
        let rest = json!({"metadata": {"labels": {"app": "web"}}, "status": status});
        object(kinds::POD, "v1", "web-0", rest)
    }

    fn budget(name: &str, allowed: i32, policy: Option<&str>) -> Object {
        let spec = json!({"selector": {"matchLabels": {"app": "web"}}, "unhealthyPodEvictionPolicy": policy});
        let condition = json!({
            "type": ALLOWED, "status": "True", "reason": "SufficientPods", "message": "", "lastTransitionTime": "2026-11-21T12:00:00Z",
        });
        let status = json!({
            "observedGeneration": 1, "currentHealthy": 2, "desiredHealthy": 2 - allowed, "expectedPods": 2,
            "disruptionsAllowed": allowed, "conditions": [condition],
        });
        let rest = json!({"metadata": {"generation": 1}, "spec": spec, "status": status});
        object(kinds::POD_DISRUPTION_BUDGET, "policy/v1", name, rest)
    }

    fn judged(pod: &Object, budgets: &[Object]) -> Result<Eviction, StatusError> {
        let world = Snapshot::load(Revision(1), budgets.iter().cloned().chain([pod.clone()]));
        judge(pod, &world, Timestamp::UNIX_EPOCH)
    }

    fn check(pod: &Object, budgets: &[Object], expect: Result<Option<i64>, (u16, &str)>) {
        let found = judged(pod, budgets).map(|eviction| {
            eviction.budget.map(|(_, after)| after.to_value().expect("JSON")["status"]["disruptionsAllowed"].as_i64())
        });
        let found = found.map(Option::flatten).map_err(|error| {
            let cause = error.details.as_ref().and_then(|details| details.causes.first());
            (error.code(), cause.map_or(error.message.clone(), |cause| cause.message.clone()))
        });
        assert_eq!(found, expect.map_err(|(code, words)| (code, words.to_owned())));
    }

    #[test]
    fn each_eviction_is_taken_from_the_budget() {
        check(&pod("Running", true), &[], Ok(None));
        check(&pod("Running", true), &[budget("web", 2, None)], Ok(Some(1)));
        let (_, after) =
            judged(&pod("Running", true), &[budget("web", 1, None)]).expect("allowed").budget.expect("taken");
        let after = after.to_value().expect("JSON");
        assert_eq!(after["status"]["disruptedPods"], json!({"web-0": "1970-01-01T00:00:00Z"}));
        assert_eq!(after["status"]["conditions"][0]["reason"], "InsufficientPods");
    }

    #[test]
    fn what_no_budget_allows_is_refused() {
        let needs = "The disruption budget web needs 2 healthy pods and has 2 currently";
        check(&pod("Running", true), &[budget("web", 0, None)], Err((429, needs)));
        let both = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
        check(&pod("Running", true), &[budget("web", 1, None), budget("web-2", 1, None)], Err((500, both)));
        let mut late = budget("web", 1, None).to_value().expect("JSON");
        late["metadata"]["generation"] = 2.into();
        let late = Object::from_value(kinds::POD_DISRUPTION_BUDGET, &late).expect("an object").at(Revision(1));
        let refused = judged(&pod("Running", true), std::slice::from_ref(&late)).expect_err("it is behind");
        assert_eq!(refused.message, "Cannot evict pod as it would violate the pod's disruption budget.");
        assert_eq!(refused.details.expect("details").retry_after_seconds, Some(RETRY_SECONDS));
    }

    #[test]
    fn who_does_not_serve_is_not_missed() {
        check(&pod("Pending", false), &[budget("web", 0, None)], Ok(None));
        check(&pod("Failed", false), &[budget("web", 0, None)], Ok(None));
        check(&pod("Running", false), &[budget("web", 0, Some("AlwaysAllow"))], Ok(None));
        check(&pod("Running", false), &[budget("web", 0, None)], Ok(None));
        let mut none = budget("web", 0, None).to_value().expect("JSON");
        none["status"]["currentHealthy"] = 1.into();
        let short = Object::from_value(kinds::POD_DISRUPTION_BUDGET, &none).expect("an object").at(Revision(1));
        let needs = "The disruption budget web needs 2 healthy pods and has 1 currently";
        check(&pod("Running", false), &[short], Err((429, needs)));
    }

    #[test]
    fn the_pod_says_why_it_goes() {
        let told = judged(&pod("Running", true), &[]).expect("allowed").pod.to_value().expect("JSON");
        assert_eq!(told["status"]["conditions"][1]["reason"], "EvictionByEvictionAPI");
    }
}
