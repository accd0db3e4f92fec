//! Stories of what matters most, each told on purpose: they bring about the moment in which a certain mistake would show.
//!
//! Chance tells them too, seldom. Here they are told each time, so that it is known that the suite would notice.

use std::sync::Arc;
use std::time::Duration;

use api::kinds;
use state::{Revision, Snapshot, Txn};

use super::disk::Kept;
use super::images::{self, digest};
use super::stage::{self, Stage, key};
use super::{flips, object, settings};
use crate::consensus::Command;
use crate::fault::Bug;
use crate::history::Limits;
use crate::proposals::Proposal;
use crate::{Change, Config, Interest, Peer, Store, runtime};

/// A story, and the judgement of it.
pub(super) type Proof = fn(u64, Option<Bug>) -> Result<(), String>;

/// A cluster that has settled, elections and retries included.
const A_WHILE: Duration = Duration::from_millis(1_500);

/// So many entries are more than any member keeps in its log.
const MANY: u64 = 80;

/// Turned bits of each file.
const FLIPS: u64 = 60;

// --- on one machine

/// Whatever a crash leaves of a store at work, all that was acknowledged is there.
pub(super) fn crashes(seed: u64, bug: Option<Bug>) -> Result<(), String> {
    stage::with(bug, || {
        images::work(seed, settings().log);
        Ok(())
    })
}

/// Whatever bit turns, nothing is served that was not written, and nothing is forgotten that was promised.
pub(super) fn turned_bits(seed: u64, bug: Option<Bug>) -> Result<(), String> {
    stage::with(bug, || flips::flipped(seed, FLIPS).map(drop))
}

/// A watch is told everything once, in order, with bookmarks that are true.
pub(super) fn watching(seed: u64, bug: Option<Bug>) -> Result<(), String> {
    stage::play(seed, bug, settings(), |stage| async move {
        stage.found(1).await?;
        let (_, store) = stage.store(0).ok_or("it ended")?;
        let mut watch = store.subscribe(Interest::All, Revision::ZERO).map_err(|error| error.to_string())?;
        let mut reached = Revision::ZERO;
        for number in 0..12 {
            let txn = Txn::default().put(object("k0", number)).put(object("k1", number));
            stage
                .ask(0, |store| async move { store.propose(txn).await })
                .await
                .ok_or("it ended")?
                .map_err(|error| error.to_string())?;
            for event in watch.ready().map_err(|error| error.to_string())? {
                follows(&mut reached, event.revision)?;
            }
            let (told, now) = (watch.reached(), store.snapshot().revision());
            if (told, reached) != (now, now) {
                return Err(format!("at {now} the watch was told of {reached}, and its bookmark is {told}"));
            }
        }
        Ok(())
    })
}

/// What is forgotten cannot be watched, and what is left is all there after a restart.
pub(super) fn forgetting(seed: u64, bug: Option<Bug>) -> Result<(), String> {
    let config = Config { history: Limits { events_max: 10, ..Limits::default() }, ..settings() };
    stage::play(seed, bug, config, |stage| async move {
        stage.found(1).await?;
        for number in 0..60 {
            let name = format!("k{}", number % 7);
            let txn = if number % 5 == 4 {
                Txn::default().remove(key(&name))
            } else {
                Txn::default().put(object(&name, number))
            };
            stage
                .ask(0, |store| async move { store.propose(txn).await })
                .await
                .ok_or("it ended")?
                .map_err(|error| error.to_string())?;
        }
        let world = stage.store(0).ok_or("it ended")?.1.snapshot();
        resumes(&stage, 0, Revision(1), &world)?;
        runtime::sleep(A_WHILE).await;
        stage.end(0, Some(Kept::Nothing));
        stage.start(0).await?;
        let again = stage.store(0).ok_or("it ended")?.1.snapshot();
        if (again.revision(), digest(&again)) != (world.revision(), digest(&world)) {
            return Err(format!("{world:?} is {again:?} after a restart"));
        }
        resumes(&stage, 0, Revision(1), &world)
    })
}

// --- on three

/// Members remember who they are, how they voted and what they have, however much they wrote since.
pub(super) fn promising(seed: u64, bug: Option<Bug>) -> Result<(), String> {
    stage::play(seed, bug, settings(), |stage| async move {
        stage.found(3).await?;
        stage.remembers().await?;
        fill(&stage, stage.leader().await?).await?;
        runtime::sleep(A_WHILE).await;
        stage.remembers().await?;
        stage.black_out(Kept::Nothing).await?;
        stage.agree().await
    })
}

