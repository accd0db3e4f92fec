//! What becomes of the node's own volumes: those that grow are held to their new size, those that nobody has any more are removed.
//!
//! A volume that lies on this node carries a finalizer of ours. Once the volume is on its way out, and no claim and no pod holds
//! it, its directory is removed where the reclaim policy says so, and then the finalizer: the volume is not gone before its data.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api::{Key, Object, kinds, storage};
use client::PatchType;
use k8s_openapi::api::core::v1::{PersistentVolume, Pod};
use serde_json::json;
use state::Snapshot;
use tracing::{info, warn};

use super::claims::directory;
use crate::context::Context;

/// What could not be removed is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// A volume to see to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ending {
    key: Key,
    uid: String,
    /// What is to be removed; none where the data is to stay.
    directory: Option<PathBuf>,
    /// What holds the volume beside us.
    finalizers: Vec<String>,
}

/// Sees to the volumes of this node for as long as the agent runs.
pub(crate) async fn keep(context: Arc<Context>) {
    let mut view = context.view.clone();
    loop {
        let world = view.borrow_and_update().clone();
        context.quotas.follow(&world, &context.config.volumes_dir());
        let mut failed = false;
        for ending in endings(&world, &context.config.node_name) {
            if let Err(why) = end(&context, &ending).await {
                warn!(volume = %ending.key.name(), %why, "a volume is left behind");
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
        let holds = |finalizer: &str| meta.finalizers.iter().any(|one| one == finalizer);
        meta.is_terminating()
            && meta.labels.get(storage::NODE_LABEL).is_some_and(|home| home == node)
            && holds(storage::LOCAL_PATH)
            && !holds(storage::VOLUME_PROTECTION)
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
    let handle = spec.csi.as_ref().filter(|source| goes && source.driver == storage::LOCAL_PATH);
    let finalizers = object.meta().finalizers.iter().filter(|one| *one != storage::LOCAL_PATH).cloned().collect();
    Some(Ending {
        key: object.key().clone(),
        uid: object.meta().uid.to_string(),
        directory: handle.and_then(|source| directory(&source.volume_handle)),
        finalizers,
    })
}

async fn end(context: &Context, ending: &Ending) -> Result<(), String> {
    if let Some(directory) = &ending.directory {
        let path = context.config.volumes_dir().join(directory);
        context.quotas.forget(&path);
        let removing = tokio::task::spawn_blocking(move || removed(&path)).await;
        removing.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    }
    let patch = json!({"metadata": {"uid": ending.uid, "finalizers": ending.finalizers}});
    match context.client.patch(&ending.key, PatchType::Merge, &patch).await {
        Ok(_) => {}
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error.to_string()),
    }
    info!(volume = %ending.key.name(), removed = ending.directory.is_some(), "released");
    Ok(())
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
        let told: Vec<String> = found.iter().map(|it| format!("{:?} {:?}", it.directory, it.finalizers)).collect();
        assert_eq!(told.join(";"), expected);
    }

    #[test]
    fn a_directory_goes_when_nothing_else_holds_its_volume() {
        let ours = r#""coracle.dev/local-path""#;
        check(ours, "Delete", "n1", "", r#"Some("v") []"#);
        check(ours, "Delete", "n1", "other", r#"Some("v") []"#);
        check(ours, "Delete", "n1", "data", "");
        check(ours, "Delete", "n2", "", "");
        check(ours, "Retain", "n1", "", "None []");
        check(&format!(r#"{ours},"mine/own""#), "Delete", "n1", "", r#"Some("v") ["mine/own"]"#);
        check(&format!(r#"{ours},"kubernetes.io/pv-protection""#), "Delete", "n1", "", "");
        check(r#""mine/own""#, "Delete", "n1", "", "");
    }
}
