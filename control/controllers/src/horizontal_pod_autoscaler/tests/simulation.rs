//! Hours of generated load, and what must never happen in them.

use proptest::prelude::*;

use super::*;

/// A load that lasts for so many looks, in thousandths of what one pod is to bear.
type Load = Vec<(u32, i64)>;

/// How many there were, look by look.
type Course = Vec<(Timestamp, i64)>;

#[derive(Clone, Debug)]
struct Terms {
    least: i32,
    most: i32,
    up_window: i32,
    down_window: i32,
    /// As many may come, or go, in a minute.
    up_pods: i32,
    down_pods: i32,
}

/// What one pod is to bear: ten requests in a second.
const BORNE_MILLI: i64 = 10_000;
/// Long enough for every window and the slowest pace to have passed.
const QUIET_LOOKS: u32 = 130;

fn terms() -> impl Strategy<Value = Terms> {
    let windows = (prop_oneof![Just(0), 0..200], prop_oneof![Just(0), Just(300), 0..600]);
    ((0_i32..4, 0_i32..12), windows, (1_i32..8, 1_i32..8)).prop_map(
        |((least, more), (up_window, down_window), (up_pods, down_pods))| Terms {
            least,
            most: (least + more).max(1),
            up_window,
            down_window,
            up_pods,
            down_pods,
        },
    )
}

fn load() -> impl Strategy<Value = Load> {
    prop::collection::vec((1_u32..30, prop_oneof![Just(0), 0_i64..150_000]), 1..8)
}

fn scaler_of(terms: &Terms) -> Object {
    let rules = |window: i32, pods: i32| {
        let policy = json!({"type": "Pods", "value": pods, "periodSeconds": 60});
        json!({"stabilizationWindowSeconds": window, "selectPolicy": "Max", "policies": [policy]})
    };
    let behavior = json!({"scaleUp": rules(terms.up_window, terms.up_pods), "scaleDown": rules(terms.down_window, terms.down_pods)});
    let bounds = (terms.least, terms.most);
    scaler(
        json!({"minReplicas": bounds.0, "maxReplicas": bounds.1, "metrics": [per_second("10")], "behavior": behavior}),
    )
}

/// The world with as many pods as there are to be, who share the load; where there are none, it waits.
fn under(load: i64, view: &Snapshot, now: Timestamp) -> Snapshot {
    let count = replicas(view);
    let kept = view.objects().filter(|object| {
        let kind = object.key().kind();
        kind != kinds::POD && kind != kinds::EVENT && kind != measured::METRIC_VALUE
    });
    let mut objects: Vec<Object> = kept.cloned().collect();
    for number in 0..count {
        let name = format!("p{number}");
        objects.push(pod(&format!("{name}=?")).swap_remove(0));
        objects.extend(figures(&name, load / count, now).into_iter().skip(1));
    }
    if count == 0 && load > 0 {
        objects.push(counted("services", kinds::SERVICE, "web", measured::REQUESTS_WAITING, 1));
    }
    Snapshot::load(view.revision(), objects)
}

/// What the metric alone proposes for a load.
fn raw(load: i64, count: i64) -> i64 {
    let average = if count == 0 { 0 } else { load / count };
    let ratio = average as f64 / BORNE_MILLI as f64;
    match count {
        0 => i64::from(load > 0),
        _ if (1.0 - ratio).abs() <= 0.1 => count,
        _ => (ratio * count as f64).ceil() as i64,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn it_stays_within_its_bounds_keeps_its_pace_and_comes_to_rest(terms in terms(), load in load()) {
        let last = load.last().map_or(0, |(_, load)| *load);
        let looks = load.into_iter().chain([(QUIET_LOOKS, last)]).flat_map(|(looks, load)| (0..looks).map(move |_| load));
        let mut world = view([scaler_of(&terms), deployment(terms.least.max(1)), service()]);
        let mut now = noon();
        let (mut proposed, mut counts) = (Course::new(), Course::new());
        let mut revisions = Vec::new();
        let mut last_load = 0;
        for load in looks {
            let before = replicas(&world);
            proposed.push((now, raw(load, before)));
            let seen = under(load, &world, now);
            world = looked(&seen, now);
            let after = replicas(&world);
            prop_assert!((i64::from(terms.least)..=i64::from(terms.most)).contains(&after), "{after} replicas");
            let within = |seconds: i32, of: &[(Timestamp, i64)]| -> Vec<i64> {
                let after = now - SignedDuration::from_secs(seconds.into());
                of.iter().filter(|(at, _)| *at > after).map(|(_, count)| *count).collect()
            };
            if after < before {
                let highest = within(terms.down_window, &proposed).into_iter().max().unwrap_or(0);
                prop_assert!(after >= highest.min(before), "down to {after}, though {highest} were proposed lately");
            }
            let is_woken = before == 0 && after == 1;
            if after > before && !is_woken {
                let lowest = within(terms.up_window, &proposed).into_iter().min().unwrap_or(i64::MAX);
                prop_assert!(after <= lowest.max(before), "up to {after}, though {lowest} were proposed lately");
            }
            // Since any moment of the last minute no more came, or went, than may in a minute: of the two together.
            for earlier in within(60, &counts) {
                let slack = i64::from(terms.up_pods + terms.down_pods) + 1;
                prop_assert!((after - earlier).abs() <= slack, "from {earlier} to {after} within a minute");
            }
            if load > 0 {
                prop_assert!(after > 0, "somebody waits, and nobody comes");
            }
            counts.push((now, after));
            revisions.push((seen.revision(), world.revision()));
            last_load = load;
            now += PERIOD;
        }
        let (rest, count) = (&counts[counts.len() - 20..], replicas(&world));
        prop_assert!(rest.iter().all(|(_, one)| *one == count), "restless: {rest:?}");
        prop_assert!(revisions[revisions.len() - 20..].iter().all(|(seen, after)| seen == after), "not quiet");
        let bounds = (i64::from(terms.least), i64::from(terms.most));
        prop_assert_eq!(raw(last_load, count).clamp(bounds.0, bounds.1), count, "at rest where it should not be");
    }
}
