//! New objects, admitted as if a client had sent them.

use api::pod_spec::account;
use api::{Admission, FieldValidation, GroupKind, Key, Object, Operation, catalog, kinds};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, PodSpec};
use serde::Serialize;
use state::Snapshot;

use crate::charge::Tab;
use crate::{Look, Ruling};

/// The object to store for what a controller wants to exist, complete and valid; its uid follows from the look and its name.
/// If it is refused, the refusal in words.
pub(crate) fn created<T: Serialize>(kind: GroupKind, wanted: &T, look: Look<'_>) -> Ruling {
    look.rulings.apply(admitted(kind, wanted, look)?)
}

/// What is right by the rules of its kind.
fn admitted<T: Serialize>(kind: GroupKind, wanted: &T, look: Look<'_>) -> Result<Object, String> {
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

/// The object to store, its cost on the tab.
pub(crate) fn created_for<T: Serialize>(kind: GroupKind, wanted: &T, tab: &mut Tab<'_>) -> Ruling {
    let object = created(kind, wanted, tab.look)?;
    tab.charge(&object)?;
    Ok(object)
}

/// The pod to store, with what its account gives it, its cost on the tab. A refusal is in words that are the same when it is
/// tried again under another name: whoever stores them would look again at once, and never come to rest.
pub(crate) fn created_pod(wanted: &Pod, tab: &mut Tab<'_>) -> Ruling {
    let pod = admitted_pod(wanted, tab.view, tab.look).and_then(|pod| tab.look.rulings.apply(pod));
    let pod = pod.and_then(|pod| tab.charge(&pod).map(|()| pod));
    pod.map_err(|why| {
        let (name, start) = (wanted.metadata.name.as_deref(), wanted.metadata.generate_name.as_deref());
        match name.zip(start) {
            Some((name, start)) => why.replacen(&format!("{name:?}"), &format!("{start:?}"), 1),
            None => why,
        }
    })
}

fn admitted_pod(wanted: &Pod, view: &Snapshot, look: Look<'_>) -> Result<Object, String> {
    let pod = admitted(kinds::POD, wanted, look)?;
    let seed = look.number(pod.key().name());
    view.given_to_pod(pod, seed, look.outages).map_err(|refusal| refusal.message)
}

/// The claim to store, of the class of storage that it names or that is the default, its cost on the tab.
pub(crate) fn created_claim(wanted: &PersistentVolumeClaim, tab: &mut Tab<'_>) -> Ruling {
    let claim = admitted(kinds::PERSISTENT_VOLUME_CLAIM, wanted, tab.look)?;
    let claim = tab.view.given_to_claim(claim).map_err(|refusal| refusal.message)?;
    let claim = tab.look.rulings.apply(claim)?;
    tab.charge(&claim)?;
    Ok(claim)
}

/// Whether nothing new comes into the namespace of `key`, because it goes or is gone.
pub(crate) fn home_ends(key: &Key, view: &Snapshot) -> bool {
    let home = view.get(&kinds::NAMESPACE.cluster_key(key.namespace()));
    home.is_none_or(|home| home.meta().is_terminating())
}

/// Whether pods of this spec wait for the account that every namespace is about to have. What `beside` is tells the namespace.
pub(crate) fn awaits_account(spec: Option<&PodSpec>, beside: &Key, view: &Snapshot) -> bool {
    let name = spec.and_then(|spec| spec.service_account_name.as_deref()).unwrap_or_default();
    let is_default = name.is_empty() || name == account::DEFAULT;
    is_default && view.get(&beside.sibling(kinds::SERVICE_ACCOUNT, account::DEFAULT)).is_none()
}
