//! Nodes that are short of something, as tables.

use super::*;
use crate::fixture::pod;

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

/// Pods as `name priority used/asked MiB`, and who goes first.
fn check(pods: &str, expected: &str) {
    let candidate = |line: &str| {
        let mut words = line.split_whitespace();
        let mut word = || words.next().expect("name, priority and amounts");
        let (name, priority, amounts) = (word(), word(), word());
        let (used, asked) = amounts.split_once('/').expect("used and asked");
        let mib = |text: &str| text.parse::<u64>().expect("a number") * MIB;
        let containers = vec![("main".to_owned(), mib(used), mib(asked))];
        Candidate { uid: name.into(), priority: priority.parse().expect("a number"), containers, beside: 0 }
    };
    let candidates: Vec<Candidate> = pods.split(';').map(candidate).collect();
    assert_eq!(first_to_go(&candidates).map(|pod| &*pod.uid), Some(expected).filter(|name| !name.is_empty()), "{pods}");
}

#[test]
fn who_uses_more_than_he_asked_for_goes_first() {
    check("modest 0 50/100; greedy 0 60/50", "greedy");
    check("modest 0 500/1000; greedy 9 60/50", "greedy");
}

#[test]
fn then_who_matters_less_and_then_who_is_furthest_beyond() {
    check("a 10 200/0; b 5 20/0", "b");
    check("a 5 200/190; b 5 100/0", "b");
    check("a 5 80/100; b 5 99/100", "a");
    check("a 5 0/0; b 9 10/0", "b");
    check("a 5 0/0", "");
}

fn level(available: u64, capacity: u64) -> Level {
    Level { available, capacity }
}

#[test]
fn thresholds_are_written_as_for_a_kubelet() {
    let thresholds: Thresholds =
        "memory.available<100Mi, nodefs.available<10%,nodefs.inodesFree<5%".parse().expect("good");
    assert_eq!(thresholds.memory, Some(Amount::Just(100 * MIB)));
    assert_eq!((thresholds.disk, thresholds.inodes), (Some(Amount::Percent(10)), Some(Amount::Percent(5))));
    let well = Signals { memory: level(200 * MIB, GIB), disk: level(2 * GIB, 10 * GIB), inodes: level(90, 100) };
    assert_eq!(thresholds.met(&well), []);
    let short = Signals { memory: level(99 * MIB, GIB), inodes: level(4, 100), ..well };
    let scarce: Vec<Scarce> = thresholds.met(&short).iter().map(|met| met.scarce).collect();
    assert_eq!(scarce, [Scarce::Memory, Scarce::Disk]);
    assert_eq!(Thresholds::default().met(&short), []);
    assert_eq!("".parse(), Ok(Thresholds::default()));
    for wrong in ["memory.available", "memory.available<much", "imagefs.available<5%", "nodefs.available<101%"] {
        assert!(wrong.parse::<Thresholds>().is_err(), "{wrong}");
    }
}

#[test]
fn an_eviction_says_why_in_a_kubelets_words() {
    let met = Met { scarce: Scarce::Memory, threshold: 100 * MIB, available: 52 << 10 };
    let containers = vec![("big".to_owned(), 60 * MIB, 0), ("small".to_owned(), MIB, 2 * MIB)];
    let candidate = Candidate { uid: "u".into(), priority: 0, containers, beside: 0 };
    assert_eq!(
        met.message(&candidate),
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 52Ki. \
         Container big was using 60Mi, request is 0, has larger consumption of memory. "
    );
}

fn admitted(spec: &str, memory: bool, disk: bool, expected: Option<&str>) {
    assert_eq!(refusal(Pressures { memory, disk }, &pod(spec)).as_deref(), expected, "{spec}");
}

#[test]
fn a_node_that_is_short_takes_no_pods_that_were_promised_nothing() {
    const BEST_EFFORT: &str = r#"{"containers":[{"name":"c"}]}"#;
    const BURSTABLE: &str = r#"{"containers":[{"name":"c","resources":{"requests":{"memory":"1Mi"}}}]}"#;
    const CRITICAL: &str = r#"{"priority":2000001000,"containers":[{"name":"c"}]}"#;
    const TOLERANT: &str = r#"{"containers":[{"name":"c"}],
        "tolerations":[{"key":"node.kubernetes.io/memory-pressure","operator":"Exists","effect":"NoSchedule"}]}"#;
    let memory = Some("Pod was rejected: The node had condition: [MemoryPressure]. ");
    let disk = Some("Pod was rejected: The node had condition: [DiskPressure]. ");
    admitted(BEST_EFFORT, false, false, None);
    admitted(BEST_EFFORT, true, false, memory);
    admitted(BURSTABLE, true, false, None);
    admitted(TOLERANT, true, false, None);
    admitted(BURSTABLE, false, true, disk);
    admitted(CRITICAL, true, true, None);
}

#[test]
fn what_a_pod_keeps_on_the_disk_has_a_limit() {
    let pod = pod(r#"{"containers":[{"name":"a","resources":{"limits":{"ephemeral-storage":"2Mi"}}},
                         {"name":"b","resources":{"limits":{"ephemeral-storage":"4Mi"}}}]}"#);
    let used = |a: u64, b: u64, volumes: u64| StorageUsed {
        logs: [("a".to_owned(), a * MIB), ("b".to_owned(), b * MIB)].into(),
        volumes: volumes * MIB,
    };
    assert!(has_limit(&pod));
    assert_eq!(storage_excess(&pod, &used(2, 1, 3)), None);
    let together = "Pod ephemeral local storage usage exceeds the total limit of containers 6Mi. ";
    assert_eq!(storage_excess(&pod, &used(1, 1, 5)).as_deref(), Some(together));
    let alone = "Container a exceeded its local ephemeral storage limit \"2Mi\". ";
    assert_eq!(storage_excess(&pod, &used(3, 0, 0)).as_deref(), Some(alone));
}

#[test]
fn bytes_are_written_in_the_largest_whole_unit() {
    let told = [0, 1, 1_000, 1_024, 1_536, 100 * MIB, GIB + MIB].map(binary);
    assert_eq!(told, ["0", "1", "1000", "1Ki", "1536", "100Mi", "1025Mi"]);
}
