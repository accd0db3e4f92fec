//! Generated histories of a cluster: people change their minds, pods come up and fail, nodes die and return, and the
//! controllers look at it all in any order, on worlds that have moved on by the time they are done.
//!
//! What must hold at every revision is checked at every revision; what must hold in the end is checked once the world is at
//! rest. Histories that once broke a law are kept by name.

#[path = "simulation/actors.rs"]
mod actors;
#[path = "simulation/daemon.rs"]
mod daemon;
#[path = "simulation/laws.rs"]
mod laws;
#[path = "simulation/quota.rs"]
mod quota;
#[path = "simulation/stateful.rs"]
mod stateful;
#[path = "simulation/storage.rs"]
mod storage;
#[path = "simulation/world.rs"]
mod world;

use proptest::prelude::*;

use actors::{Step, cron_step, job_step, step};
use world::World;

/// Plays a history, lets the world come to rest, and checks every law.
fn play(seed: u64, steps: &[Step]) {
    let mut world = World::new(seed, vec![laws::always, storage::always]);
    for one in steps {
        world.act(one);
        world.look(3);
    }
    world.rest();
    laws::at_rest(&world);
}

/// Plays a history of jobs.
fn work(seed: u64, steps: &[Step]) {
    let mut world = World::new(seed, vec![laws::always, laws::of_jobs]);
    for one in steps {
        world.act(one);
        world.look(4);
    }
    world.rest();
    laws::at_rest(&world);
    laws::jobs_at_rest(&world);
}

/// Plays a history of jobs that recur.
fn recur(seed: u64, steps: &[Step]) {
    let mut world = World::new(seed, vec![laws::always, laws::of_jobs, laws::of_cron_jobs]);
    for one in steps {
        world.act(one);
        world.look(4);
    }
    world.act(&Step::SuspendCron { suspend: true });
    world.rest();
    laws::at_rest(&world);
    laws::jobs_at_rest(&world);
    laws::history_is_kept(&world);
}

/// Plays a rolling update: only the image changes, pods only come up, and the bounds hold at every revision.
fn roll(seed: u64, replicas: u8, surge: u8, unavailable: u8, looks: &[u8]) {
    let mut world = World::new(seed, vec![laws::always]);
    world.act(&Step::Apply { name: 0, replicas, image: 0, surge, unavailable });
    world.rest();
    world.laws.push(laws::within_bounds);
    for (round, count) in looks.iter().enumerate() {
        if round % 5 == 0 {
            world.act(&Step::SetImage { name: 0, image: (round / 5 + 1) as u8 });
        }
        world.look(usize::from(*count));
        world.act(&Step::Agents { lazy: true });
    }
    world.rest();
    laws::at_rest(&world);
}

/// How many histories a test generates: so many, or what `HISTORIES` says.
pub(crate) fn histories(few: u32) -> u32 {
    std::env::var("HISTORIES").ok().and_then(|count| count.parse().ok()).unwrap_or(few)
}

/// Plays a history of deployments and jobs that share what a quota allows.
fn share(seed: u64, pods: u8, steps: &[Step]) {
    let mut world = World::new(seed, vec![laws::always, quota::is_kept]);
    world.put(quota::of(pods));
    for one in steps {
        world.act(one);
        world.look(4);
    }
    world.rest();
    quota::is_used(&world);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: histories(48), failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_world_comes_to_rest_and_keeps_the_laws(seed: u64, steps in proptest::collection::vec(step(), 1..60)) {
        play(seed, &steps);
    }

    #[test]
    fn jobs_come_to_an_end_and_count_every_pod_once(seed: u64, steps in proptest::collection::vec(job_step(), 1..60)) {
        work(seed, &steps);
    }

    #[test]
    fn no_volume_is_two_claims_and_all_that_can_be_bound_is(
        seed: u64, steps in proptest::collection::vec(prop_oneof![6 => storage::act().prop_map(Step::Store), 2 => step()], 1..60),
    ) {
        play(seed, &steps);
    }

    #[test]
    fn no_pod_comes_beyond_a_quota_and_its_room_is_used(
        seed: u64, pods in 0_u8..7, steps in proptest::collection::vec(prop_oneof![3 => step(), 2 => job_step()], 1..60),
    ) {
        share(seed, pods, &steps);
    }

    #[test]
    fn jobs_recur_once_for_each_time(seed: u64, steps in proptest::collection::vec(cron_step(), 1..40)) {
        recur(seed, &steps);
    }

    #[test]
    fn a_rolling_update_stays_within_its_bounds(
        seed: u64, replicas in 1_u8..8, surge in 0_u8..4, unavailable in 0_u8..4,
        looks in proptest::collection::vec(0_u8..6, 1..40),
    ) {
        roll(seed, replicas, surge, unavailable, &looks);
    }
}

#[test]
fn nothing_happens_in_an_empty_world() {
    play(0, &[]);
}

/// Admission gives a set defaults that a deployment from an older time lacks: each look made another set.
#[test]
fn a_template_that_lacks_a_default_is_rolled_out_once() {
    let apply = Step::Apply { name: 0, replicas: 3, image: 0, surge: 1, unavailable: 1 };
    play(1, &[apply, Step::Agents { lazy: false }, Step::Scale { name: 0, replicas: 0 }]);
}

/// An owner waited for ever for a dependent that had been set free instead of deleted.
#[test]
fn an_owner_in_the_foreground_hears_of_dependents_set_free() {
    let apply = Step::Apply { name: 0, replicas: 1, image: 0, surge: 0, unavailable: 0 };
    for seed in 0..16 {
        let delete = Step::Delete { name: 0, how: actors::How::Foreground };
        let settled = [apply.clone(), Step::Pass { seconds: 40 }, Step::Agents { lazy: false }, delete];
        play(seed, &[settled.as_slice(), &[Step::RelabelPod { pod: 0 }, apply.clone()]].concat());
    }
}

/// A pod that waits for a node has nobody who could say its end: its job waited for ever for it.
#[test]
fn a_pod_that_was_never_placed_is_replaced_once_it_is_deleted() {
    let shape = actors::Shape {
        completions: Some(1),
        parallelism: 1,
        indexed: false,
        limit: 2,
        limit_per_index: None,
        replaces_ended_only: true,
        ignores: false,
        deadline: None,
        ttl: None,
    };
    let nodes = [1, 2].map(|node| Step::DeleteNode { node });
    let cordon = Step::Cordon { node: 0, cordoned: true };
    let steps = [cordon, Step::ApplyJob { job: 0, shape }, Step::Pass { seconds: 30 }, Step::DeletePod { pod: 0 }];
    for seed in 0..8 {
        work(seed, &[nodes.as_slice(), steps.as_slice()].concat());
    }
}
