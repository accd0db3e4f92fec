use proptest::prelude::*;

use super::*;
use crate::public::wanted;
use crate::world::world;

fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).expect("a name");
    name.set_fqdn(true);
    name
}

fn zone() -> Name {
    name("example.com")
}

/// A zone, its records parted by `;`: `www A 192.0.2.1`, or `a-www TXT ours ingress/default/web`, names within
/// `example.com`.
fn records(text: &str) -> Vec<Record> {
    let read = |part: &str| {
        let words: Vec<&str> = part.split_whitespace().collect();
        let name = name(&format!("{}.example.com", words[0]));
        let data = match words[1] {
            "A" => RData::A(words[2].parse().expect("an address")),
            "CNAME" => RData::CNAME(hickory_proto::rr::rdata::CNAME(super::tests::name(words[2]))),
            "TXT" => {
                let text =
                    format!("heritage=external-dns,external-dns/owner={},external-dns/resource={}", words[2], words[3]);
                return text_record(&name, &text, 300);
            }
            other => panic!("no {other} in this notation"),
        };
        Record::from_rdata(name, 300, data)
    };
    text.split(';').filter(|part| !part.trim().is_empty()).map(read).collect()
}

/// What is to be done in a zone for a world.
fn check(text: &str, there: &str, expected: &str) {
    let plan = Plan::new(&zone(), &wanted(&zone(), &world(text)), &records(there), "ours");
    let mut told: Vec<String> =
        plan.changes.iter().map(|change| format!("{:?} {} {}", change.what, change.name, change.kind)).collect();
    told.extend(plan.conflicts.iter().map(|(name, kind, why)| format!("{why:?} {name} {kind}")));
    assert_eq!(told.join("; "), expected, "{text} in {there}");
}

const WEB: &str = "ingress/web 192.0.2.1 www.example.com";
const OURS: &str = "www A 192.0.2.1; a-www TXT ours ingress/default/web";

#[test]
fn what_is_not_there_is_created_and_then_left_alone() {
    check(WEB, "", "Created www.example.com. A");
    check(WEB, OURS, "");
    check("", "", "");
}

#[test]
fn what_is_ours_is_replaced_and_removed() {
    check(WEB, "www A 192.0.2.9; a-www TXT ours ingress/default/web", "Replaced www.example.com. A");
    check(WEB, "www A 192.0.2.1; www A 192.0.2.2; a-www TXT ours ingress/default/web", "Replaced www.example.com. A");
    check(WEB, "www A 192.0.2.1; a-www TXT ours ingress/default/old", "Replaced www.example.com. A");
    check(WEB, "a-www TXT ours ingress/default/web", "Replaced www.example.com. A");
    check("", OURS, "Removed www.example.com. A");
}

#[test]
fn what_is_not_ours_is_never_touched() {
    check(WEB, "www A 192.0.2.9", "Foreign www.example.com. A");
    check(WEB, "www A 192.0.2.1; a-www TXT theirs ingress/default/web", "Foreign www.example.com. A");
    check(WEB, "www CNAME elsewhere.example.net", "Alias www.example.com. A");
    check("", "www A 192.0.2.9; mail A 192.0.2.9; a-www TXT theirs ingress/default/web", "");
}

#[test]
fn an_alias_goes_before_addresses_come() {
    let there = "www CNAME edge.example.net; cname-www TXT ours ingress/default/web";
    check(WEB, there, "Removed www.example.com. CNAME");
    let alias = "ingress/web 10.0.0.1 www.example.com target=edge.example.net";
    check(alias, there, "");
    check(alias, OURS, "Removed www.example.com. A");
    check(alias, "", "Created www.example.com. CNAME");
}

#[test]
fn the_zone_itself_and_wildcards_have_names_too() {
    check("ingress/web 192.0.2.1 example.com", "", "Created example.com. A");
    check("", "a-_apex TXT ours ingress/default/web", "Removed example.com. A");
    check("ingress/web 192.0.2.1 *.apps.example.com", "", "Created *.apps.example.com. A");
    check("", "a-_any.apps TXT ours ingress/default/web", "Removed *.apps.example.com. A");
    let long = "x".repeat(62);
    check(&format!("ingress/web 192.0.2.1 {long}.example.com"), "", &format!("Long {long}.example.com. A"));
}

/// What a server makes of a change, if all that it rests on is true.
fn apply(zone: &mut Vec<Record>, change: &Change) {
    for needed in &change.prerequisites {
        let is_set = |record: &&Record| record.name == needed.name && record.record_type() == needed.record_type();
        match needed.dns_class {
            DNSClass::NONE => assert!(!zone.iter().any(|record| is_set(&record)), "{needed} is there"),
            _ => assert!(
                zone.iter().any(|record| is_set(&record) && record.data == needed.data),
                "{needed} is not there"
            ),
        }
    }
    for update in &change.updates {
        match update.dns_class {
            DNSClass::ANY => {
                zone.retain(|known| known.name != update.name || known.record_type() != update.record_type());
            }
            _ => zone.push(update.clone()),
        }
    }
}

proptest! {
    /// Whatever was there, two rounds make it right, a third changes nothing, and nobody else's records are touched.
    #[test]
    fn a_zone_settles(
        first in prop::collection::vec((0..4u8, 0..3u8, any::<bool>()), 0..5),
        second in prop::collection::vec((0..4u8, 0..3u8, any::<bool>()), 0..5),
        foreign in prop::collection::vec((0..4u8, any::<bool>()), 0..3),
    ) {
        let world_of = |parts: &[(u8, u8, bool)]| {
            let objects = parts.iter().enumerate().map(|(number, (host, address, is_alias))| {
                let target = if *is_alias { " target=edge.example.net" } else { "" };
                format!("ingress/web-{number} 192.0.2.{address} h{host}.example.com{target}")
            });
            world(&objects.collect::<Vec<_>>().join("; "))
        };
        let foreign: BTreeMap<u8, bool> = foreign.into_iter().collect();
        let theirs = foreign.iter().map(|(host, is_alias)| {
            if *is_alias { format!("h{host} CNAME other.example.net") } else { format!("h{host} A 198.51.100.1") }
        });
        let theirs = records(&theirs.collect::<Vec<_>>().join("; "));
        let mut there = theirs.clone();
        for world in [world_of(&first), world_of(&second)] {
            let wanted = wanted(&zone(), &world);
            for _ in 0..2 {
                for change in Plan::new(&zone(), &wanted, &there.clone(), "ours").changes {
                    apply(&mut there, &change);
                }
            }
            let plan = Plan::new(&zone(), &wanted, &there, "ours");
            prop_assert!(plan.changes.is_empty(), "{:?}", plan.changes);
            prop_assert!(theirs.iter().all(|record| there.contains(record)));
            let conflicts: BTreeSet<&Name> = plan.conflicts.iter().map(|(name, _, _)| name).collect();
            for ((name, kind), wanted) in &wanted {
                let known: Vec<&Record> =
                    there.iter().filter(|record| record.name == *name && record.record_type() == *kind).collect();
                prop_assert!(conflicts.contains(name) || is_same(&known, wanted), "{name} {kind}");
            }
        }
    }
}
