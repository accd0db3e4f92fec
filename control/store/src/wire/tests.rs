use std::fmt::{Debug, Write as _};
use std::sync::Arc;

use api::{Object, Revision, kinds};
use openraft::EntryPayload;
use openraft::raft::StreamAppendError;
use proptest::prelude::*;
use state::{Snapshot, Txn};

use super::*;
use crate::consensus::{
    AppendRequest, Command, Entry, HandOver, HandOverRefused, LeaderId, LogId, Member, Membership, SnapshotMeta,
    StoredMembership, Vote, VoteRequest, VoteResponse, Whole,
};
use crate::members::Change;
use crate::proposals::{Proposal, Sessions};
use crate::transport::Peer;

fn config_map(name: &str, filling: &str) -> Object {
    let value = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "n", "uid": name},
        "data": {"x": filling}});
    Object::from_value(kinds::CONFIG_MAP, &value).expect("a config map")
}

fn id(index: u64) -> LogId {
    LogId { leader_id: LeaderId { term: 3, node_id: 7 }, index }
}

fn command() -> Command {
    let proposal = Some(Proposal { session: 1, number: 2, settled: 1 });
    Command { txn: Arc::new(Txn::default().put(config_map("a", "1"))), proposal }
}

fn sessions() -> Sessions {
    let mut sessions = Sessions::default();
    assert!(sessions.admit(Proposal { session: 1, number: 2, settled: 1 }, 4));
    sessions
}

fn meta() -> SnapshotMeta {
    let members = std::collections::BTreeMap::from([(7, Member { address: "a:1".into() })]);
    let membership = Membership::new(vec![[7].into()], members).expect("a membership");
    SnapshotMeta { last_log_id: Some(id(9)), last_membership: StoredMembership::new(Some(id(1)), membership) }
}

/// What is written, if it is read as what it was and half of it is nothing.
fn encoded<T: Stored + Debug>(value: &T) -> Vec<u8> {
    let (mut bytes, mut again) = (Vec::new(), Vec::new());
    value.encode(&mut bytes);
    T::decode(&bytes).expect("it can be read").encode(&mut again);
    assert_eq!(bytes, again);
    for end in 0..bytes.len() {
        assert!(T::decode(&bytes[..end]).is_err(), "{end} bytes of {value:?}");
    }
    bytes
}

fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let hello = |lane| encoded(&Hello { from: 1, to: 2, lane });
    let asked = |call| encoded(&Asked { number: 5, call });
    let replied = |answer| encoded(&Replied { number: 5, answer });
    let told = |result| encoded(&Told { session: 6, result });
    let request =
        |leadership_transfer| VoteRequest { vote: Vote::new(4, 7), last_log_id: Some(id(9)), leadership_transfer };
    let peer = || Peer { member: 8, address: "b:2".into() };
    let entries = vec![
        Entry { log_id: id(4), payload: EntryPayload::Blank },
        Entry { log_id: id(5), payload: EntryPayload::Normal(command()) },
    ];
    let (vote, prev_log_id, leader_commit) = (Vote::new_committed(3, 7), Some(id(3)), Some(id(2)));
    let request_of = AppendRequest { vote, prev_log_id, entries, leader_commit };
    let (expected, actual) = (Some(id(1)), None);
    let begin = Begin { vote, meta: meta(), revision: Revision(11), sessions: sessions() };
    vec![
        ("hello, calls", hello(Lane::Calls)),
        ("hello, appends", hello(Lane::Appends)),
        ("hello, transfer", hello(Lane::Transfer)),
        ("welcome", encoded(&Welcome::Yes)),
        ("welcome, another", encoded(&Welcome::Other(3))),
        ("vote", asked(Call::Vote(request(true)))),
        ("pre-vote", asked(Call::PreVote(request(false)))),
        ("hand over", asked(Call::HandOver(HandOver::new(vote, 8, Some(id(9)))))),
        ("propose", asked(Call::Propose(command()))),
        ("propose, without a number", asked(Call::Propose(Command { proposal: None, ..command() }))),
        ("read index", asked(Call::ReadIndex)),
        ("add", asked(Call::Change(Change::Add(peer())))),
        ("promote", asked(Call::Change(Change::Promote(8)))),
        ("remove", asked(Call::Change(Change::Remove(8)))),
        ("replace", asked(Call::Change(Change::Replace { old: 7, new: 8 }))),
        ("move", asked(Call::Change(Change::Move(peer())))),
        ("lead", asked(Call::Change(Change::Lead(8)))),
        ("renew", asked(Call::Change(Change::Renew { old: 7, new: peer() }))),
        ("voted", replied(Answer::Vote(VoteResponse { vote, vote_granted: true, last_log_id: Some(id(9)) }))),
        ("handed over", replied(Answer::HandOver(Ok(())))),
        ("vote changed", replied(Answer::HandOver(Err(HandOverRefused::VoteChanged { expected: vote, actual: vote })))),
        ("not flushed", replied(Answer::HandOver(Err(HandOverRefused::LogNotFlushed { expected, actual })))),
        ("done", replied(Answer::Done)),
        ("read index is", replied(Answer::ReadIndex(12))),
        ("not leader", replied(Answer::NotLeader(Some(7)))),
        ("no leader", replied(Answer::NotLeader(None))),
        ("refused", replied(Answer::Refused("why".into()))),
        ("append", encoded(&Append { session: 6, request: request_of })),
        ("appended", told(Ok(Some(id(5))))),
        ("conflict", told(Err(StreamAppendError::Conflict(id(5))))),
        ("higher vote", told(Err(StreamAppendError::HigherVote(vote)))),
        ("begin", encoded(&Piece::Begin(Box::new(begin)))),
        ("objects", encoded(&Piece::Objects(vec![config_map("a", "1").at(Revision(3))]))),
        ("end", encoded(&Piece::End(1))),
        ("installed", encoded(&Installed(vote))),
    ]
}

