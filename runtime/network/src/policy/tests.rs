//! A small notation for worlds with policies. One object a line:
//!
//! ```text
//! namespace shop team=a
//! pod shop/web 10.42.0.2 app=web http:8080 @n1     ports that have names; a node; `host` is on its network, `ended` has ended
//! policy shop/deny [app=web] in: PODS | PODS : PORTS ; out: …
//! ```
//!
//! After `in` and `out` come rules between `;`, each a list of parties after `from` or `to` and of ports after `at`; `in none`
//! isolates and allows nothing. Parties are `[labels]` (pods of the namespace), `{labels}` (all pods of such namespaces),
//! `{labels}[labels]` (such pods of such namespaces) and `10.0.0.0/8-10.1.0.0/16` (a block and what it leaves out); ports are
//! `80`, `80-90`, `http`, `53/UDP`, `*/UDP`.

mod enforcement;
mod properties;
mod recipes;

use api::{Object, Revision};
use serde_json::{Value, json};

use super::*;

const WORLD: &str = "
    namespace shop team=a
    namespace bank team=b
    pod shop/web 10.42.0.2 app=web http:8080 dns:53/UDP
    pod shop/db 10.42.0.3 app=db,tier=data sql:5432
    pod shop/host 192.0.2.9 app=web host
    pod shop/job 10.42.0.4 app=web ended
    pod bank/web 10.42.1.2 app=web http:80
    pod bank/db 10.42.1.3 app=db
    pod plain/one 10.42.2.2
";

/// The snapshot that a text tells of.
fn snapshot(text: &str) -> Snapshot {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Snapshot::load(Revision(1), lines.map(object))
}

fn object(line: &str) -> Object {
    let (kind, rest) = line.split_once(' ').expect("a kind");
    let (place, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let (namespace, name) = place.split_once('/').unwrap_or(("", place));
    let mut value = match kind {
        "namespace" => json!({"metadata": {"labels": labels(rest)}}),
        "pod" => pod(rest),
        "policy" => policy(rest),
        other => panic!("not a kind: {other}"),
    };
    let kind = match kind {
        "namespace" => kinds::NAMESPACE,
        "pod" => kinds::POD,
        _ => kinds::NETWORK_POLICY,
    };
    value["apiVersion"] = if kind.group.is_empty() { "v1".into() } else { format!("{}/v1", kind.group).into() };
    value["kind"] = kind.kind.into();
    value["metadata"]["name"] = name.into();
    value["metadata"]["namespace"] = namespace.into();
    value["metadata"]["uid"] = format!("uid-of-{name}").into();
    Object::from_value(kind, &value).expect("an object")
}

fn labels(text: &str) -> Value {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), Value::from(value))).collect::<serde_json::Map<_, _>>().into()
}

fn pod(text: &str) -> Value {
    let mut value = json!({"metadata": {"labels": {}}, "spec": {"containers": [{"name": "c", "ports": []}]}, "status": {"phase": "Running"}});
    for word in text.split_whitespace() {
        match word {
            "host" => value["spec"]["hostNetwork"] = true.into(),
            word if word.starts_with('@') => value["spec"]["nodeName"] = word[1..].into(),
            "ended" => value["status"]["phase"] = "Succeeded".into(),
            word if word.contains('=') => value["metadata"]["labels"] = labels(word),
            word if word.parse::<IpAddr>().is_ok() => value["status"]["podIP"] = word.into(),
            word => {
                let (name, port) = word.split_once(':').expect("a port with a name");
                let (number, protocol) = port.split_once('/').unwrap_or((port, "TCP"));
                let number: u16 = number.parse().expect("a number");
                let port = json!({"name": name, "containerPort": number, "protocol": protocol});
                value["spec"]["containers"][0]["ports"].as_array_mut().expect("a list").push(port);
            }
        }
    }
    value
}

