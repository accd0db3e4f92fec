//! A pod at an ordinal, with a name that stays.

use api::Object;
use k8s_openapi::api::core::v1::{PersistentVolumeClaimVolumeSource, Pod, PodSpec, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use state::{Guard, Txn};

use super::ranks::{Member, Ranks};
use super::{claims, ordinal};
use crate::charge::Tab;
use crate::created::{awaits_account, created_pod};
use crate::edit::replaced;
use crate::revisions::REVISION_LABEL;
use crate::template;

/// The label of a pod that has a name of its own.
const NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";
/// The label of a pod that has an ordinal.
const INDEX_LABEL: &str = "apps.kubernetes.io/pod-index";

/// A new pod, and the claims that have to be made for it.
pub(super) struct Made {
    pub(super) claims: Vec<Object>,
    pub(super) pod: Object,
    /// Those claims that were there have to be there still.
    pub(super) guards: Vec<Guard>,
}

/// What is to be stored for there to be a pod at `ordinal`; or why there cannot be one, as events tell it.
/// All of it is on the tab then, or nothing.
pub(super) fn made(ranks: &Ranks<'_>, ordinal: i64, tab: &mut Tab<'_>) -> Result<Made, String> {
    let (name, set) = (ordinal::name(ranks.object, ordinal), ranks.object.key().name());
    let mut both = tab.clone();
    let claims = claims::missing(ranks, ordinal, &mut both)?;
    let pod = create(ranks, &name, ordinal, &mut both);
    let pod = pod.map_err(|why| format!("create Pod {name} in StatefulSet {set} failed error: {why}"))?;
    *tab = both;
    Ok(Made { claims, pod, guards: claims::guards(ranks, ordinal) })
}

/// Whether no pod can be made yet, because the account is still to come that every namespace has.
pub(super) fn must_wait(ranks: &Ranks<'_>) -> bool {
    awaits_account(ranks.spec.template.spec.as_ref(), ranks.object.key(), ranks.view)
}

/// Whether its labels tell who it is.
pub(super) fn is_told(member: &Member<'_>) -> bool {
    let says = |label: &str, word: &str| member.object.meta().labels.get(label).is_some_and(|known| known == word);
    says(NAME_LABEL, member.object.key().name()) && says(INDEX_LABEL, &member.ordinal.to_string())
}

/// Lets the pod's labels tell who it is.
pub(super) fn mended(member: &Member<'_>) -> Txn {
    replaced::<Pod>(member.object, |pod| tell(&mut pod.metadata, member.object.key().name(), member.ordinal))
}

fn tell(metadata: &mut ObjectMeta, name: &str, ordinal: i64) {
    let labels = metadata.labels.get_or_insert_default();
    labels.insert(NAME_LABEL.into(), name.into());
    labels.insert(INDEX_LABEL.into(), ordinal.to_string());
}

fn create(ranks: &Ranks<'_>, name: &str, ordinal: i64, tab: &mut Tab<'_>) -> Result<Object, String> {
    let key = ranks.object.key().sibling(api::kinds::POD, name);
    if ranks.view.get(&key).is_some() {
        return Err(format!("pods \"{name}\" already exists"));
    }
    let revision = ranks.revision_at(ordinal);
    let template = revision.template().unwrap_or_else(|| ranks.spec.template.clone());
    let mut pod = template::pod(template, ranks.object, name.into());
    tell(&mut pod.metadata, name, ordinal);
    pod.metadata.labels.get_or_insert_default().insert(REVISION_LABEL.into(), revision.name().into());
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(name.into());
    spec.subdomain.clone_from(&ranks.spec.service_name);
    mount(ranks, spec, ordinal);
    created_pod(&pod, tab)
}

/// Each claim is a volume of its template's name; a volume of that name which the template has gives way.
fn mount(ranks: &Ranks<'_>, spec: &mut PodSpec, ordinal: i64) {
    let names = claims::names(ranks.object, ranks.spec, ordinal);
    for (template, claim_name) in names {
        let volumes = spec.volumes.get_or_insert_default();
        volumes.retain(|volume| volume.name != template);
        let source = PersistentVolumeClaimVolumeSource { claim_name, read_only: None };
        volumes.push(Volume { name: template, persistent_volume_claim: Some(source), ..Volume::default() });
    }
}
