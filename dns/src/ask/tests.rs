use k8s_openapi::api::core::v1::PodSpec;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn machine() -> Machine {
    Machine::read("nameserver 192.0.2.53\nsearch home.example\noptions ndots:2", &[])
}

fn ask(spec: Value) -> Ask {
    let mut spec = spec;
    spec["containers"] = json!([]);
    let pod = Pod {
        metadata: serde_json::from_value(json!({"name": "web-1", "namespace": "shop"})).expect("metadata"),
        spec: Some(serde_json::from_value::<PodSpec>(spec).expect("a pod's spec")),
        ..Pod::default()
    };
    let own = [IpAddr::from([10, 42, 0, 2])];
    Ask::for_pod(&pod, &own, "cluster.local", &[IpAddr::from([10, 43, 0, 10])], &machine())
}

/// What the resolv.conf of a pod says, its lines parted by `;`.
fn check(spec: Value, expected: &str) {
    let told = ask(spec.clone()).to_string();
    assert_eq!(told.trim_end().replace('\n', "; "), expected, "{spec}");
}

/// What a pod of namespace `shop` tries for a name, in this order.
fn check_tries(name: &str, expected: &[&str]) {
    let tries = ask(json!({})).candidates(name).unwrap_or_default();
    let told: Vec<String> = tries.iter().map(Name::to_ascii).collect();
    assert_eq!(told, expected, "{name}");
}

/// What a pod knows without asking.
fn check_known(spec: Value, name: &str, expected: &str) {
    let known: Vec<String> = ask(spec.clone()).known(name).iter().map(ToString::to_string).collect();
    assert_eq!(known.join(" "), expected, "{name} in {spec}");
}

const CLUSTER: &str = "nameserver cluster; \
     search shop.svc.cluster.local svc.cluster.local cluster.local home.example; options ndots:5 patience:10";
const MACHINE: &str = "nameserver machine; search home.example; options ndots:2 patience:10";

#[test]
fn a_pod_asks_the_cluster_first() {
    check(json!({}), CLUSTER);
    check(json!({"dnsPolicy": "ClusterFirst"}), CLUSTER);
    check(json!({"dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": true}), CLUSTER);
}

#[test]
fn a_pod_may_ask_as_its_machine_does() {
    check(json!({"dnsPolicy": "Default"}), MACHINE);
    check(json!({"dnsPolicy": "ClusterFirst", "hostNetwork": true}), MACHINE);
}

#[test]
fn a_pod_may_say_all_of_it_itself() {
    check(json!({"dnsPolicy": "None"}), "options ndots:1 patience:10");
    let config = json!({"nameservers": ["192.0.2.1", "10.43.0.10", "192.0.2.1"], "searches": ["a.example."],
        "options": [{"name": "ndots", "value": "2"}, {"name": "timeout", "value": "1"}, {"name": "edns0"}]});
    check(
        json!({"dnsPolicy": "None", "dnsConfig": config}),
        "nameserver 192.0.2.1; nameserver cluster; search a.example; options ndots:2 patience:2",
    );
}

#[test]
fn what_a_pod_says_is_added_to_its_policy() {
    let config = json!({"nameservers": ["192.0.2.1"], "searches": ["a.example", "svc.cluster.local"],
        "options": [{"name": "ndots", "value": "99"}, {"name": "attempts", "value": "3"}]});
    check(
        json!({"dnsConfig": config}),
        "nameserver cluster; nameserver 192.0.2.1; search shop.svc.cluster.local svc.cluster.local cluster.local \
         home.example a.example; options ndots:15 patience:15",
    );
}

#[test]
fn short_names_are_completed_first() {
    let completed = |name: &str| {
        ["shop.svc.cluster.local.", "svc.cluster.local.", "cluster.local.", "home.example."]
            .map(|search| format!("{name}.{search}"))
    };
    let tries = [&completed("db")[..], &["db.".to_owned()]].concat();
    check_tries("db", &tries.iter().map(String::as_str).collect::<Vec<_>>());
    let tries = [&["a.b.c.d.e.f.".to_owned()][..], &completed("a.b.c.d.e.f")].concat();
    check_tries("a.b.c.d.e.f", &tries.iter().map(String::as_str).collect::<Vec<_>>());
    check_tries("db.other.", &["db.other."]);
}

#[test]
fn what_is_not_a_name_is_not_tried() {
    for odd in ["", ".", "a..b", "a b", "a\\032b", &"x".repeat(64), &format!("{}x", "x.".repeat(130))] {
        check_tries(odd, &[]);
    }
    let long = format!("{}x", "x.".repeat(124));
    check_tries(&long, &[&format!("{long}.")]);
}

#[test]
fn a_name_in_other_letters_is_asked_for_in_ascii() {
    check_tries("bücher.example.", &["xn--bcher-kva.example."]);
}

#[test]
fn some_names_need_no_server() {
    check_known(json!({}), "192.0.2.7", "192.0.2.7");
    check_known(json!({}), "::1", "::1");
    check_known(json!({}), "LocalHost", "127.0.0.1 ::1");
    check_known(json!({}), "app.localhost.", "127.0.0.1 ::1");
    check_known(json!({}), "web-1", "10.42.0.2");
    check_known(json!({}), "other", "");
    check_known(json!({"hostname": "db-0", "subdomain": "db"}), "db-0.db.shop.svc.cluster.local", "10.42.0.2");
    let aliases = json!({"hostAliases": [{"ip": "192.0.2.9", "hostnames": ["old.example", "Older.example"]},
        {"ip": "192.0.2.8", "hostnames": ["old.example"]}, {"ip": "nonsense", "hostnames": ["older.example"]}]});
    check_known(aliases.clone(), "old.example", "192.0.2.9 192.0.2.8");
    check_known(aliases, "older.EXAMPLE.", "192.0.2.9");
}

proptest! {
    #[test]
    fn any_text_is_a_name_or_is_not(text in "\\PC{0,80}") {
        let tries = ask(json!({})).candidates(&text).unwrap_or_default();
        prop_assert!(tries.iter().all(|name| name.is_fqdn() && name.len() <= 255));
    }
}