fn policy(text: &str) -> Value {
    let (selector, mut rest) = text.split_once(']').expect("a selector");
    let mut spec = json!({"podSelector": selector_of(&format!("{selector}]")), "policyTypes": []});
    let mut annotations = json!({});
    rest = rest.trim();
    for rule in rest.split(';').map(str::trim).filter(|rule| !rule.is_empty()) {
        let (direction, rule) = rule.split_once(' ').unwrap_or((rule, ""));
        let (field, kind, word) = match direction {
            "in" => ("ingress", "Ingress", "from"),
            "out" => ("egress", "Egress", "to"),
            "names" => {
                annotations = json!({api::egress_names::ANNOTATION: rule});
                continue;
            }
            other => panic!("not a direction: {other}"),
        };
        if !spec["policyTypes"].as_array().is_some_and(|types| types.contains(&kind.into())) {
            spec["policyTypes"].as_array_mut().expect("a list").push(kind.into());
        }
        if rule == "none" {
            continue;
        }
        let (mut parties, mut ports, mut list) = (Vec::new(), Vec::new(), "");
        for token in rule.split_whitespace() {
            match token {
                "from" | "to" | "at" => list = token,
                "any" => {}
                port if list == "at" => ports.push(port_of(port)),
                party => parties.push(party_of(party)),
            }
        }
        let rules = spec.as_object_mut().expect("an object").entry(field).or_insert_with(|| json!([]));
        let mut rule = json!({});
        if !parties.is_empty() {
            rule[word] = parties.into();
        }
        if !ports.is_empty() {
            rule["ports"] = ports.into();
        }
        rules.as_array_mut().expect("a list").push(rule);
    }
    json!({"metadata": {"annotations": annotations}, "spec": spec})
}

fn port_of(text: &str) -> Value {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "TCP"));
    match (port, port.split_once('-'), port.parse::<u16>()) {
        ("*", ..) => json!({"protocol": protocol}),
        (_, Some((first, last)), _) if first.parse::<u16>().is_ok() => {
            let number = |text: &str| text.parse::<u16>().expect("a number");
            json!({"port": number(first), "endPort": number(last), "protocol": protocol})
        }
        (_, _, Ok(number)) => json!({"port": number, "protocol": protocol}),
        (name, ..) => json!({"port": name, "protocol": protocol}),
    }
}

fn party_of(text: &str) -> Value {
    if text.starts_with(|c: char| c.is_ascii_hexdigit() || c == ':') {
        let mut nets = text.split('-');
        let whole = nets.next().expect("a block");
        return json!({"ipBlock": {"cidr": whole, "except": nets.collect::<Vec<_>>()}});
    }
    let mut party = json!({});
    let (namespaces, pods) = text.find('[').map_or((text, ""), |at| text.split_at(at));
    if !namespaces.is_empty() {
        party["namespaceSelector"] = selector_of(&namespaces.replace('{', "[").replace('}', "]"));
    }
    if !pods.is_empty() {
        party["podSelector"] = selector_of(pods);
    }
    party
}

/// `[a=b,c!=d,e,!f]`.
fn selector_of(text: &str) -> Value {
    let inner = text.trim().trim_start_matches('[').trim_end_matches(']');
    let expressions: Vec<Value> = inner
        .split(',')
        .filter(|one| !one.is_empty())
        .map(|one| match (one.split_once("!="), one.split_once('='), one.strip_prefix('!')) {
            (Some((key, value)), ..) => json!({"key": key, "operator": "NotIn", "values": [value]}),
            (_, Some((key, value)), _) => json!({"key": key, "operator": "In", "values": [value]}),
            (.., Some(key)) => json!({"key": key, "operator": "DoesNotExist"}),
            _ => json!({"key": one, "operator": "Exists"}),
        })
        .collect();
    if expressions.is_empty() { json!({}) } else { json!({"matchExpressions": expressions}) }
}

/// `shop/web` is a pod of this node, known by name; an address is an address, `node` the node.
fn peer<'a>(text: &'a str, world: &str) -> Peer<'a> {
    match text.split_once('/') {
        None if text == "node" => Peer::Node,
        None => Peer::Address(text.parse().expect("an address")),
        Some((namespace, name)) => {
            let line = world.lines().map(str::trim).find(|line| line.starts_with(&format!("pod {text} ")));
            let address = line.and_then(|line| line.split_whitespace().find_map(|word| word.parse().ok()));
            Peer::Pod { namespace, name, address: address.unwrap_or([10, 42, 9, 9].into()) }
        }
    }
}

