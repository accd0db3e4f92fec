//! A node that goes over to another authority.
//!
//! The world tells it that others are trusted; whom, it is told by the server that gives it the next certificate, whom it knows. What it
//! reads in a config map is only why it asks. Then it says so itself: who has shown nothing of the new authority has not gone over.

use std::sync::Arc;
use std::time::Duration;

use api::{Key, authority, kinds};
use client::{Client, PatchType};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;
use state::Snapshot;
use tokio::sync::watch;
use trust::Trust;

use crate::papers::Papers;

/// What did not work is tried again after so long.
const PAUSE: Duration = Duration::from_secs(1);

/// What is left to do.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Others are trusted: the next certificate tells whom.
    Ask,
    /// To say who signed the certificate.
    Tell(String),
    Nothing,
}

/// Follows the cluster from one authority to the next, until `shutdown`.
pub(crate) async fn follow(
    node: String,
    papers: Arc<Papers>,
    trust: Arc<Trust>,
    client: Client,
    mut view: watch::Receiver<Snapshot>,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let key = kinds::NODE.cluster_key(&node);
    let following = async {
        loop {
            let signer = papers.signer(&trust);
            let left = step(&view.borrow_and_update(), &key, &trust.pem(), signer);
            match left {
                Step::Nothing => {
                    if view.changed().await.is_err() {
                        return;
                    }
                    continue;
                }
                Step::Ask => papers.ask(),
                Step::Tell(signer) => {
                    let patch = json!({"metadata": {"annotations": {authority::SIGNER_ANNOTATION: signer}}});
                    if let Err(error) = client.patch(&key, PatchType::Merge, &patch).await {
                        tracing::debug!(%error, "who signed the node's certificate is not told yet");
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::select! {
        () = shutdown => {}
        () = following => {}
    }
    Ok(())
}

fn step(world: &Snapshot, node: &Key, trusted: &str, signer: Option<String>) -> Step {
    let published = world.get(&authority::published()).and_then(|map| map.decode::<ConfigMap>().ok());
    let published = published.as_ref().and_then(|map| map.data.as_ref()?.get(authority::BUNDLE));
    if published.is_some_and(|published| published != trusted) {
        return Step::Ask;
    }
    let (Some(node), Some(signer)) = (world.get(node), signer) else { return Step::Nothing };
    let told = node.meta().annotations.get(authority::SIGNER_ANNOTATION);
    if told.is_some_and(|told| **told == *signer) { Step::Nothing } else { Step::Tell(signer) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::{Object, Revision};

    #[test]
    fn a_node_asks_when_others_are_trusted_and_then_says_who_signed() {
        let key = kinds::NODE.cluster_key("n1");
        let world = |bundle: &str, told: Option<&str>| {
            let annotations = told.map_or_else(|| json!({}), |told| json!({authority::SIGNER_ANNOTATION: told}));
            let node =
                json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "annotations": annotations}});
            let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"ca.crt": bundle},
                "metadata": {"name": authority::PUBLISHED, "namespace": authority::NAMESPACE}});
            let read = |kind, value| Object::from_value(kind, &value).expect("an object");
            Snapshot::load(Revision(1), [read(kinds::NODE, node), read(kinds::CONFIG_MAP, map)])
        };
        let check = |world: &Snapshot, signer: Option<&str>, expect: Step| {
            assert_eq!(step(world, &key, "A", signer.map(String::from)), expect);
        };
        check(&world("A,B", Some("a")), Some("a"), Step::Ask);
        check(&world("A", None), Some("a"), Step::Tell("a".into()));
        check(&world("A", Some("z")), Some("a"), Step::Tell("a".into()));
        check(&world("A", Some("a")), Some("a"), Step::Nothing);
        check(&world("A", None), None, Step::Nothing);
        check(&Snapshot::default(), Some("a"), Step::Nothing);
    }
}
