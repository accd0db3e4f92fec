//! Ingresses say where they are served, and what is wrong with them.
//!
//! The edge itself never calls the API. What the status should be, and what there is to say, is a function of the world, the
//! same on every node, so nodes that look at once agree and write nothing twice: an event has the name of its words.

use std::collections::HashSet;
use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use api::kinds;
use client::{Client, PatchType};
use k8s_openapi::api::core::v1::Node;
use serde_json::json;
use state::Snapshot;
use tokio::sync::watch;

use crate::events::Tale;

/// A status that could not be written is tried again after this, if nothing else happens before.
const RETRY: Duration = Duration::from_secs(5);

/// Keeps the status of every Ingress true until `shutdown`. `listener` is where the edge listens.
pub(crate) async fn run(
    listener: IpAddr,
    mut view: watch::Receiver<Snapshot>,
    client: Client,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let keeping = async {
        let mut told = HashSet::new();
        loop {
            let world = view.borrow_and_update().clone();
            let mut failed = false;
            for (key, status) in ingress::status(&world, &addresses(listener, &world)) {
                if let Err(error) = client.patch_status(&key, PatchType::Merge, &json!({"status": status})).await {
                    tracing::debug!(ingress = %key, %error, "status not written");
                    failed = !error.is_not_found();
                }
            }
            for notice in ingress::notices(&world) {
                if told.contains(&notice) {
                    continue;
                }
                match tale(&notice).event(&world, jiff::Timestamp::now()) {
                    Some(event) => match client.create(&event).await {
                        Err(error) if !error.is_conflict() => {
                            tracing::debug!(ingress = %notice.ingress, %error, "event not written");
                            failed = true;
                        }
                        _ => {
                            told.insert(notice);
                        }
                    },
                    None => failed = true,
                }
            }
            let changed = if failed {
                tokio::time::timeout(RETRY, view.changed()).await.unwrap_or(Ok(()))
            } else {
                view.changed().await
            };
            if changed.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = keeping => {}
        () = shutdown => {}
    }
    Ok(())
}

/// The listener's own address, or those of all nodes where it listens everywhere.
fn addresses(listener: IpAddr, world: &Snapshot) -> Vec<String> {
    if !listener.is_unspecified() {
        return vec![listener.to_string()];
    }
    let nodes = world.list(kinds::NODE).filter_map(|object| object.decode::<Node>().ok());
    let mut found: Vec<String> = nodes
        .flat_map(|node| node.status.clone().and_then(|status| status.addresses).unwrap_or_default())
        .filter(|address| address.type_ == "InternalIP")
        .map(|address| address.address)
        .collect();
    found.sort();
    found
}

/// A notice as it is told.
fn tale(notice: &ingress::Notice) -> Tale<'_> {
    let ingress::Notice { ingress, reason, message } = notice;
    Tale { ingress, tone: "Warning", reason, message, by: "coracle-ingress" }
}

#[cfg(test)]
mod tests {
    use api::Object;

    use super::*;

    #[test]
    fn an_edge_on_every_address_is_found_at_its_nodes() {
        let node = |name: &str, ip: &str| {
            let addresses = json!([{"type": "Hostname", "address": name}, {"type": "InternalIP", "address": ip}]);
            let value = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": {"addresses": addresses}});
            Object::from_value(kinds::NODE, &value).expect("a node")
        };
        let world = Snapshot::load(state::Revision::ZERO, [node("a", "192.0.2.7"), node("b", "192.0.2.5")]);
        assert_eq!(addresses(IpAddr::from([0, 0, 0, 0]), &world), ["192.0.2.5", "192.0.2.7"]);
        assert_eq!(addresses(IpAddr::from([127, 0, 0, 1]), &world), ["127.0.0.1"]);
    }
}