/// What becomes of `from -> to:port/PROTOCOL`: `in by …`, `out by …`, or nothing where it may be.
fn verdict(table: &PolicyTable, world: &str, dial: &str) -> String {
    let (from, to) = dial.split_once(" -> ").expect("from -> to");
    let (to, port) = to.rsplit_once(':').expect("a port");
    let (number, protocol) = port.split_once('/').unwrap_or((port, "TCP"));
    let port = PortProtocol { number: number.parse().expect("a number"), protocol: Protocol::named(protocol) };
    let (from, to) = (peer(from, world), peer(to.trim_matches(['[', ']']), world));
    match table.allows(Direction::Egress, &from, &to, port) {
        Verdict::Denied(by) => return format!("out by {by}"),
        Verdict::Allowed => {}
    }
    match table.allows(Direction::Ingress, &from, &to, port) {
        Verdict::Denied(by) => format!("in by {by}"),
        Verdict::Allowed => String::new(),
    }
}

/// What becomes of connections under policies; one connection a line, what denies it after `!`.
fn check(policies: &str, dials: &str) {
    let world = format!("{WORLD}\n{policies}");
    let table = PolicyTable::from(&snapshot(&world));
    for line in dials.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (dial, expected) = line.split_once(" ! ").unwrap_or((line, ""));
        assert_eq!(verdict(&table, &world, dial), expected, "{dial} under {policies}");
    }
}

#[test]
fn without_policies_everything_may_be() {
    check("", "shop/web -> bank/db:80\n 203.0.113.7 -> shop/db:1\n shop/web -> 203.0.113.7:443/UDP");
}

#[test]
fn who_is_selected_is_reached_as_rules_say_and_only_then() {
    check(
        "policy shop/p [app=db] in from [app=web] at 5432",
        "shop/web -> shop/db:5432
         shop/web -> shop/db:5433 ! in by p
         shop/web -> shop/db:5432/UDP ! in by p
         bank/web -> shop/db:5432 ! in by p
         203.0.113.7 -> shop/db:5432 ! in by p
         shop/db -> shop/web:80
         bank/web -> shop/web:80
         shop/db -> 203.0.113.7:80",
    );
}

#[test]
fn pods_are_found_by_address_as_by_name() {
    check(
        "policy shop/p [app=db] in from [app=web]",
        "10.42.0.2 -> 10.42.0.3:80
         ::ffff:10.42.0.2 -> [::ffff:10.42.0.3]:80
         10.42.1.2 -> 10.42.0.3:80 ! in by p
         ::ffff:10.42.1.2 -> [::ffff:10.42.0.3]:80 ! in by p",
    );
}

#[test]
fn namespaces_are_selected_by_their_labels() {
    check(
        "policy shop/p [] in from {team=b}",
        "bank/web -> shop/db:80\n bank/db -> shop/db:80\n shop/web -> shop/db:80 ! in by p\n plain/one -> shop/db:80 ! in by p",
    );
    check(
        "policy shop/p [] in from {team=b}[app=web]",
        "bank/web -> shop/db:80\n bank/db -> shop/db:80 ! in by p\n shop/web -> shop/db:80 ! in by p",
    );
    check(
        "policy shop/p [] in from {team=b} [app=web]",
        "bank/db -> shop/db:80\n shop/web -> shop/db:80\n plain/one -> shop/db:80 ! in by p",
    );
    check(
        "policy shop/p [] in from {}",
        "bank/db -> shop/db:80\n shop/web -> shop/db:80\n plain/one -> shop/db:80 ! in by p\n 203.0.113.7 -> shop/db:80 ! in by p",
    );
    check("policy shop/p [] in from {team!=a}", "bank/db -> shop/web:1\n shop/db -> shop/web:1 ! in by p");
    check("policy shop/p [] in from [tier]", "shop/db -> shop/web:1\n bank/db -> shop/web:1 ! in by p");
    check("policy shop/p [!tier] in none", "shop/db -> shop/web:1 ! in by p\n bank/db -> shop/db:1");
}

