use std::net::IpAddr;

use super::*;
use crate::world::world;
use crate::{Mirror, PublicZone};

/// What the zone of a world says to a question such as `web.default.svc A`; names are within `cluster.local` unless they
/// end in a dot. Records are told by their data, additional ones after a `+`.
fn check(text: &str, question: &str, expected: &str) {
    let zone = Zone::new(&Authority::default(), &world(text)).expect("a zone");
    assert_eq!(told(&zone, question), expected, "{question} in {text}");
}

fn told(zone: &Zone, question: &str) -> String {
    let (name, wanted) = question.split_once(' ').expect("a name and a type");
    let name = match name.strip_suffix('.') {
        Some(whole) => whole.to_owned(),
        None => format!("{name}.cluster.local"),
    };
    let mut name = Name::from_ascii(name).expect("a name");
    name.set_fqdn(true);
    match zone.lookup(&LowerName::new(&name), wanted.parse().expect("a type")) {
        Answer::Records { answers, additionals } => {
            let mut told: Vec<String> = answers.iter().map(|record| record.data.to_string()).collect();
            told.extend(additionals.iter().map(|record| format!("+{} {}", record.name, record.data)));
            told.join(", ")
        }
        Answer::Alias { target, .. } => format!("alias {target}"),
        Answer::NoData { soa } => format!("no data in {}", soa.name),
        Answer::NoName { soa } => format!("no name in {}", soa.name),
        Answer::Outside => "outside".to_owned(),
    }
}

const NO_NAME: &str = "no name in cluster.local.";
const NO_DATA: &str = "no data in cluster.local.";

#[test]
fn the_schema_has_a_version() {
    check("", "dns-version TXT", "1.1.0");
}

#[test]
fn a_service_has_its_address() {
    check("service/web 10.43.0.5", "web.default.svc A", "10.43.0.5");
    check("service/web fd00::5", "web.default.svc AAAA", "fd00::5");
    check("service/shop/web 10.43.0.5", "WEB.Shop.svc A", "10.43.0.5");
}

#[test]
fn a_named_port_has_a_place() {
    let world = "service/web 10.43.0.5 http:80 dns:53/UDP :81";
    check(
        world,
        "_http._tcp.web.default.svc SRV",
        "0 100 80 web.default.svc.cluster.local., +web.default.svc.cluster.local. 10.43.0.5",
    );
    check(
        world,
        "_dns._udp.web.default.svc SRV",
        "0 100 53 web.default.svc.cluster.local., +web.default.svc.cluster.local. 10.43.0.5",
    );
    check(world, "_http._udp.web.default.svc SRV", NO_NAME);
    check(world, "_._tcp.web.default.svc SRV", NO_NAME);
}

#[test]
fn an_address_has_its_name() {
    check("service/web 10.43.0.5", "5.0.43.10.in-addr.arpa. PTR", "web.default.svc.cluster.local.");
    check("service/web 10.43.0.5", "6.0.43.10.in-addr.arpa. PTR", "no name in 43.10.in-addr.arpa.");
    check("service/web 10.43.0.5", "1.1.1.1.in-addr.arpa. PTR", "outside");
}

#[test]
fn a_headless_service_answers_with_its_pods() {
    let world = "service/db headless; slice/db tcp:5432 | db-0@10.42.0.4 10.42.0.5 10.42.0.6!";
    check(world, "db.default.svc A", "10.42.0.4, 10.42.0.5");
    check(world, "db.default.svc AAAA", NO_DATA);
    check(world, "db-0.db.default.svc A", "10.42.0.4");
    check(world, "10-42-0-5.db.default.svc A", "10.42.0.5");
    check(world, "10-42-0-4.db.default.svc A", NO_NAME);
    check(world, "10-42-0-6.db.default.svc A", NO_NAME);
    check(world, "4.0.42.10.in-addr.arpa. PTR", "db-0.db.default.svc.cluster.local.");
}

#[test]
fn a_headless_port_has_a_place_for_each_pod() {
    check(
        "service/db headless; slice/db tcp:5432 | db-0@10.42.0.4 db-1@10.42.0.5",
        "_tcp._tcp.db.default.svc SRV",
        "0 100 5432 db-0.db.default.svc.cluster.local., 0 100 5432 db-1.db.default.svc.cluster.local., \
         +db-0.db.default.svc.cluster.local. 10.42.0.4, +db-1.db.default.svc.cluster.local. 10.42.0.5",
    );
}

#[test]
fn a_headless_service_without_ready_pods_is_no_name() {
    check("service/db headless; slice/db tcp:5432 | 10.42.0.4!", "db.default.svc A", NO_NAME);
    check("service/db headless", "db.default.svc A", NO_NAME);
    check("service/db headless +unready; slice/db tcp:1 | 10.42.0.4!", "db.default.svc A", "10.42.0.4");
}

#[test]
fn an_external_name_is_an_alias() {
    check("service/mail ->mail.example.com", "mail.default.svc A", "alias mail.example.com.");
    check("service/mail ->mail.example.com", "mail.default.svc CNAME", "mail.example.com.");
}

#[test]
fn a_pod_has_a_name_made_of_its_address() {
    let world = "pod/shop/web-1 10.42.0.2; pod/shop/job-1 10.42.0.3 over";
    check(world, "10-42-0-2.shop.pod A", "10.42.0.2");
    check(world, "10-42-0-2.default.pod A", NO_NAME);
    check(world, "10-42-0-3.shop.pod A", NO_NAME);
    check(world, "2.0.42.10.in-addr.arpa. PTR", "10-42-0-2.shop.pod.cluster.local.");
}