/// What a leader had that was cut off, and nobody else, is taken back and stays so.
pub(super) fn overruled(seed: u64, bug: Option<Bug>) -> Result<(), String> {
    stage::play(seed, bug, settings(), |stage| async move {
        stage.found(3).await?;
        let leader = stage.leader().await?;
        stage.isolate(leader);
        let (life, store) = stage.store(leader).ok_or("it ended")?;
        let had = store.0.log.last();
        for number in 0..3 {
            let (store, txn) = (store.clone(), Txn::default().put(object("lost", number)));
            drop(runtime::spawn_of(&stage.executor, Some(life), async move { store.propose(txn).await.map(drop) }));
        }
        stage.within("it takes them", || async { (store.0.log.last() > had).then_some(()) }).await?;
        let other = stage.leader_beside(&[leader]).await?;
        stage.writes(other, "k0", 1).await?;
        // Whoever proposed them is no more, so nobody proposes them again.
        stage.end(leader, None);
        stage.net.heal();
        stage.start(leader).await?;
        stage.agree().await?;
        runtime::sleep(A_WHILE).await;
        stage.remembers().await?;
        stage.end(leader, None);
        stage.start(leader).await?;
        stage.agree().await
    })
}

/// What a killed process left in the machine's memory is made durable before it counts.
pub(super) fn left_in_memory(seed: u64, bug: Option<Bug>) -> Result<(), String> {
    stage::play(seed, bug, settings(), |stage| async move {
        stage.found(3).await?;
        stage.agree().await?;
        let leader = stage.leader().await?;
        let others = stage.beside(leader);
        let (witness, absent) = (others[0], others[1]);
        stage.isolate(absent);
        let (life, _) = stage.store(witness).ok_or("it ended")?;
        stage.disk(witness).end_unsynced(&settings().directory.join("log"));
        let writing = runtime::spawn({
            let stage = stage.clone();
            async move { stage.writes(leader, "k0", 7).await }
        });
        stage.within("it ends", || async { (!stage.executor.is_alive(life)).then_some(()) }).await?;
        stage.end(witness, None);
        stage.start(witness).await?;
        writing.await.map_err(|error| error.to_string())??;
        stage.end(leader, Some(Kept::Nothing));
        stage.end(witness, Some(Kept::Nothing));
        stage.net.heal();
        stage.start(witness).await?;
        has(&stage, witness, "k0", 7).await
    })
}

/// What is handed in again, because the answer was lost, happens once, whoever leads by then.
pub(super) fn handed_in_again(seed: u64, bug: Option<Bug>) -> Result<(), String> {
    stage::play(seed, bug, settings(), |stage| async move {
        stage.found(3).await?;
        let leader = stage.leader().await?;
        hand_in(&stage, leader).await?;
        stage.writes(leader, "k0", 2).await?;
        stage.end(leader, None);
        let other = stage.leader().await?;
        hand_in(&stage, other).await?;
        has(&stage, other, "k0", 2).await
    })
}

/// A member that was away for so long that it is given the whole world then has what the others have, knows what has happened, and
/// lets no watch go on as if nothing were missing.
pub(super) fn given_the_world(seed: u64, bug: Option<Bug>) -> Result<(), String> {
    stage::play(seed, bug, settings(), |stage| async move {
        stage.found(3).await?;
        let leader = stage.leader().await?;
        let away = stage.beside(leader)[0];
        stage.agree().await?;
        let (_, store) = stage.store(away).ok_or("it ended")?;
        let (before, last) = (store.snapshot().revision(), store.0.log.last());
        drop(store);
        stage.end(away, None);
        hand_in(&stage, leader).await?;
        fill(&stage, leader).await?;
        stage.writes(leader, "k0", 2).await?;
        let (_, leading) = stage.store(leader).ok_or("it ended")?;
        stage.within("the log lets go of it", || async { (leading.0.log.purged() > last).then_some(()) }).await?;
        stage.start(away).await?;
        stage.agree().await?;
        stage.writes(leader, "k1", 3).await?;
        stage.agree().await?;
        resumes(&stage, away, before, &stage.store(away).ok_or("it ended")?.1.snapshot())?;
        hand_in(&stage, leader).await?;
        stage.agree().await
    })
}

/// A leader that slept while another was elected does not answer from what it had.
pub(super) fn asleep(seed: u64, bug: Option<Bug>) -> Result<(), String> {
    stage::play(seed, bug, settings(), |stage| async move {
        stage.found(3).await?;
        let leader = stage.leader().await?;
        stage.writes(leader, "k0", 1).await?;
        stage.isolate(leader);
        let (life, _) = stage.store(leader).ok_or("it ended")?;
        stage.executor.stop(life, A_WHILE);
        let other = stage.leader_beside(&[leader]).await?;
        stage.writes(other, "k0", 2).await?;
        runtime::sleep(A_WHILE).await;
        let told = stage.reads(leader, "k0").await;
        if told.is_some_and(|told| told != Some(2)) {
            return Err(format!("2 was acknowledged, and whoever slept says {told:?}"));
        }
        stage.net.heal();
        has(&stage, leader, "k0", 2).await
    })
}

/// What was acknowledged at one member is read at each other, at once.
pub(super) fn neighbours(seed: u64, bug: Option<Bug>) -> Result<(), String> {
    stage::play(seed, bug, settings(), |stage| async move {
        stage.found(3).await?;
        let leader = stage.leader().await?;
        let others = stage.beside(leader);
        stage.net.slow_down(Duration::from_millis(20));
        for number in 0..40 {
            stage.writes(leader, "k0", number).await?;
            has(&stage, others[number as usize % 2], "k0", number).await?;
        }
        Ok(())
    })
}