#[test]
fn blocks_mean_addresses_but_for_those_left_out() {
    check(
        "policy shop/p [] out to 10.0.0.0/8-10.42.1.0/24-10.9.0.0/16 2001:db8::/32 at 80",
        "shop/web -> 10.1.1.1:80
         shop/web -> shop/db:80
         shop/web -> bank/db:80 ! out by p
         shop/web -> 10.9.1.1:80 ! out by p
         shop/web -> 10.1.1.1:81 ! out by p
         shop/web -> 203.0.113.7:80 ! out by p
         shop/web -> [2001:db8::1]:80
         shop/web -> [::ffff:10.1.1.1]:80
         shop/web -> [::ffff:10.9.1.1]:80 ! out by p",
    );
    check(
        "policy shop/p [] in from 0.0.0.0/0-203.0.113.0/24",
        "198.51.100.1 -> shop/web:80\n bank/db -> shop/web:80\n 203.0.113.7 -> shop/web:80 ! in by p\n 2001:db8::1 -> shop/web:80 ! in by p",
    );
    check(
        "policy shop/p [] out to ::/0-10.0.0.0/8",
        "shop/web -> [2001:db8::1]:80\n shop/web -> [64:ff9b::a00:1]:80 ! out by p\n shop/web -> [2002:a00:1::]:80 ! out by p",
    );
}

#[test]
fn ports_are_numbers_ranges_and_the_targets_own_names() {
    check(
        "policy shop/p [] in at 80-90 http dns/UDP 443/SCTP",
        "bank/db -> shop/web:80\n bank/db -> shop/web:90\n bank/db -> shop/web:91 ! in by p
         bank/db -> shop/web:8080\n bank/db -> shop/db:8080 ! in by p\n bank/db -> shop/web:8080/UDP ! in by p
         bank/db -> shop/web:53/UDP\n bank/db -> shop/web:53 ! in by p
         bank/db -> shop/web:443/SCTP\n bank/db -> shop/web:443 ! in by p",
    );
    check(
        "policy bank/p [] out at http",
        "bank/db -> shop/web:8080\n bank/db -> shop/web:80 ! out by p\n bank/db -> bank/web:80\n bank/db -> 203.0.113.7:80 ! out by p",
    );
    check(
        "policy shop/p [] in from [] at */UDP",
        "shop/db -> shop/web:7/UDP\n shop/db -> shop/web:7 ! in by p\n bank/db -> shop/web:7/UDP ! in by p",
    );
}

#[test]
fn policies_add_up() {
    check(
        "policy shop/deny [] in none; out none
         policy shop/web [app=web] in from {team=b} at 80
         policy shop/more [app=web] in from [app=db] at 81; out to any at 443",
        "bank/web -> shop/web:80
         bank/web -> shop/web:81 ! in by deny, more, web
         shop/db -> shop/web:81 ! out by deny
         bank/web -> shop/db:80 ! in by deny
         shop/web -> 203.0.113.7:443
         shop/web -> 203.0.113.7:80 ! out by deny, more",
    );
}

#[test]
fn a_pod_is_its_own_and_its_nodes() {
    check(
        "policy shop/p [] in none; out none",
        "shop/web -> shop/web:80
         shop/web -> 10.42.0.2:80
         10.42.0.2 -> shop/web:80
         node -> shop/web:80
         shop/db -> shop/web:80 ! out by p",
    );
}

#[test]
fn pods_on_the_host_and_pods_that_ended_are_no_pods() {
    check(
        "policy shop/p [] in from [app=web]",
        "192.0.2.9 -> shop/db:80 ! in by p\n 10.42.0.4 -> shop/db:80 ! in by p\n bank/db -> 192.0.2.9:80\n shop/web -> shop/db:80",
    );
    check(
        "policy shop/p [] in from 198.51.100.0/24; out none
         pod shop/a 10.42.3.1 @n1
         pod shop/near 192.0.2.1 @n1 host
         pod shop/far 192.0.2.2 @n2 host
         pod shop/open 198.51.100.2 @n2 host",
        "shop/near -> shop/a:80
         shop/far -> shop/a:80 ! in by p
         shop/open -> shop/a:80
         shop/near -> 203.0.113.7:80
         shop/web -> shop/near:80 ! out by p",
    );
}

