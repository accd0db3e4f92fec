//! Where the servers are: the endpoints of the service `kubernetes`.
//!
//! Clients, agents among them, read there which servers they may ask. The leader writes it from what the members of the cluster are;
//! one that is removed is no endpoint any more, one that is only away still is. Pods do not come by these: they ask the service, at
//! whose address every node answers itself (its slice says so), and the node asks a server.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use api::{Key, Object, kinds};
use serde_json::{Value, json};
use state::{Guard, Snapshot, Txn};
use store::Cluster;
use tracing::debug;

use crate::Door;

/// Whoever changes the object by hand finds it as it should be after so long,
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// and in a new cluster it has to be there first.
const LOOK_SOON: Duration = Duration::from_millis(200);

/// Keeps the endpoints as the members are, while this one leads, until the server closes.
pub(crate) async fn follow(door: Arc<Door>) {
    let mut cluster = door.store.cluster();
    loop {
        let now = cluster.borrow_and_update().clone();
        let leads = now.leader == Some(door.store.member());
        let world = door.store.snapshot();
        let wanted = if leads { publish(&world, &now) } else { None };
        let is_done = !leads || wanted.is_none() && world.get(&endpoints()).is_some();
        if let Some(txn) = wanted
            && let Err(error) = door.store.propose(txn).await
        {
            debug!(%error, "where the servers are is not told yet");
        }
        tokio::select! {
            () = door.closing.cancelled() => return,
            changed = cluster.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(if is_done { LOOK_AGAIN } else { LOOK_SOON }) => {}
        }
    }
}

fn endpoints() -> Key {
    kinds::ENDPOINTS.key("default", "kubernetes")
}

/// What makes the endpoints tell of these members; nothing if they do, or if nobody reaches the members from elsewhere.
fn publish(world: &Snapshot, cluster: &Cluster) -> Option<Txn> {
    let object = world.get(&endpoints())?;
    let mut value = object.to_value().ok()?;
    let subsets = subsets(cluster);
    if subsets.is_empty() || value["subsets"] == Value::from(subsets.clone()) {
        return None;
    }
    value["subsets"] = subsets.into();
    let changed = Object::from_value(kinds::ENDPOINTS, &value).ok()?;
    Some(Txn::default().guard(Guard::Unchanged(endpoints(), object.revision())).put(changed))
}

/// As Kubernetes has it: those of one port together, all in order.
fn subsets(cluster: &Cluster) -> Vec<Value> {
    let mut by_port: BTreeMap<u16, Vec<SocketAddr>> = BTreeMap::new();
    for address in cluster.members.iter().filter_map(|standing| standing.peer.address.parse::<SocketAddr>().ok()) {
        by_port.entry(address.port()).or_default().push(address);
    }
    let subset = |(port, mut addresses): (u16, Vec<SocketAddr>)| {
        addresses.sort();
        let addresses: Vec<Value> = addresses.iter().map(|address| json!({"ip": address.ip()})).collect();
        json!({"addresses": addresses, "ports": [{"name": "https", "port": port, "protocol": "TCP"}]})
    };
    by_port.into_iter().map(subset).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::seed;
    use jiff::Timestamp;
    use store::{MemberStanding, Peer, Role};

    fn cluster(addresses: &str) -> Cluster {
        let standing = |(member, address): (usize, &str)| MemberStanding {
            peer: Peer { member: member as u64, address: address.into() },
            role: Role::Voter,
        };
        Cluster { members: addresses.split_whitespace().enumerate().map(standing).collect(), ..Cluster::default() }
    }

    fn check(history: &[&str], expect: &str) {
        let txn = seed(&Snapshot::default(), Timestamp::UNIX_EPOCH, || "uid".into());
        let (mut world, _) = Snapshot::default().apply(&txn).expect("an empty world");
        for addresses in history {
            if let Some(txn) = publish(&world, &cluster(addresses)) {
                world = world.apply(&txn).expect("nobody else writes").0;
            }
            assert_eq!(publish(&world, &cluster(addresses)), None, "telling again changes nothing");
        }
        let told = world.get(&endpoints()).expect("it stays").to_value().expect("JSON");
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), String::from);
        let subset = |subset: &Value| {
            let addresses = subset["addresses"].as_array().into_iter().flatten();
            let addresses: Vec<String> = addresses.map(|address| text(&address["ip"])).collect();
            format!("{}:{}", addresses.join(","), subset["ports"][0]["port"])
        };
        let subsets: Vec<String> = told["subsets"].as_array().expect("a list").iter().map(subset).collect();
        assert_eq!(subsets.join(" "), expect);
    }

    #[test]
    fn the_members_are_the_endpoints() {
        check(&["10.0.0.2:6443 10.0.0.1:6443"], "10.0.0.1,10.0.0.2:6443");
        check(&["10.0.0.1:6443 10.0.0.2:7443"], "10.0.0.1:6443 10.0.0.2:7443");
        check(&["10.0.0.1:6443 10.0.0.2:6443", "10.0.0.2:6443"], "10.0.0.2:6443");
    }

    #[test]
    fn a_server_that_is_alone_and_has_no_address_changes_nothing() {
        check(&[""], "10.43.0.1:443");
    }
}
