//! What the proof is worth: mistakes that are planted into the store, and the stories that find them.
//!
//! `BUGS=40 cargo test -p store --lib every_planted -- --nocapture` also says which of them stories of chance find, within so many seeds.

use super::proofs::{self, Proof};
use super::story::play;
use super::tests::in_parallel;
use super::variable;
use crate::fault::Bug;

/// Each mistake, and what finds it.
const CATALOGUE: [(Bug, Proof); 26] = [
    (Bug::AcknowledgedBeforeSync, proofs::crashes),
    (Bug::NamedBeforeWritten, proofs::crashes),
    (Bug::ChecksumIgnored, proofs::crashes),
    (Bug::ImageAhead, proofs::crashes),
    (Bug::DamageCut, proofs::turned_bits),
    (Bug::SumsIgnored, proofs::turned_bits),
    (Bug::EventLost, proofs::watching),
    (Bug::EventTwice, proofs::watching),
    (Bug::BookmarkAhead, proofs::watching),
    (Bug::ForgottenRow, proofs::forgetting),
    (Bug::ResumedTooLate, proofs::forgetting),
    (Bug::VoteForgotten, proofs::promising),
    (Bug::VoteNotRepeated, proofs::promising),
    (Bug::PurgeForgotten, proofs::promising),
    (Bug::NameNotSynced, proofs::promising),
    (Bug::TruncationForgotten, proofs::overruled),
    (Bug::TailNotSynced, proofs::left_in_memory),
    (Bug::AppliedTwice, proofs::handed_in_again),
    (Bug::SessionsNotTransferred, proofs::given_the_world),
    (Bug::TransferCut, proofs::given_the_world),
    (Bug::HistoryNotRestarted, proofs::given_the_world),
    (Bug::StaleRead, proofs::asleep),
    (Bug::ReadTooEarly, proofs::neighbours),
    (Bug::QuorumMinusOne, proofs::cut_off),
    (Bug::MembershipTooEarly, proofs::never_a_member),
    (Bug::PromotedTooEarly, proofs::not_caught_up),
];

/// Of these seeds every one is told without a mistake, and one finds each.
const SEEDS: u64 = 3;

#[test]
fn every_planted_mistake_is_found() {
    let found = in_parallel(CATALOGUE.len() as u64, |at| {
        let (bug, proof) = CATALOGUE[at as usize];
        let found = (1..=SEEDS).find_map(|seed| Some(format!("seed {seed}: {}", proof(seed, Some(bug)).err()?)));
        println!("{bug:?}: {}", found.as_deref().unwrap_or("not found"));
        found
    });
    for ((bug, _), how) in CATALOGUE.iter().zip(&found) {
        assert!(how.is_some(), "{bug:?} is not found");
    }
    let Some(seeds) = variable("BUGS") else { return };
    for (bug, _) in CATALOGUE {
        println!("by chance, {bug:?}: {:?}", (1..=seeds).find_map(|seed| Some((seed, play(seed, Some(bug)).err()?))));
    }
}

#[test]
fn without_a_mistake_the_same_stories_end_well() {
    let mut proofs: Vec<Proof> = Vec::new();
    for (_, proof) in CATALOGUE {
        if !proofs.iter().any(|known| std::ptr::fn_addr_eq(*known, proof)) {
            proofs.push(proof);
        }
    }
    let told = in_parallel(proofs.len() as u64 * SEEDS, |at| {
        let (proof, seed) = (at as usize / SEEDS as usize, at % SEEDS + 1);
        proofs[proof](seed, None).map_err(|wrong| format!("story {proof}, seed {seed}: {wrong}"))
    });
    for outcome in told {
        outcome.unwrap_or_else(|wrong| panic!("{wrong}"));
    }
}
