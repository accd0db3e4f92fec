//! A member that is damaged is filled anew by the others, or refuses: whatever becomes of it meanwhile.

use std::path::PathBuf;

use super::disk::{Kept, SimulatedDisk};
use super::settings;
use super::stage::{self, Stage};
use super::tests::in_parallel;

/// A refill changes the disk so often, about: the power fails at each of these changes.
const CHANGES: u64 = 32;

/// Turns bits all over the log and the image.
fn ruin(disk: &SimulatedDisk) {
    for (path, length) in disk.files() {
        if path.extension().is_some_and(|extension| extension == "log" || extension == "redb") {
            (300..length as u64 * 8).step_by(4_001).for_each(|bit| disk.flip(&path, bit));
        }
    }
}

/// Takes all files away that end so.
fn lose(disk: &SimulatedDisk, endings: &[&str]) {
    for path in names(disk) {
        if path.extension().is_some_and(|extension| endings.iter().any(|ending| extension == *ending)) {
            disk.take_away(&path);
        }
    }
}

fn names(disk: &SimulatedDisk) -> Vec<PathBuf> {
    disk.files().into_iter().map(|(path, _)| path).collect()
}

/// It does not open, and everything is where it was.
async fn refuses(stage: &Stage, place: usize) -> Result<(), String> {
    let before = names(&stage.disk(place));
    let Err(words) = stage.start(place).await else { return Err("a damaged member opened".into()) };
    let after = names(&stage.disk(place));
    // What is written down on top is whom it would have been.
    let is_kept = before.iter().all(|path| after.contains(path));
    if is_kept && words.contains("is damaged") { Ok(()) } else { Err(format!("{words}: {before:?} is {after:?}")) }
}

#[test]
fn the_power_may_fail_at_any_moment_of_it() {
    let told = in_parallel(CHANGES, |changes| {
        stage::play(changes, None, settings(), |stage| async move {
            stage.found(3).await?;
            let place = changes as usize % 3;
            let old = stage.store(place).ok_or("it ended")?.1.member();
            stage.writes(place, "k0", 7).await?;
            stage.end(place, None);
            ruin(&stage.disk(place));
            stage.start_until(place, changes).await?;
            stage.end(place, Some(Kept::Any));
            stage.start(place).await?;
            stage.whole(3).await?;
            stage.agree().await?;
            stage.remembers().await?;
            let new = stage.store(place).ok_or("it ended")?.1.member();
            if new == old {
                return Err("it came back under its old number".into());
            }
            // Who else there was may be lost now.
            stage.end((place + 1) % 3, Some(Kept::Nothing));
            stage.leader().await?;
            match stage.reads(place, "k0").await {
                Some(Some(7)) => Ok(()),
                other => Err(format!("7 was acknowledged, and it has {other:?}")),
            }
        })
    });
    for (changes, outcome) in told.into_iter().enumerate() {
        outcome.unwrap_or_else(|wrong| panic!("the power fails after {changes} changes: {wrong}"));
    }
}

#[test]
fn one_that_is_alone_refuses() {
    let told = stage::play(1, None, settings(), |stage| async move {
        stage.found(1).await?;
        stage.writes(0, "k0", 7).await?;
        stage.end(0, None);
        ruin(&stage.disk(0));
        refuses(&stage, 0).await
    });
    told.unwrap_or_else(|wrong| panic!("{wrong}"));
}

#[test]
fn a_majority_refuses_until_enough_of_them_are_back() {
    let told = stage::play(1, None, settings(), |stage| async move {
        stage.found(3).await?;
        stage.writes(0, "k0", 7).await?;
        for place in [0, 1] {
            stage.end(place, None);
        }
        let whole = stage.disk(1).copy();
        ruin(&stage.disk(0));
        ruin(&stage.disk(1));
        refuses(&stage, 0).await?;
        refuses(&stage, 1).await?;
        // Somebody finds a disk that was thought lost.
        stage.put(1, whole);
        stage.start(1).await?;
        stage.leader().await?;
        stage.start(0).await?;
        stage.whole(3).await?;
        stage.agree().await
    });
    told.unwrap_or_else(|wrong| panic!("{wrong}"));
}

/// Nothing that is left of it is damaged, and it has forgotten how it voted.
#[test]
fn one_whose_log_is_gone_is_filled_anew() {
    for endings in [&["log"][..], &["log", "redb"]] {
        let told = stage::play(1, None, settings(), |stage| async move {
            stage.found(3).await?;
            stage.writes(0, "k0", 7).await?;
            let old = stage.store(0).ok_or("it ended")?.1.member();
            stage.end(0, None);
            lose(&stage.disk(0), endings);
            stage.start(0).await?;
            stage.whole(3).await?;
            stage.agree().await?;
            stage.remembers().await?;
            let new = stage.store(0).ok_or("it ended")?.1.member();
            if new == old { Err("it came back under its old number".into()) } else { Ok(()) }
        });
        told.unwrap_or_else(|wrong| panic!("{endings:?}: {wrong}"));
    }
}

#[test]
fn one_that_is_alone_and_whose_log_is_gone_refuses() {
    let told = stage::play(1, None, settings(), |stage| async move {
        stage.found(1).await?;
        stage.writes(0, "k0", 7).await?;
        // The image has it a moment later.
        crate::runtime::sleep(std::time::Duration::from_secs(1)).await;
        stage.end(0, None);
        lose(&stage.disk(0), &["log"]);
        refuses(&stage, 0).await?;
        refuses(&stage, 0).await
    });
    told.unwrap_or_else(|wrong| panic!("{wrong}"));
}