/// Whatever was acknowledged while a leader was cut off is there when that one is lost.
pub(super) fn cut_off(seed: u64, bug: Option<Bug>) -> Result<(), String> {
    stage::play(seed, bug, settings(), |stage| async move {
        stage.found(3).await?;
        stage.agree().await?;
        let leader = stage.leader().await?;
        stage.isolate(leader);
        let txn = Txn::default().put(object("k0", 1));
        let told = stage.ask(leader, |store| async move { store.propose(txn).await.map(drop) }).await;
        stage.end(leader, Some(Kept::Everything));
        stage.net.heal();
        let other = stage.leader().await?;
        if told == Some(Ok(())) { has(&stage, other, "k0", 1).await } else { Ok(()) }
    })
}

/// Of a change of the members that never came to be nobody is told.
pub(super) fn never_a_member(seed: u64, bug: Option<Bug>) -> Result<(), String> {
    stage::play(seed, bug, settings(), |stage| async move {
        stage.found(3).await?;
        stage.agree().await?;
        let leader = stage.leader().await?;
        stage.isolate(leader);
        let (life, store) = stage.store(leader).ok_or("it ended")?;
        let had = store.0.log.last();
        let (stranger, asking) = (stranger(), store.clone());
        let change = Change::Add(stranger.clone());
        drop(runtime::spawn_of(&stage.executor, Some(life), async move { asking.change(change).await.map_err(drop) }));
        stage.within("it is in its log", || async { (store.0.log.last() > had).then_some(()) }).await?;
        for _ in 0..40 {
            runtime::sleep(Duration::from_millis(10)).await;
            knows_not(&store, stranger.member)?;
        }
        stage.end(leader, None);
        let other = stage.leader().await?;
        stage.writes(other, "k0", 1).await?;
        stage.net.heal();
        stage.start(leader).await?;
        stage.agree().await?;
        (0..3).try_for_each(|place| knows_not(&stage.store(place).ok_or("it ended")?.1, stranger.member))
    })
}

/// Who has nothing gets no vote: it would be needed before it can help.
pub(super) fn not_caught_up(seed: u64, bug: Option<Bug>) -> Result<(), String> {
    stage::play(seed, bug, settings(), |stage| async move {
        stage.found(3).await?;
        let leader = stage.leader().await?;
        let stranger = stranger();
        stage.changes(leader, Change::Add(stranger.clone())).await?;
        let promoted =
            stage.ask(leader, |store| async move { store.change(Change::Promote(stranger.member)).await }).await;
        if promoted == Some(Ok(())) { Err("whoever has nothing was given a vote".into()) } else { Ok(()) }
    })
}

// --- what they are made of

/// Has the log of a cluster grow by more than it keeps.
async fn fill(stage: &Stage, place: usize) -> Result<(), String> {
    for number in 0..MANY {
        stage.writes(place, &format!("k{}", number % 9), 100 + number).await?;
    }
    Ok(())
}

/// Hands in one and the same proposal, as a member does that was not answered.
async fn hand_in(stage: &Stage, leader: usize) -> Result<(), String> {
    let proposal = Proposal { session: 77, number: 0, settled: 0 };
    let command = Command { txn: Arc::new(Txn::default().put(object("k0", 1))), proposal: Some(proposal) };
    let answer = stage.ask(leader, |store| async move { store.0.commit(command).await }).await;
    if answer == Some(Some(crate::wire::Answer::Done)) { Ok(()) } else { Err(format!("it is not taken: {answer:?}")) }
}

/// A read says so.
async fn has(stage: &Stage, place: usize, name: &str, value: u64) -> Result<(), String> {
    let told = stage.within("it answers", || stage.reads(place, name)).await?;
    if told == Some(value) {
        return Ok(());
    }
    Err(format!("{name} = {value} was acknowledged, and member {place} reads {told:?}"))
}

/// A watch that goes on behind `after` is told everything up to now, or that it is too late.
fn resumes(stage: &Stage, place: usize, after: Revision, now: &Snapshot) -> Result<(), String> {
    let (_, store) = stage.store(place).ok_or("it ended")?;
    let Ok(mut watch) = store.subscribe(kinds::CONFIG_MAP, after) else { return Ok(()) };
    let mut reached = after;
    while reached < now.revision() {
        let Ok(events) = watch.ready() else { return Ok(()) };
        if events.is_empty() {
            return Err(format!("a watch is told of {reached} and no more, at {}", now.revision()));
        }
        for event in events {
            follows(&mut reached, event.revision)?;
        }
    }
    Ok(())
}

fn follows(reached: &mut Revision, next: Revision) -> Result<(), String> {
    if next != reached.next() {
        return Err(format!("a watch that had everything up to {reached} is told of {next}"));
    }
    *reached = next;
    Ok(())
}

/// One that is nowhere.
fn stranger() -> Peer {
    Peer { member: 4_711, address: "nowhere".into() }
}

fn knows_not(store: &Store, member: u64) -> Result<(), String> {
    let cluster = store.cluster().borrow().clone();
    if cluster.get(member).is_some() {
        Err(format!("a change that was never committed is told: {cluster:?}"))
    } else {
        Ok(())
    }
}
