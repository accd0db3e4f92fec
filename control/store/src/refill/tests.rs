use futures::future::BoxFuture;

use super::*;
use crate::members::{Cluster, Role, Standing};
use crate::transport::Connection;
use crate::wire::{self, Asked, Hello, Replied, Welcome};

fn roster(member: MemberId, successor: Option<MemberId>, is_replaced: bool) -> Roster {
    let standing = |member| Standing { peer: Peer { member, address: format!("m{member}") }, role: Role::Voter };
    let cluster = Cluster { members: vec![standing(member), standing(8), standing(9)], ..Cluster::default() };
    let roster = Roster::of(member, &cluster).expect("it is a member");
    let roster = successor.map_or(roster.clone(), |successor| roster.succeeded(member, successor));
    Roster { is_replaced, ..roster }
}

fn check(successor: Option<MemberId>, is_replaced: bool, number: Option<MemberId>, expected: (MemberId, MemberId)) {
    let renewed = renewed(&roster(1, successor, is_replaced), number, 3);
    assert_eq!((renewed.member, renewed.successor), (expected.0, Some(expected.1)), "{successor:?}, {number:?}");
}

#[test]
fn a_damaged_member_comes_back_as_another_and_always_the_same() {
    check(None, false, Some(1), (1, 3));
    check(None, false, None, (1, 3));
    // The others were asked and may have agreed,
    check(Some(2), false, Some(1), (1, 2));
    check(Some(2), false, None, (1, 2));
    // or have, and the power failed before everything was put aside,
    check(Some(2), true, Some(1), (1, 2));
    check(Some(2), true, None, (1, 2));
    // or afterwards, and then something was damaged again.
    check(Some(2), true, Some(2), (2, 3));
}

#[test]
fn nobody_comes_back_under_a_number_that_was_given_up() {
    let (asked, replaced) = (roster(1, Some(2), false), roster(1, Some(2), true));
    assert!(is_begun(&replaced, Some(1)) && is_begun(&replaced, None) && !is_begun(&replaced, Some(2)));
    assert!(is_of(&replaced, 2) && !is_of(&replaced, 1));
    // As long as nobody has agreed, whoever is whole again is who it was.
    assert!(!is_begun(&asked, Some(1)) && is_of(&asked, 1) && !is_of(&asked, 2));
    let whole = roster(1, None, false);
    assert!(!is_begun(&whole, Some(1)) && is_of(&whole, 1) && !is_of(&whole, 7));
}

/// To a server that leads, and is from before anybody was filled anew: it hangs up on what it does not know.
#[derive(Debug)]
struct ToOlder;

impl Transport for ToOlder {
    fn dial(&self, _peer: &Peer) -> BoxFuture<'static, io::Result<Connection>> {
        let (here, there) = tokio::io::duplex(64 << 10);
        tokio::spawn(async move {
            let (mut reader, mut writer) = tokio::io::split(there);
            let _: Option<Hello> = wire::read(&mut reader).await?;
            wire::write(&mut writer, &Welcome::Yes).await?;
            while let Some(Asked { number, call: Call::ReadIndex }) = wire::read(&mut reader).await? {
                wire::write(&mut writer, &Replied { number, answer: Answer::ReadIndex(7) }).await?;
            }
            io::Result::Ok(())
        });
        Box::pin(std::future::ready(Ok(Box::new(here) as Connection)))
    }
}

#[tokio::test]
async fn whoever_does_not_know_the_question_is_not_asked_for_long() {
    let (new, transport) = (Peer { member: 3, address: "m3".into() }, Arc::new(ToOlder) as Arc<dyn Transport>);
    let roster = roster(1, None, false);
    let asking = take_in(&roster, new, &transport);
    let why = tokio::time::timeout(PATIENCE / 2, asking).await.expect("it says so at once");
    assert_eq!(why, Err("the server at m8, which leads them, is of a version that fills nobody anew".into()));
}
