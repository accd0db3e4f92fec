//! A pod out of the job's template.

use api::Object;
use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, ObjectFieldSelector, Pod, PodSpec};

use super::TRACKING;
use super::member::{FAILURES, IGNORED, INDEX, Member};
use super::tally::policy;
use super::work::Work;
use crate::charge::Tab;
use crate::created::created_pod;
use crate::template;

/// The variable that tells a container the index of its pod.
const VARIABLE: &str = "JOB_COMPLETION_INDEX";

/// The `n`th new pod of this look, under a name that nobody has; with `index`, after `before` has failed at it.
pub(super) fn create(
    work: &Work<'_>,
    n: usize,
    index: Option<u32>,
    before: Option<&Member<'_>>,
    tab: &mut Tab<'_>,
) -> Result<Object, String> {
    let start = name_start(work, index);
    let name = template::free_name(work.object, &start, n, work.view, work.look);
    let mut pod = template::pod(work.spec().template.clone(), work.object, name);
    pod.metadata.generate_name = Some(format!("{start}-"));
    let finalizers = pod.metadata.finalizers.get_or_insert_default();
    if !finalizers.iter().any(|it| it == TRACKING) {
        finalizers.push(TRACKING.into());
    }
    if let Some(index) = index {
        tell_index(&mut pod, work, index);
        tell_failures(&mut pod, work, before);
    }
    created_pod(&pod, tab)
}

/// The pod's name without its ending.
fn name_start(work: &Work<'_>, index: Option<u32>) -> String {
    let ending = index.map(|index| format!("-{index}")).unwrap_or_default();
    let name = work.object.key().name();
    let name = name.get(..template::NAME_START_MAX - ending.len()).unwrap_or(name);
    format!("{name}{ending}")
}

/// By annotation and label, by the name that it has in its subdomain, and by a variable that each container reads.
fn tell_index(pod: &mut Pod, work: &Work<'_>, index: u32) {
    let text = index.to_string();
    pod.metadata.annotations.get_or_insert_default().insert(INDEX.into(), text.clone());
    pod.metadata.labels.get_or_insert_default().insert(INDEX.into(), text);
    let spec = pod.spec.get_or_insert_with(PodSpec::default);
    spec.hostname = Some(format!("{}-{index}", work.object.key().name()));
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        tell_container(container);
    }
}

fn tell_container(container: &mut Container) {
    let variables = container.env.get_or_insert_default();
    if variables.iter().any(|variable| variable.name == VARIABLE) {
        return;
    }
    let field = ObjectFieldSelector { api_version: None, field_path: format!("metadata.labels['{INDEX}']") };
    let source = EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() };
    variables.push(EnvVar { name: VARIABLE.into(), value: None, value_from: Some(source) });
}

/// Where each index has a limit of its own, its pod tells how often it failed before.
fn tell_failures(pod: &mut Pod, work: &Work<'_>, before: Option<&Member<'_>>) {
    if work.limit_per_index().is_none() {
        return;
    }
    let (counted, ignored) = before.map_or((0, 0), |before| before.failures(policy(work)));
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(FAILURES.into(), counted.to_string());
    if ignored > 0 {
        annotations.insert(IGNORED.into(), ignored.to_string());
    }
}
