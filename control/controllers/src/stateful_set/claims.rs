//! The storage of each ordinal: claims that outlive the pods, and by owner references go when the set's policy says so.
//!
//! A claim is made once, with the first pod that needs it, and found by its name ever after. A claim whose owner was a pod that
//! is gone will be collected: until it has been, its ordinal waits, or the new pod would mount what is about to go.

use api::{Object, kinds};
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use state::{Guard, Txn};

use super::ordinal;
use super::ranks::{Member, Ranks};
use crate::charge::Tab;
use crate::created::created_claim;
use crate::edit::replaced;
use crate::{owners, pods};

/// The names of an ordinal's claims: the template's and the claim's own.
pub(super) fn names(set: &Object, spec: &StatefulSetSpec, ordinal: i64) -> Vec<(String, String)> {
    let templates = spec.volume_claim_templates.iter().flatten();
    let names = templates.filter_map(|template| template.metadata.name.clone());
    names.map(|name| (name.clone(), format!("{name}-{}", ordinal::name(set, ordinal)))).collect()
}

/// Whether a claim of this name is one of the set's.
pub(super) fn is_of(claim: &str, set: &Object) -> bool {
    let Some((rest, ordinal)) = ordinal::parse(claim) else { return false };
    let spec = set.decode::<StatefulSet>().ok().and_then(|set| set.spec.clone());
    rest.ends_with(set.key().name())
        && spec.is_some_and(|spec| names(set, &spec, ordinal).iter().any(|(_, name)| name == claim))
}

/// The claims that have to be made for a pod at `ordinal`; or why one cannot be, as events tell it.
pub(super) fn missing(ranks: &Ranks<'_>, ordinal: i64, tab: &mut Tab<'_>) -> Result<Vec<Object>, String> {
    let templates = ranks.spec.volume_claim_templates.iter().flatten();
    let mut made = Vec::new();
    for (template, (_, name)) in templates.zip(names(ranks.object, ranks.spec, ordinal)) {
        if ranks.view.get(&ranks.object.key().sibling(kinds::PERSISTENT_VOLUME_CLAIM, &name)).is_none() {
            let claim = created_claim(&claim(ranks, template, &name, ordinal), tab);
            made.push(claim.map_err(|why| {
                let (pod, set) = (ordinal::name(ranks.object, ordinal), ranks.object.key().name());
                format!("create Claim {name} for Pod {pod} in StatefulSet {set} failed error: {why}")
            })?);
        }
    }
    Ok(made)
}

/// That the claims of the ordinal which are there stay what they are.
pub(super) fn guards(ranks: &Ranks<'_>, ordinal: i64) -> Vec<Guard> {
    existing(ranks, ordinal).map(|claim| Guard::Unchanged(claim.key().clone(), claim.revision())).collect()
}

/// Whether a claim of the ordinal is on its way out.
pub(super) fn are_in_the_way(ranks: &Ranks<'_>, ordinal: i64) -> bool {
    let pod = ordinal::name(ranks.object, ordinal);
    existing(ranks, ordinal).any(|claim| {
        let of_a_pod = claim.meta().owner_references.iter().filter(|owner| owner.is(kinds::POD) && owner.name == pod);
        let mut lost = of_a_pod.filter(|owner| ranks.view.by_uid(&owner.uid).is_none());
        claim.meta().is_terminating() || lost.next().is_some()
    })
}

