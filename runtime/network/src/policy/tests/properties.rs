//! What must never happen, whatever the policies.

use proptest::prelude::*;

use super::{PolicyTable, WORLD, snapshot, verdict};

const PODS: [&str; 5] = ["shop/web", "shop/db", "bank/web", "bank/db", "plain/one"];

fn one_of(words: &'static [&'static str]) -> impl Strategy<Value = String> + Clone {
    prop::sample::select(words).prop_map(str::to_owned)
}

fn rule() -> impl Strategy<Value = String> {
    let parties = one_of(&[
        "",
        "[]",
        "[app=web]",
        "[app=db] {team=b}",
        "{}",
        "{team=a}[app=db]",
        "10.42.0.0/16",
        "0.0.0.0/0-10.42.1.0/24",
    ]);
    let ports = one_of(&["", "at 80", "at 80-100 443", "at http sql", "at */UDP", "at 53/UDP"]);
    (one_of(&["in", "out"]), parties, ports).prop_map(|(direction, parties, ports)| {
        let word = if direction == "in" { "from" } else { "to" };
        format!("{direction} {word} {parties} {ports}")
    })
}

fn policy() -> impl Strategy<Value = (String, String)> {
    let rules = prop::collection::vec(prop_oneof![3 => rule(), 1 => one_of(&["in none", "out none"])], 1..4);
    (one_of(&["shop", "bank", "plain"]), one_of(&["[]", "[app=web]", "[app=db]", "[tier]"]), rules)
        .prop_map(|(namespace, selector, rules)| (namespace, format!("{selector} {}", rules.join(" ; "))))
}

fn dial() -> impl Strategy<Value = String> {
    let ends = one_of(&["shop/web", "shop/db", "bank/web", "bank/db", "plain/one", "203.0.113.7", "10.42.1.3"]);
    let port = one_of(&["80", "8080", "5432", "443", "53/UDP", "100", "7/SCTP"]);
    (ends.clone(), ends, port).prop_map(|(from, to, port)| format!("{from} -> {to}:{port}"))
}

fn world(policies: &[(String, String)]) -> String {
    let lines = policies.iter().enumerate();
    let lines = lines.map(|(number, (namespace, policy))| format!("policy {namespace}/p{number} {policy}\n"));
    format!("{WORLD}\n{}", lines.collect::<String>())
}

/// What denies a connection: nothing, or the end of it and the policies there.
fn denied(policies: &[(String, String)], dial: &str) -> String {
    let world = world(policies);
    verdict(&PolicyTable::from(&snapshot(&world)), &world, dial)
}

proptest! {
    /// Both ends are isolated already, so that one more policy can only add to what they let through.
    #[test]
    fn one_more_policy_takes_nothing_from_who_is_isolated(
        policies in prop::collection::vec(policy(), 0..4),
        more in policy(),
        dial in dial(),
    ) {
        let deny = PODS.iter().filter_map(|pod| pod.split_once('/'));
        let mut policies: Vec<_> =
            policies.into_iter().chain(deny.map(|(namespace, _)| (namespace.to_owned(), "[] in none; out none".to_owned()))).collect();
        let before = denied(&policies, &dial);
        policies.push(more);
        prop_assert!(!before.is_empty() || denied(&policies, &dial).is_empty(), "{dial}");
    }

    #[test]
    fn a_pod_that_no_policy_selects_is_open(policies in prop::collection::vec(policy(), 0..5), port in 1..=65535u16) {
        let elsewhere: Vec<_> = policies.into_iter().filter(|(namespace, _)| namespace != "plain").collect();
        let dial = |dial: String| denied(&elsewhere, &dial);
        prop_assert_eq!(dial(format!("203.0.113.7 -> plain/one:{port}")), "");
        prop_assert_eq!(dial(format!("plain/one -> 203.0.113.7:{port}/UDP")), "");
    }

    #[test]
    fn who_allows_everything_denies_nothing(policies in prop::collection::vec(policy(), 0..4), dial in dial()) {
        let all = ["shop", "bank", "plain"].map(|namespace| (namespace.to_owned(), "[] in any; out any".to_owned()));
        let policies: Vec<_> = policies.into_iter().chain(all).collect();
        prop_assert_eq!(denied(&policies, &dial), "");
    }

    #[test]
    fn the_order_of_policies_is_nothing(policies in prop::collection::vec(policy(), 0..5), dial in dial()) {
        let mut reversed = policies.clone();
        reversed.reverse();
        prop_assert_eq!(denied(&policies, &dial).is_empty(), denied(&reversed, &dial).is_empty());
    }

    #[test]
    fn a_pod_reaches_itself_and_is_reached_by_its_node(
        policies in prop::collection::vec(policy(), 0..5),
        pod in prop::sample::select(&PODS[..]),
        port in 1..=65535u16,
    ) {
        prop_assert_eq!(denied(&policies, &format!("{pod} -> {pod}:{port}")), "");
        prop_assert_eq!(denied(&policies, &format!("node -> {pod}:{port}/UDP")), "");
    }
}