#[test]
fn a_pod_is_called_by_its_headless_service_first() {
    let world = "pod/db-0 10.42.0.4; service/db headless; slice/db tcp:1 | db-0@10.42.0.4";
    check(world, "4.0.42.10.in-addr.arpa. PTR", "db-0.db.default.svc.cluster.local.");
}

#[test]
fn a_name_with_names_below_it_exists() {
    let world = "namespace/empty; service/shop/web 10.43.0.5 http:80";
    for name in ["cluster.local.", "svc", "shop.svc", "_tcp.web.shop.svc", "empty.svc", "empty.pod"] {
        check(world, &format!("{name} A"), NO_DATA);
    }
    check(world, "43.10.in-addr.arpa. PTR", "no data in 43.10.in-addr.arpa.");
    check(world, "other.svc A", NO_NAME);
    check(world, "web.shop A", NO_NAME);
}

#[test]
fn the_zone_says_who_serves_it() {
    check("", "cluster.local. NS", "ns.dns.cluster.local.");
    check("", "ns.dns A", "10.43.0.10");
    check("", "cluster.local. SOA", "ns.dns.cluster.local. hostmaster.cluster.local. 7 7200 1800 86400 5");
}

#[test]
fn what_is_not_the_clusters_is_outside() {
    check("", "example.com. A", "outside");
    check("", "notcluster.local. A", "outside");
}

#[test]
fn there_are_no_wildcards() {
    check("service/web 10.43.0.5", "*.default.svc A", NO_NAME);
    check("service/web 10.43.0.5", "anything.web.default.svc A", NO_NAME);
}

/// The same, as others see it, in a cluster that serves `example.com` and shows its services on the node.
fn check_seen_by(view: View, text: &str, question: &str, expected: &str) {
    let public = PublicZone { name: "example.com".into(), nameservers: vec![IpAddr::from([192, 0, 2, 53])] };
    let authority = Authority { mirror: Some(Mirror::default()), zones: vec![public], ..Authority::default() };
    let zone = Zone::seen_by(view, &authority, &world(text)).expect("a zone");
    assert_eq!(told(&zone, question), expected, "{question} in {text} as {view:?} see it");
}

#[test]
fn programs_on_the_node_reach_services_at_the_mirror() {
    let world = "service/web 10.43.7.5 http:80; service/db headless; slice/db t:1 | 10.42.0.4; service/mail ->web.default.svc.cluster.local";
    let check = |question, expected| check_seen_by(View::Node, world, question, expected);
    check("web.default.svc A", "127.43.7.5");
    check("ns.dns A", "127.43.0.10");
    check(
        "_http._tcp.web.default.svc SRV",
        "0 100 80 web.default.svc.cluster.local., +web.default.svc.cluster.local. 127.43.7.5",
    );
    check("5.7.43.127.in-addr.arpa. PTR", "web.default.svc.cluster.local.");
    check("5.7.43.10.in-addr.arpa. PTR", "web.default.svc.cluster.local.");
    check("db.default.svc A", "10.42.0.4");
    check_seen_by(View::Pods, world, "web.default.svc A", "10.43.7.5");
    check_seen_by(View::Pods, world, "5.7.43.127.in-addr.arpa. PTR", "outside");
}

#[test]
fn the_world_is_told_public_names_only() {
    let world = "service/web 10.43.7.5; ingress/web 192.0.2.1 www.example.com *.apps.example.com a.b.apps.example.com";
    let check = |question, expected| check_seen_by(View::World, world, question, expected);
    check("web.default.svc A", "outside");
    check("5.7.43.10.in-addr.arpa. PTR", "outside");
    check("www.example.com. A", "192.0.2.1");
    check("www.example.com. AAAA", "no data in example.com.");
    check("nobody.example.com. A", "no name in example.com.");
    check("example.com. NS", "ns.example.com.");
    check("example.com. SOA", "ns.example.com. hostmaster.example.com. 7 7200 1800 86400 300");
    check("ns.example.com. A", "192.0.2.53");
    check_seen_by(View::Pods, world, "www.example.com. A", "192.0.2.1");
}

#[test]
fn a_wildcard_stands_for_what_does_not_exist() {
    let world = "ingress/web 192.0.2.1 *.apps.example.com b.a.apps.example.com";
    let check = |question, expected| check_seen_by(View::World, world, question, expected);
    check("x.apps.example.com. A", "192.0.2.1");
    check("y.x.apps.example.com. A", "192.0.2.1");
    check("x.apps.example.com. AAAA", "no data in example.com.");
    // It exists, for there is a name below it; and what is below that is not below the wildcard.
    check("a.apps.example.com. A", "no data in example.com.");
    check("c.a.apps.example.com. A", "no name in example.com.");
    check("apps.example.com. A", "no data in example.com.");
    check("x.example.com. A", "no name in example.com.");
}

#[test]
fn a_zone_is_a_function_of_its_world() {
    let text = "service/web 10.43.0.5 http:80; service/db headless; slice/db t:1 | 10.42.0.4; pod/p 10.42.0.4";
    let zone = |text| Zone::new(&Authority::default(), &world(text)).expect("a zone");
    assert_eq!(zone(text).len(), zone(text).len());
    let unreadable = Authority { domain: "..".into(), ..Authority::default() };
    assert!(Zone::new(&unreadable, &world("")).is_err());
}
