//! What becomes of the node's own volumes: those that grow are held to their new size, those that nobody has any more are removed.
//!
//! A volume that lies on this node, or was handed to it, carries a finalizer of ours. Once the volume is on its way out, and no
//! claim and no pod holds it, its directory or its objects are removed where the reclaim policy says so, and then the finalizer:
//! the volume is not gone before its data.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api::{Key, Object, kinds, storage};
use client::PatchType;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolume, Pod};
use serde_json::json;
use state::Snapshot;
use tracing::{info, warn};

use super::claims::{directory, remote_of};
use crate::context::Context;
use crate::pod::{Severity, Told};
use crate::recorder::Note;

/// What could not be removed is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// A volume to see to.
#[derive(Clone, Debug, PartialEq)]
struct Ending {
    key: Key,
    uid: String,
    data: Data,
    /// What holds the volume beside us.
    finalizers: Vec<String>,
}

/// What is to be removed.
#[derive(Clone, Debug, PartialEq)]
enum Data {
    /// Nothing: it is to stay, or nobody knows where it is.
    Nothing,
    /// A directory of this node.
    Directory(PathBuf),
    /// What is in a store, where this is the volume.
    Remote(Box<PersistentVolume>),
}

/// Sees to the volumes of this node for as long as the agent runs.
pub(crate) async fn keep(context: Arc<Context>) {
    let mut view = context.view.clone();
    loop {
        let world = view.borrow_and_update().clone();
        context.quotas.follow(&world, &context.config.volumes_dir(), &context.config.remote_dir());
        let mut failed = false;
        for ending in endings(&world, &context.config.node_name) {
            if let Err(why) = end(&context, &world, &ending).await {
                warn!(volume = %ending.key.name(), %why, "a volume is left behind");
                context.recorder.tell(failed_delete(&ending, &why));
                failed = true;
            }
        }
        tokio::select! {
            changed = view.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(RETRY), if failed => {}
        }
    }
}

/// The volumes that are to be seen to on a node: a pure function of a snapshot.
fn endings(view: &Snapshot, node: &str) -> Vec<Ending> {
    let ending = view.list(kinds::PERSISTENT_VOLUME).filter(|volume| {
        let meta = volume.meta();
        meta.is_terminating()
            && meta.labels.get(storage::NODE_LABEL).is_some_and(|home| home == node)
            && meta.finalizers.iter().any(|one| storage::is_ours(one))
            && !meta.finalizers.iter().any(|one| one == storage::VOLUME_PROTECTION)
            // Whoever fills it is told first.
            && !storage::is_unfilled(volume)
    });
    ending.filter_map(|object| judged(object, view, node)).collect()
}

fn judged(object: &Object, view: &Snapshot, node: &str) -> Option<Ending> {
    let volume = object.decode::<PersistentVolume>().ok()?;
    let spec = volume.spec.as_ref()?;
    let kept = spec.claim_ref.as_ref();
    let is_mounted = kept.is_some_and(|kept| {
        let pods = view.pods_on(node).filter(|pod| Some(pod.key().namespace()) == kept.namespace.as_deref());
        pods.filter_map(|pod| pod.decode::<Pod>().ok())
            .any(|pod| storage::claim_names(&pod).any(|name| Some(&name) == kept.name.as_ref()))
    });
    if is_mounted {
        return None;
    }
    let goes = spec.persistent_volume_reclaim_policy.as_deref() == Some("Delete");
    let data = match spec.csi.as_ref().filter(|_| goes) {
        Some(source) if source.driver == storage::LOCAL_PATH => {
            directory(&source.volume_handle).map_or(Data::Nothing, Data::Directory)
        }
        Some(source) if source.driver == storage::S3 => Data::Remote(Box::new((*volume).clone())),
        _ => Data::Nothing,
    };
    let finalizers = object.meta().finalizers.iter().filter(|one| !storage::is_ours(one)).cloned().collect();
    Some(Ending { key: object.key().clone(), uid: object.meta().uid.to_string(), data, finalizers })
}

async fn end(context: &Context, world: &Snapshot, ending: &Ending) -> Result<(), String> {
    match &ending.data {
        Data::Nothing => {}
        Data::Directory(directory) => {
            let path = context.config.volumes_dir().join(directory);
            context.quotas.forget(&path);
            let removing = tokio::task::spawn_blocking(move || removed(&path)).await;
            removing.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        }
        Data::Remote(volume) => {
            let remote = remote_of(volume, &context.around(world, context.config.host_address()));
            context.remotes.remove(&remote?).await.map_err(|trouble| trouble.to_string())?;
        }
    }
    let patch = json!({"metadata": {"uid": ending.uid, "finalizers": ending.finalizers}});
    match context.client.patch(&ending.key, PatchType::Merge, &patch).await {
        Ok(_) => {}
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error.to_string()),
    }
    info!(volume = %ending.key.name(), removed = ending.data != Data::Nothing, "released");
    Ok(())
}

fn failed_delete(ending: &Ending, why: &str) -> Note {
    let (pod, uid, message) = (ending.key.clone(), ending.uid.clone(), why.to_owned());
    let told = Told { container: None, severity: Severity::Warning, reason: "VolumeFailedDelete", message };
    Note { pod, uid, field: None, told, times: 1, at: Timestamp::now() }
}

fn removed(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{object, world};

    fn check(finalizers: &str, policy: &str, node: &str, pods: &str, expected: &str) {
        let volume = format!(
            r#"{{"apiVersion":"v1","kind":"PersistentVolume","metadata":{{"name":"v","uid":"u","finalizers":[{finalizers}],
                "deletionTimestamp":"2026-11-21T11:00:00Z","labels":{{"coracle.dev/node":"{node}"}}}},"spec":
                {{"persistentVolumeReclaimPolicy":"{policy}","csi":{{"driver":"coracle.dev/local-path","volumeHandle":"v"}},
                "claimRef":{{"namespace":"shop","name":"data"}}}}}}"#
        );
        let pod = |claim: &str| {
            object(&format!(
                r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"web","namespace":"shop","uid":"p"}},"spec":{{"nodeName":"n1",
                    "containers":[],"volumes":[{{"name":"v","persistentVolumeClaim":{{"claimName":"{claim}"}}}}]}}}}"#
            ))
        };
        let pods = (!pods.is_empty()).then(|| pod(pods));
        let found = endings(&world([object(&volume)].into_iter().chain(pods)), "n1");
        let told: Vec<String> = found.iter().map(|it| format!("{:?} {:?}", it.data, it.finalizers)).collect();
        assert_eq!(told.join(";"), expected);
    }

    #[test]
    fn a_directory_goes_when_nothing_else_holds_its_volume() {
        let ours = r#""coracle.dev/local-path""#;
        check(ours, "Delete", "n1", "", r#"Directory("v") []"#);
        check(ours, "Delete", "n1", "other", r#"Directory("v") []"#);
        check(ours, "Delete", "n1", "data", "");
        check(ours, "Delete", "n2", "", "");
        check(ours, "Retain", "n1", "", "Nothing []");
        check(&format!(r#"{ours},"mine/own""#), "Delete", "n1", "", r#"Directory("v") ["mine/own"]"#);
        check(&format!(r#"{ours},"kubernetes.io/pv-protection""#), "Delete", "n1", "", "");
        check(&format!(r#"{ours},"coracle.dev/unfilled""#), "Delete", "n1", "", "");
        check(r#""mine/own""#, "Delete", "n1", "", "");
    }
}