#[test]
fn the_format_is_the_one_that_members_of_this_version_speak() {
    let mut text = String::new();
    for (name, bytes) in samples() {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(text, "{name}: {hex}").expect("a string takes everything");
    }
    assert!(text == include_str!("golden.txt"), "the format is now another:\n{text}");
}

/// How it is deflated is up to who sends it: what was once sent is inflated by all.
#[test]
fn deflated_objects_are_those_that_members_of_this_level_speak() {
    let bytes: Vec<u8> =
        (0..DEFLATED.len()).step_by(2).map(|at| u8::from_str_radix(&DEFLATED[at..at + 2], 16).expect("hex")).collect();
    let expected = Piece::Deflated(vec![config_map("a", "1").at(Revision(3))]);
    encoded(&expected);
    assert_eq!(Piece::decode(&bytes), Ok(expected));
    let unknown = [&[1, 9][..], &bytes[2..]].concat();
    let refused = Piece::decode(&unknown).expect_err("nobody speaks it");
    assert_eq!(refused.to_string(), "malformed piece: of a level that this version does not speak");
}

const DEFLATED: &str = "01036073c6ed63646060606640004e2076cecf4bcb4cf74d2cc80472aa958074586a5171667e9e92955299a1928e5276665e0a900d570714ca4d2d494c492c4954b2aa56ca4bcc4d054a27028541cce282c464103f0fc82fcd4c01cbd4ea28c1545700050c956a6b01";

#[test]
fn a_world_in_pieces_is_the_same_world_and_a_broken_piece_is_none() {
    let objects =
        || (0..3_000).map(|number| config_map(&format!("c{number}"), &"y".repeat(1_000)).at(Revision(number + 1)));
    let plain = sent(&Snapshot::load(Revision(3_005), objects()));
    let told = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": api::level::NAME, "namespace": api::level::NAMESPACE, "uid": "u"}, "data": {"level": "2"}});
    let told = Object::from_value(kinds::CONFIG_MAP, &told).expect("a config map").at(Revision(3_004));
    let deflated = sent(&Snapshot::load(Revision(3_005), objects().chain([told])));
    assert!(deflated * 10 < plain, "where all understand it, it is sent in {deflated} bytes instead of {plain}");
}

/// How many bytes a world is sent in, if it is the same when it arrives.
fn sent(world: &Snapshot) -> usize {
    let whole = Whole { world: world.clone(), sessions: Arc::new(sessions()) };
    let pieces: Vec<Piece> = pieces(Vote::new(3, 7), meta(), &whole).collect();
    assert!(pieces.len() > 4, "more than one MiB is more than one piece");
    let (mut found, mut total) = (Vec::new(), 0);
    for piece in &pieces {
        let mut bytes = Vec::new();
        piece.encode(&mut bytes);
        assert!(bytes.len() < 3 << 20);
        total += bytes.len();
        match Piece::decode(&bytes).expect("it can be read") {
            Piece::Begin(begin) => assert_eq!((begin.revision, begin.meta), (Revision(3_005), meta())),
            Piece::Objects(objects) | Piece::Deflated(objects) => {
                found.extend(objects);
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                assert!(Piece::decode(&bytes).is_err(), "one bit of it is another");
            }
            Piece::End(count) => assert_eq!(count, world.objects().count() as u64),
        }
    }
    assert!(Snapshot::load(Revision(3_005), found).objects().eq(world.objects()));
    total
}

#[tokio::test]
async fn frames_come_out_as_they_went_in_and_what_is_cut_off_is_an_error() {
    let mut stream = Vec::new();
    for number in 0..3 {
        write(&mut stream, &Asked { number, call: Call::ReadIndex }).await.expect("written");
    }
    let mut whole = &stream[..];
    for number in 0..3 {
        let asked: Asked = read(&mut whole).await.expect("read").expect("a frame");
        assert_eq!(asked, Asked { number, call: Call::ReadIndex });
    }
    assert_eq!(read::<Asked>(&mut whole).await.expect("the end"), None);
    for end in 1..stream.len() / 3 {
        assert!(read::<Asked>(&mut &stream[..end]).await.is_err(), "{end} bytes");
    }
    assert!(read::<Asked>(&mut &[255; 8][..]).await.is_err(), "nothing is as long as that");
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_fall(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = bytes;
        bytes.insert(0, FORMAT);
        let _ = (Asked::decode(&bytes), Replied::decode(&bytes), Append::decode(&bytes));
        let _ = (Told::decode(&bytes), Piece::decode(&bytes), Hello::decode(&bytes), Welcome::decode(&bytes));
    }
}
