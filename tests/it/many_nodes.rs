//! Three servers and their nodes, each on a machine of its own: nodes join and are lost, and servers die, as `--bench fleet` times it;
//! one is cut off and started anew, as `--bench offline` does for longer.

use std::time::Duration;

use harness::{Rounds, namespaces_are_possible, offline};

use crate::PROGRAM;

#[test]
fn nodes_come_and_go_and_servers_die_and_nothing_else_is_touched() {
    if !namespaces_are_possible() {
        return;
    }
    let mut rounds = Rounds::begin(PROGRAM, 3).expect("all come up");
    for round in 0..2 {
        let joined = rounds.join().expect("a node joins");
        let (handed_over, _) = rounds.handover().expect("the lead is handed over");
        let failover = rounds.failover().expect("a leader dies");
        let killed = rounds.killed().expect("a node is killed");
        let silent = rounds.silent().expect("a node is silent");
        println!(
            "round {round}: joined {joined:?}, handed over {handed_over:?}, {failover:?}, killed {killed:?}, silent {silent:?}"
        );
    }
}

#[test]
fn a_node_that_is_cut_off_and_started_anew_serves_all_the_time() {
    if !namespaces_are_possible() {
        return;
    }
    let away = offline(PROGRAM, 2, Duration::from_secs(20)).unwrap_or_else(|error| panic!("{error:#}"));
    println!("{away}");
}
