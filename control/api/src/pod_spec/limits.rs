//! What a namespace's LimitRanges make of a new pod, and what they refuse: a pure look at values, for whoever makes pods.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, LimitRange, LimitRangeItem, PersistentVolumeClaim, Pod, PodSpec, ResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Written;

use crate::quantity::Quantity;
use crate::{Object, StatusError, catalog, kinds};

/// Where a pod tells what was filled in.
const ANNOTATION: &str = "kubernetes.io/limit-ranger";

type Amounts = BTreeMap<String, Written>;

/// A new pod with what its namespace's ranges give to containers that do not say; or the refusal of a pod that asks for more or
/// less than it may.
pub fn limit_pod<'a>(pod: Object, ranges: impl Iterator<Item = &'a Object>) -> Result<Object, StatusError> {
    let ranges: Vec<_> = ranges.filter_map(|range| range.decode::<LimitRange>().ok()).collect();
    if ranges.is_empty() {
        return Ok(pod);
    }
    let before = pod.decode::<Pod>().map_err(StatusError::internal)?;
    let mut after = Pod::clone(&before);
    for range in &ranges {
        fill(&mut after, items(range));
    }
    let spec = after.spec.clone().unwrap_or_default();
    let wrong: Vec<String> = ranges.iter().flat_map(|range| refusals(&spec, items(range))).collect();
    if !wrong.is_empty() {
        return Err(forbidden(&pod, wrong));
    }
    if after == *before {
        return Ok(pod);
    }
    after.metadata.resource_version = None;
    // Its quality follows from what its containers have now.
    let quality = super::quality(after.spec.get_or_insert_default());
    after.status.get_or_insert_default().qos_class = Some(quality.into());
    Object::from_typed(kinds::POD, &after).map_err(StatusError::internal)
}

/// The refusal of a pod that was resized to more or less than it may have.
pub fn limit_resized<'a>(
    pod: &Object,
    old: &Object,
    ranges: impl Iterator<Item = &'a Object>,
) -> Result<(), StatusError> {
    let ranges: Vec<_> = ranges.filter_map(|range| range.decode::<LimitRange>().ok()).collect();
    if ranges.is_empty() {
        return Ok(());
    }
    let [after, before] = [pod, old].map(Object::decode::<Pod>);
    let (after, before) = (after.map_err(StatusError::internal)?, before.map_err(StatusError::internal)?);
    let (Some(spec), Some(before)) = (&after.spec, &before.spec) else { return Ok(()) };
    if sizes(spec).eq(sizes(before)) {
        return Ok(());
    }
    let wrong: Vec<String> = ranges.iter().flat_map(|range| refusals(spec, items(range))).collect();
    if wrong.is_empty() { Ok(()) } else { Err(forbidden(pod, wrong)) }
}

/// What each container may have.
fn sizes(spec: &PodSpec) -> impl Iterator<Item = Option<&ResourceRequirements>> {
    spec.containers.iter().chain(spec.init_containers.iter().flatten()).map(|container| container.resources.as_ref())
}