/// What must change for the claims of all pods to be there, and to be owned as the set's policy has it.
pub(super) fn upkeep(ranks: &Ranks<'_>) -> Vec<Txn> {
    let waits = |it: &&Member<'_>| {
        !it.is_terminating() && ranks.ordinals.contains(it.ordinal) && pods::phase(&it.pod) == "Pending"
    };
    let waiting = ranks.members.values().filter(waits);
    let home = Guard::Alive(kinds::NAMESPACE.cluster_key(ranks.object.key().namespace()));
    let made = waiting.map(|member| {
        let mut tab = Tab::open(ranks.object.key(), ranks.view, ranks.look);
        let claims = missing(ranks, member.ordinal, &mut tab).unwrap_or_default();
        let txn = claims.into_iter().fold(Txn::default(), |txn, claim| txn.and(Txn::create(claim)));
        if txn.is_empty() { txn } else { txn.and(tab.settle()).guard(home.clone()) }
    });
    let made = made.filter(|txn| !txn.is_empty());
    // Those of pods on their way out too: whether a claim goes with its pod may be decided while that ends.
    let claims =
        ranks.members.values().flat_map(|member| existing(ranks, member.ordinal).map(move |claim| (member, claim)));
    let owned = claims.filter(|(_, claim)| !claim.meta().is_terminating());
    let owned = owned.map(|(member, claim)| owned_as_wanted(ranks, member, claim)).filter(|txn| !txn.is_empty());
    made.chain(owned).collect()
}

fn existing<'r>(ranks: &'r Ranks<'_>, ordinal: i64) -> impl Iterator<Item = &'r Object> {
    let names = names(ranks.object, ranks.spec, ordinal).into_iter();
    names.filter_map(|(_, name)| ranks.view.get(&ranks.object.key().sibling(kinds::PERSISTENT_VOLUME_CLAIM, &name)))
}

fn claim(ranks: &Ranks<'_>, template: &PersistentVolumeClaim, name: &str, ordinal: i64) -> PersistentVolumeClaim {
    let mut labels = template.metadata.labels.clone().unwrap_or_default();
    labels.extend(ranks.spec.selector.match_labels.clone().unwrap_or_default());
    let owners: Vec<OwnerReference> =
        Owners::wanted(ranks, ordinal).set.then(|| owner(ranks.object)).into_iter().collect();
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(name.into()),
            namespace: Some(ranks.object.key().namespace().into()),
            labels: Some(labels).filter(|labels| !labels.is_empty()),
            annotations: template.metadata.annotations.clone(),
            finalizers: template.metadata.finalizers.clone(),
            owner_references: Some(owners).filter(|owners| !owners.is_empty()),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// Who should own the claims of an ordinal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owners {
    /// The set: they go with it.
    set: bool,
    /// The pod, which is about to go for good: they go with it.
    pod: bool,
}

// === impl Owners ===

impl Owners {
    fn wanted(ranks: &Ranks<'_>, ordinal: i64) -> Self {
        let policy = ranks.spec.persistent_volume_claim_retention_policy.as_ref();
        let deletes = |policy: Option<&String>| policy.is_some_and(|policy| policy == "Delete");
        let when_scaled = deletes(policy.and_then(|policy| policy.when_scaled.as_ref()));
        let when_deleted = deletes(policy.and_then(|policy| policy.when_deleted.as_ref()));
        let pod = when_scaled && !ranks.ordinals.contains(ordinal);
        Self { set: when_deleted && !pod, pod }
    }
}

/// A claim that somebody else manages is left to them.
fn owned_as_wanted(ranks: &Ranks<'_>, member: &Member<'_>, claim: &Object) -> Txn {
    let ours = [&ranks.object.meta().uid, &member.object.meta().uid];
    if claim.meta().controller().is_some_and(|manager| !ours.contains(&&manager.uid)) {
        return Txn::default();
    }
    let wanted = Owners::wanted(ranks, member.ordinal);
    let txn = replaced::<PersistentVolumeClaim>(claim, |claim| {
        let references = claim.metadata.owner_references.get_or_insert_default();
        for (object, is_wanted) in [(ranks.object, wanted.set), (member.object, wanted.pod)] {
            let known = references.iter().any(|reference| reference.uid == *object.meta().uid);
            match (known, is_wanted) {
                (true, false) => references.retain(|reference| reference.uid != *object.meta().uid),
                (false, true) => references.push(owner(object)),
                _ => {}
            }
        }
        claim.metadata.owner_references.take_if(|references| references.is_empty());
    });
    if txn.is_empty() { txn } else { txn.guard(Guard::Unchanged(ranks.object.key().clone(), ranks.object.revision())) }
}

fn owner(object: &Object) -> OwnerReference {
    owners::controlled_by(object)
}
