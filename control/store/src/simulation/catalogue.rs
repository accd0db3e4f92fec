//! What the proof is worth: mistakes that are planted into the store, and whether stories find them.
//!
//! `BUGS=40 cargo test -p store --lib every_planted -- --nocapture` tries so many seeds on every mistake there is, and says which find it.

use super::story::play;
use super::variable;
use crate::fault::Bug;

/// Of these seeds one finds each of the mistakes below.
const SEEDS: u64 = 4;

/// Found within the seeds above.
const FOUND: [Bug; 6] = [
    Bug::AcknowledgedBeforeSync,
    Bug::PurgeForgotten,
    Bug::NameNotSynced,
    Bug::ReadTooEarly,
    Bug::ImageAhead,
    Bug::EventLost,
];

/// Which need more of them, or a story that is not told yet.
const OTHERS: [Bug; 16] = [
    Bug::TailNotSynced,
    Bug::ChecksumIgnored,
    Bug::VoteForgotten,
    Bug::VoteNotRepeated,
    Bug::TruncationForgotten,
    Bug::NamedBeforeWritten,
    Bug::AppliedTwice,
    Bug::SessionsNotTransferred,
    Bug::StaleRead,
    Bug::ForgottenRow,
    Bug::PurgedTooEarly,
    Bug::TransferCut,
    Bug::EventTwice,
    Bug::BookmarkAhead,
    Bug::ResumedTooLate,
    Bug::HistoryNotRestarted,
];

#[test]
fn every_planted_mistake_is_found() {
    let seeds = variable("BUGS").unwrap_or(SEEDS);
    let find = |bug| (1..=seeds).find_map(|seed| Some((seed, play(seed, Some(bug)).err()?)));
    for bug in FOUND {
        assert!(find(bug).is_some(), "{bug:?} is not found by {seeds} seeds");
    }
    if variable("BUGS").is_some() {
        for bug in OTHERS {
            println!("{bug:?}: {:?}", find(bug));
        }
    }
}