/// The refusal of a claim that asks for more or less than it may.
pub fn limit_claim<'a>(claim: &Object, ranges: impl Iterator<Item = &'a Object>) -> Result<(), StatusError> {
    const TYPE: &str = "PersistentVolumeClaim";
    let typed = claim.decode::<PersistentVolumeClaim>().map_err(StatusError::internal)?;
    let resources = typed.spec.as_ref().and_then(|spec| spec.resources.clone()).unwrap_or_default();
    let requests = resources.requests.unwrap_or_default();
    let limits = resources.limits.unwrap_or_default();
    let ranges: Vec<_> = ranges.filter_map(|range| range.decode::<LimitRange>().ok()).collect();
    let items = ranges.iter().flat_map(|range| items(range)).filter(|item| item.type_ == TYPE);
    let mut wrong = Vec::new();
    for item in items {
        for (name, least) in item.min.iter().flatten() {
            wrong.extend(too_little(TYPE, name, least, &requests, &limits));
        }
        for (name, most) in item.max.iter().flatten() {
            // Claims have requests, and that is what is limited.
            wrong.extend(too_much(TYPE, name, most, &requests, &requests));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(forbidden(claim, wrong)) }
}

fn items(range: &LimitRange) -> &[LimitRangeItem] {
    range.spec.as_ref().map_or(&[], |spec| &spec.limits)
}

fn forbidden(object: &Object, mut wrong: Vec<String>) -> StatusError {
    wrong.dedup();
    let why = match wrong.as_slice() {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    };
    match catalog::by_kind(object.key().kind()) {
        Some(kind) => StatusError::forbidden(kind.names(), object.key().name(), &why),
        None => StatusError::internal(why),
    }
}

/// Fills in what containers do not say, and tells of it.
fn fill(pod: &mut Pod, items: &[LimitRangeItem]) {
    let (mut limits, mut requests) = (Amounts::new(), Amounts::new());
    for item in items.iter().filter(|item| item.type_ == "Container") {
        limits.extend(item.default.clone().unwrap_or_default());
        requests.extend(item.default_request.clone().unwrap_or_default());
    }
    let Some(spec) = &mut pod.spec else { return };
    let mut told = Vec::new();
    for container in &mut spec.containers {
        fill_container(container, "container", &limits, &requests, &mut told);
    }
    for container in spec.init_containers.iter_mut().flatten() {
        fill_container(container, "init container", &limits, &requests, &mut told);
    }
    if !told.is_empty() {
        let annotations = pod.metadata.annotations.get_or_insert_default();
        annotations.insert(ANNOTATION.into(), format!("LimitRanger plugin set: {}", told.join("; ")));
    }
}

fn fill_container(container: &mut Container, what: &str, limits: &Amounts, requests: &Amounts, told: &mut Vec<String>) {
    let ResourceRequirements { limits: own_limits, requests: own_requests, .. } =
        container.resources.get_or_insert_default();
    let filled = |own: &mut Option<Amounts>, given: &Amounts| {
        let own_before = own.clone().unwrap_or_default();
        let missing: Vec<_> = given.iter().filter(|(name, _)| !own_before.contains_key(*name)).collect();
        if !missing.is_empty() {
            own.get_or_insert_default()
                .extend(missing.iter().map(|(name, amount)| ((*name).clone(), (*amount).clone())));
        }
        missing.into_iter().map(|(name, _)| name.clone()).collect::<Vec<_>>().join(", ")
    };
    let set_limits = filled(own_limits, limits);
    let set_requests = filled(own_requests, requests);
    for (set, which) in [(set_requests, "request"), (set_limits, "limit")] {
        if !set.is_empty() {
            told.push(format!("{set} {which} for {what} {}", container.name));
        }
    }
}

fn refusals(spec: &PodSpec, items: &[LimitRangeItem]) -> Vec<String> {
    let mut wrong = Vec::new();
    let containers = || spec.containers.iter().chain(spec.init_containers.iter().flatten());
    for item in items {
        match item.type_.as_str() {
            "Container" => {
                for container in containers() {
                    let (requests, limits) = amounts_of(container);
                    wrong.extend(judged(item, &requests, &limits));
                }
            }
            "Pod" => {
                let (requests, limits) = amounts_of_pod(spec);
                wrong.extend(judged(item, &requests, &limits));
            }
            _ => {}
        }
    }
    wrong
}

fn amounts_of(container: &Container) -> (Amounts, Amounts) {
    let resources = container.resources.clone().unwrap_or_default();
    (resources.requests.unwrap_or_default(), resources.limits.unwrap_or_default())
}

/// What a pod needs at once: its containers together, or its neediest initial one.
fn amounts_of_pod(spec: &PodSpec) -> (Amounts, Amounts) {
    let mut sums = (BTreeMap::<String, Quantity>::new(), BTreeMap::<String, Quantity>::new());
    for container in &spec.containers {
        let (requests, limits) = amounts_of(container);
        for (sum, amounts) in [(&mut sums.0, requests), (&mut sums.1, limits)] {
            for (name, amount) in amounts {
                *sum.entry(name).or_default() += Quantity::of(&amount);
            }
        }
    }
    for container in spec.init_containers.iter().flatten() {
        let (requests, limits) = amounts_of(container);
        for (sum, amounts) in [(&mut sums.0, requests), (&mut sums.1, limits)] {
            for (name, amount) in amounts {
                let sum = sum.entry(name).or_default();
                *sum = (*sum).max(Quantity::of(&amount));
            }
        }
    }
    let written = |sums: BTreeMap<String, Quantity>| sums.into_iter().map(|(name, sum)| (name, sum.into())).collect();
    (written(sums.0), written(sums.1))
}

fn judged(item: &LimitRangeItem, requests: &Amounts, limits: &Amounts) -> Vec<String> {
    let of = &item.type_;
    let least = item.min.iter().flatten().filter_map(|(name, least)| too_little(of, name, least, requests, limits));
    let most = item.max.iter().flatten().filter_map(|(name, most)| too_much(of, name, most, requests, limits));
    let ratios = item.max_limit_request_ratio.iter().flatten();
    let ratios = ratios.filter_map(|(name, ratio)| too_uneven(of, name, ratio, requests, limits));
    least.chain(most).chain(ratios).collect()
}

fn too_little(of: &str, name: &str, least: &Written, requests: &Amounts, limits: &Amounts) -> Option<String> {
    let (enforced, told) = (Quantity::of(least), &least.0);
    let Some(request) = requests.get(name) else {
        return Some(format!("minimum {name} usage per {of} is {told}.  No request is specified"));
    };
    if Quantity::of(request) < enforced {
        return Some(format!("minimum {name} usage per {of} is {told}, but request is {}", request.0));
    }
    let limit = limits.get(name).filter(|limit| Quantity::of(limit) < enforced)?;
    Some(format!("minimum {name} usage per {of} is {told}, but limit is {}", limit.0))
}

fn too_much(of: &str, name: &str, most: &Written, requests: &Amounts, limits: &Amounts) -> Option<String> {
    let (enforced, told) = (Quantity::of(most), &most.0);
    let what = if of == "PersistentVolumeClaim" { "request" } else { "limit" };
    let Some(limit) = limits.get(name) else {
        return Some(format!("maximum {name} usage per {of} is {told}.  No {what} is specified"));
    };
    if Quantity::of(limit) > enforced {
        return Some(format!("maximum {name} usage per {of} is {told}, but {what} is {}", limit.0));
    }
    let request = requests.get(name).filter(|request| Quantity::of(request) > enforced)?;
    Some(format!("maximum {name} usage per {of} is {told}, but request is {}", request.0))
}

fn too_uneven(of: &str, name: &str, ratio: &Written, requests: &Amounts, limits: &Amounts) -> Option<String> {
    let told = format!("{name} max limit to request ratio per {of} is {}", ratio.0);
    let some = |amounts: &Amounts| amounts.get(name).map(Quantity::of).filter(|amount| !amount.is_zero());
    let Some(request) = some(requests) else {
        return Some(format!("{told}, but no request is specified or request is 0"));
    };
    let Some(limit) = some(limits) else {
        return Some(format!("{told}, but no limit is specified or limit is 0"));
    };
    let provided = limit.approximate() / request.approximate();
    (provided > Quantity::of(ratio).approximate()).then(|| format!("{told}, but provided ratio is {provided:.6}"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn range(item: Value) -> Object {
        let value = json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "r", "namespace": "shop"}, "spec": {"limits": [item]}});
        Object::from_value(kinds::LIMIT_RANGE, &value).expect("an object")
    }

    fn limited(item: Value, resources: Value) -> Result<Value, String> {
        let value = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "shop"},
            "spec": {"containers": [{"name": "main", "image": "x", "resources": resources}]}});
        let pod = Object::from_value(kinds::POD, &value).expect("an object");
        let limited = limit_pod(pod, [range(item)].iter()).map_err(|refusal| refusal.message)?;
        Ok(limited.to_value().expect("a tree"))
    }

    fn refused(item: Value, resources: Value, expect: &str) {
        assert_eq!(limited(item, resources), Err(format!("pods \"p\" is forbidden: {expect}")));
    }

    #[test]
    fn a_container_gets_what_it_does_not_say() {
        let item = json!({"type": "Container", "default": {"cpu": "500m", "memory": "64Mi"}, "defaultRequest": {"cpu": "100m"}});
        let pod = limited(item.clone(), json!({})).expect("fits");
        assert_eq!(
            pod["spec"]["containers"][0]["resources"],
            json!({"limits": {"cpu": "500m", "memory": "64Mi"}, "requests": {"cpu": "100m"}})
        );
        assert_eq!(pod["status"]["qosClass"], "Burstable");
        assert_eq!(
            pod["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
            "LimitRanger plugin set: cpu request for container main; cpu, memory limit for container main"
        );
        let said = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1"}});
        assert_eq!(limited(item, said.clone()).expect("fits")["spec"]["containers"][0]["resources"], said);
    }

    #[test]
    fn what_is_too_much_or_too_little_is_refused() {
        let limits = |cpu: &str| json!({"limits": {"cpu": cpu}, "requests": {"cpu": "200m"}});
        let most = json!({"type": "Container", "max": {"cpu": "800m"}});
        assert!(limited(most.clone(), limits("800m")).is_ok());
        refused(most.clone(), limits("1"), "maximum cpu usage per Container is 800m, but limit is 1");
        refused(most, json!({}), "maximum cpu usage per Container is 800m.  No limit is specified");
        let least = json!({"type": "Container", "min": {"cpu": "300m"}});
        refused(least.clone(), limits("1"), "minimum cpu usage per Container is 300m, but request is 200m");
        refused(least, json!({}), "minimum cpu usage per Container is 300m.  No request is specified");
        let ratio = json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}});
        refused(
            ratio,
            limits("1"),
            "cpu max limit to request ratio per Container is 2, but provided ratio is 5.000000",
        );
        let pod = json!({"type": "Pod", "max": {"cpu": "500m"}, "min": {"memory": "1Mi"}});
        refused(
            pod,
            limits("1"),
            "[minimum memory usage per Pod is 1Mi.  No request is specified, maximum cpu usage per Pod is 500m, but limit is 1]",
        );
    }

    #[test]
    fn a_claim_is_judged_by_what_it_requests() {
        let claim = |storage: &str| {
            let value = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c", "namespace": "shop"},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": storage}}}});
            Object::from_value(kinds::PERSISTENT_VOLUME_CLAIM, &value).expect("an object")
        };
        let item = json!({"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}});
        let check = |storage: &str, expect: Result<(), &str>| {
            let found = limit_claim(&claim(storage), [range(item.clone())].iter()).map_err(|refusal| refusal.message);
            assert_eq!(found, expect.map_err(|why| format!("persistentvolumeclaims \"c\" is forbidden: {why}")));
        };
        check("1Gi", Ok(()));
        check("500Mi", Err("minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 500Mi"));
        check("3Gi", Err("maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi"));
    }
}