#[test]
fn who_is_not_known_yet_is_isolated_where_anybody_is() {
    check(
        "policy shop/p [app=none] in from {}",
        "bank/db -> shop/new:80 ! in by p\n shop/new -> bank/db:80\n bank/db -> bank/new:80\n shop/web -> shop/new:1 ! in by p",
    );
    let table = PolicyTable::from(&snapshot(&format!("{WORLD}\n policy shop/p [] out none")));
    assert!(!table.knows("shop", "new") && table.knows("shop", "web") && table.knows("bank", "new"));
}

#[test]
fn names_are_reached_by_the_answers_to_them() {
    let world = format!("{WORLD}\n policy shop/p [app=web] out to [app=db]; names api.example.com,*.example.org:443");
    let policy = Policy::fixed(PolicyTable::from(&snapshot(&world)));
    let web = peer("shop/web", &world);
    let outside: IpAddr = [198, 51, 100, 7].into();
    let check = |to: IpAddr, port: u16, allowed: bool| {
        let told = policy.check(Direction::Egress, &web, &Peer::Address(to), PortProtocol::tcp(port));
        assert_eq!(told.is_ok(), allowed, "{to}:{port}");
    };
    check(outside, 443, false);
    policy.answered(&web, "www.example.net", &[outside]);
    check(outside, 443, false);
    policy.answered(&web, "a.example.org", &[outside]);
    check(outside, 443, true);
    check(outside, 80, false);
    check([198, 51, 100, 8].into(), 443, false);
    policy.answered(&web, "API.example.com.", &[outside]);
    check(outside, 80, true);
    // A name outside that says it is somebody inside is not believed.
    policy.answered(&web, "api.example.com", &[[10, 42, 1, 3].into()]);
    check([10, 42, 1, 3].into(), 80, false);
    assert!(policy.may_ask(&web, "b.example.org") && !policy.may_ask(&web, "example.net"));
    assert!(policy.may_ask(&peer("shop/db", &world), "example.net"));
}

#[test]
fn an_isolated_pod_asks_strangers_only_where_a_rule_may_lead() {
    let may_ask = |rules: &str| {
        let world = format!("{WORLD}\n policy shop/p [] {rules}");
        PolicyTable::from(&snapshot(&world)).may_ask(&peer("shop/web", &world), "example.net")
    };
    assert!(may_ask("in none") && may_ask("out to any at 443") && may_ask("out to 0.0.0.0/0"));
    assert!(!may_ask("out none") && !may_ask("out to [app=db]; out to {}"));
}

#[tokio::test]
async fn denials_are_counted_and_told_in_words() {
    let world = format!("{WORLD}\n policy shop/p [app=db] in none; out none");
    let policy = Policy::fixed(PolicyTable::from(&snapshot(&world)));
    let (web, db, out) = (peer("bank/web", &world), peer("10.42.0.3", &world), peer("203.0.113.7", &world));
    let mut told = policy.denials().listen();
    policy.check_both(&web, &db, PortProtocol::tcp(5432)).expect_err("denied");
    policy.check_both(&db, &out, PortProtocol::udp(53)).expect_err("denied");
    let first = told.recv().await.expect("told");
    assert_eq!(
        (first.to_string(), &*first.pod.name, &*first.pod.uid),
        (
            "Denied ingress from bank/web (10.42.1.2) to port 5432/TCP: no rule of NetworkPolicy p allows it".into(),
            "db",
            "uid-of-db"
        )
    );
    assert_eq!(
        told.recv().await.expect("told").to_string(),
        "Denied egress to 203.0.113.7, port 53/UDP: no rule of NetworkPolicy p allows it"
    );
    assert_eq!((policy.denials().count(Direction::Ingress), policy.denials().count(Direction::Egress)), (1, 1));
}

#[tokio::test]
async fn a_new_pod_waits_until_it_is_known() {
    let before = snapshot(&format!("{WORLD}\n policy shop/p [] in none"));
    let (views, view) = tokio::sync::watch::channel(before);
    let policy = Policy::follow(view);
    policy.known("shop", "web").await;
    let waiting = tokio::spawn({
        let policy = policy.clone();
        async move { policy.known("shop", "new").await }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    views.send_replace(snapshot(&format!("{WORLD}\n policy shop/p [] in none \n pod shop/new 10.42.0.7 app=web")));
    waiting.await.expect("it ends");
}
