use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use api::{Object, Revision, kinds};
use openraft::EntryPayload;
use proptest::prelude::*;
use state::{Claim, Guard, Protocol, Txn};

use super::*;
use crate::consensus::{Command, Entry, LeaderId, LogId, Member, Membership, StoredMembership, Vote};
use crate::proposals::Proposal;

fn object(name: &str, filling: &str) -> Object {
    let value = serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "n", "uid": "u"}, "spec": {"x": filling}});
    Object::from_value(kinds::POD, &value).expect("a pod")
}

fn log_id(index: u64) -> LogId {
    LogId { leader_id: LeaderId { term: 3, node_id: 0x0102_0304_0506_0708 }, index }
}

fn entry(payload: EntryPayload<Command, u64, Member>) -> Entry {
    Entry { log_id: log_id(9), payload }
}

fn everything() -> Txn {
    let pod = kinds::POD.key("n", "p");
    Txn::default()
        .guard(Guard::Unchanged(pod.clone(), Revision(7)))
        .guard(Guard::Absent(pod.clone()))
        .guard(Guard::Alive(kinds::NAMESPACE.cluster_key("n")))
        .guard(Guard::Free(Claim::PodIp([10, 42, 0, 2].into()), pod.clone()))
        .guard(Guard::Free(Claim::ClusterIp("fd00::1".parse().expect("an address")), pod.clone()))
        .guard(Guard::Free(Claim::NodePort(Protocol::Udp, 30_053), pod.clone()))
        .put(object("p", "ü"))
        .remove(pod)
}

fn membership() -> Membership {
    let member = |address: &str| Member { address: address.into() };
    let members = BTreeMap::from([(1, member("a:1")), (2, member("b:2")), (3, member(""))]);
    Membership::new(vec![[1].into(), [1, 2].into()], members).expect("a membership")
}

/// Everything that is stored on its own, by name.
fn samples() -> Vec<(&'static str, Vec<u8>)> {
    fn encoded<T: Stored + PartialEq + std::fmt::Debug>(value: &T) -> Vec<u8> {
        let mut bytes = Vec::new();
        value.encode(&mut bytes);
        assert_eq!(T::decode(&bytes).as_ref(), Ok(value));
        for end in 0..bytes.len() {
            assert!(T::decode(&bytes[..end]).is_err(), "half of it is nothing");
        }
        bytes
    }
    let command = |proposal| Command { txn: Arc::new(everything()), proposal };
    let proposal = Proposal { session: 0x1122, number: 7, settled: 5 };
    vec![
        ("vote", encoded(&Vote::new(3, 7))),
        ("vote, committed", encoded(&Vote::new_committed(3, 7))),
        ("log id", encoded(&Some(log_id(5)))),
        ("log id, none", encoded(&None::<LogId>)),
        ("membership", encoded(&StoredMembership::new(Some(log_id(1)), membership()))),
        ("membership, none", encoded(&StoredMembership::default())),
        ("entry, blank", encoded(&entry(EntryPayload::Blank))),
        ("entry, membership", encoded(&entry(EntryPayload::Membership(membership())))),
        ("entry, txn", encoded(&entry(EntryPayload::Normal(command(None))))),
        ("entry, proposal", encoded(&entry(EntryPayload::Normal(command(Some(proposal)))))),
    ]
}

#[test]
fn the_format_is_the_one_on_disk_everywhere() {
    let mut text = String::new();
    for (name, bytes) in samples() {
        let hex: String = bytes.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").expect("a string takes everything");
            hex
        });
        writeln!(text, "{name}: {hex}").expect("a string takes everything");
    }
    assert_eq!(text, include_str!("golden.txt"));
}

#[test]
fn what_a_newer_version_wrote_is_refused() {
    for (name, mut bytes) in samples() {
        bytes[0] = FORMAT + 1;
        assert_eq!(Vote::decode(&bytes), Err(Malformed::NEWER), "{name}");
        assert_eq!(Entry::decode(&bytes), Err(Malformed::NEWER), "{name}");
    }
    assert!(Malformed::NEWER.what.contains(&format!("the {FORMAT} that")), "it says what is known");
}

fn txns() -> impl Strategy<Value = Txn> {
    let name = "[a-z]{1,9}";
    let key = (name, "[a-z]{0,9}").prop_map(|(name, namespace)| kinds::POD.key(&namespace, &name));
    let claim = prop_oneof![
        any::<std::net::IpAddr>().prop_map(Claim::ClusterIp),
        any::<std::net::IpAddr>().prop_map(Claim::PodIp),
        any::<u16>().prop_map(|port| Claim::NodePort(Protocol::Sctp, port)),
    ];
    let guard = prop_oneof![
        (key.clone(), any::<u64>()).prop_map(|(key, revision)| Guard::Unchanged(key, Revision(revision))),
        key.clone().prop_map(Guard::Absent),
        key.clone().prop_map(Guard::Alive),
        (claim, key.clone()).prop_map(|(claim, key)| Guard::Free(claim, key)),
    ];
    let write = prop_oneof![
        (name, ".{0,40}").prop_map(|(name, filling)| state::Write::Put(object(&name, &filling))),
        key.prop_map(state::Write::Delete),
    ];
    (prop::collection::vec(guard, 0..4), prop::collection::vec(write, 0..4))
        .prop_map(|(guards, writes)| Txn { guards, writes })
}

proptest! {
    #[test]
    fn what_is_written_is_what_is_read(txn in txns()) {
        let mut bytes = Vec::new();
        txn.encode(&mut bytes);
        prop_assert_eq!(Txn::decode(&bytes), Ok(txn));
    }

    #[test]
    fn no_bytes_make_the_reader_fall(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = bytes;
        bytes.insert(0, FORMAT);
        let _ = (Txn::decode(&bytes), Entry::decode(&bytes), StoredMembership::decode(&bytes), Vote::decode(&bytes));
    }
}
