use api::kinds;

use super::*;
use crate::world::world;

/// Where requests to a port of a service may go: `shop/web:http` by name, `shop/web:80` by number.
fn check(text: &str, asked: &str, expected: &str) {
    let table = ServiceTable::from(&world(text));
    let (service, port) = asked.split_once(':').expect("a service and a port");
    let (namespace, name) = service.split_once('/').unwrap_or(("default", service));
    let wanted = port.parse().map_or(PortRef::Name(port), PortRef::Number);
    let told = match table.service(namespace, name).map(|service| service.port(wanted)) {
        None => "no service".to_owned(),
        Some(Err(fault)) => fault.to_string(),
        Some(Ok(port)) => {
            let addresses: Vec<String> = port.endpoints.iter().map(|one| one.address.to_string()).collect();
            addresses.join(" ")
        }
    };
    assert_eq!(told, expected, "{asked} in {text}");
}

const WEB: &str = "service shop/web 10.43.0.5 http:80 admin:9000";

#[test]
fn a_port_leads_to_the_target_port_of_ready_endpoints() {
    let world = format!("{WEB}\nslice shop/web http:8080 admin:9001 | 10.42.0.2 10.42.0.3! 10.42.0.4");
    check(&world, "shop/web:80", "10.42.0.2:8080 10.42.0.4:8080");
    check(&world, "shop/web:admin", "10.42.0.2:9001 10.42.0.4:9001");
    check(&world, "shop/web:81", "shop/web has no port 81");
    check(&world, "web:80", "no service");
}

#[test]
fn a_target_port_with_a_name_differs_from_slice_to_slice() {
    let world = format!("{WEB}\nslice shop/web http:8080 | 10.42.0.2\nslice shop/web http:8081 | 10.42.0.3");
    check(&world, "shop/web:http", "10.42.0.2:8080 10.42.0.3:8081");
}

#[test]
fn an_endpoint_that_two_slices_name_counts_once() {
    let world = format!("{WEB}\nslice shop/web http:8080 | 10.42.0.2\nslice shop/web http:8080 | 10.42.0.2");
    check(&world, "shop/web:80", "10.42.0.2:8080");
}

#[test]
fn those_that_end_serve_only_while_none_is_ready() {
    check(&format!("{WEB}\nslice shop/web http:80 | 10.42.0.2~ 10.42.0.3"), "shop/web:80", "10.42.0.3:80");
    check(&format!("{WEB}\nslice shop/web http:80 | 10.42.0.2~ 10.42.0.3!"), "shop/web:80", "10.42.0.2:80");
    check(&format!("{WEB}\nslice shop/web http:80 | 10.42.0.3!"), "shop/web:80", "");
}

#[test]
fn a_service_may_publish_what_is_not_ready() {
    check(
        &format!("{WEB} +unready\nslice shop/web http:80 | 10.42.0.2~ 10.42.0.3!"),
        "shop/web:80",
        "10.42.0.2:80 10.42.0.3:80",
    );
}

#[test]
fn of_its_own_pods_a_node_believes_itself() {
    use crate::readiness::Speaker;

    let view = world(&format!(
        "{WEB}\nslice shop/web http:80 | 10.42.0.2/n1 10.42.0.3!/n1 10.42.0.4~/n1 10.42.0.5!/n2 10.42.0.6! 10.42.0.7/n1"
    ));
    let readiness = Readiness::default();
    let mut kept = Kept::on("n1", readiness.clone());
    let mut told = |known: &[(u8, bool)]| {
        for (host, is_ready) in known {
            readiness.tell(Speaker(0), [10, 42, 0, *host].into(), *is_ready);
        }
        let table = ServiceTable::build(&view, &mut kept);
        let service = table.service("shop", "web").expect("a service");
        let hosts = service.ports[0].endpoints.iter().map(|one| one.address.ip().to_string()).collect::<Vec<_>>();
        (hosts.join(" "), service.local)
    };
    assert_eq!(told(&[]), ("10.42.0.2 10.42.0.7".into(), 2), "it knows nothing");
    // One that the cluster does not hear of, one whose probes have just failed; one that is to end is not asked, whatever it says.
    assert_eq!(told(&[(2, false), (3, true), (4, true)]), ("10.42.0.3 10.42.0.7".into(), 2));
    // What is not here is not its own.
    assert_eq!(told(&[(5, true), (6, true)]), ("10.42.0.3 10.42.0.7".into(), 2));
    assert_eq!(told(&[(2, true), (3, false)]), ("10.42.0.2 10.42.0.7".into(), 2), "the table is made anew");
}

#[test]
fn a_slice_without_a_service_is_nobodys() {
    check("slice shop/web http:80 | 10.42.0.2", "shop/web:80", "no service");
}

#[test]
fn a_udp_port_is_not_for_requests() {
    check(
        "service dns 10.43.0.10 dns:53/UDP dns-tcp:53\nslice dns dns:53/UDP dns-tcp:5353 | 10.42.0.9",
        "dns:53",
        "10.42.0.9:5353",
    );
}

#[test]
fn a_service_is_found_by_its_address() {
    let table = ServiceTable::from(&world(WEB));
    let found = table.at([10, 43, 0, 5].into()).map(ToString::to_string);
    assert_eq!(found.as_deref(), Some("shop/web"));
    assert!(table.at([10, 43, 0, 6].into()).is_none());
}

#[test]
fn the_load_of_an_address_outlives_the_table() {
    let view = world(&format!("{WEB}\nslice shop/web http:8080 admin:1 | 10.42.0.2"));
    let mut kept = Kept::on("", Readiness::default());
    let first = ServiceTable::build(&view, &mut kept);
    let load = |table: &ServiceTable, port| {
        let service = table.service("shop", "web").expect("there");
        service.port(PortRef::Number(port)).expect("there").endpoints[0].load.clone()
    };
    let under_way = load(&first, 80).enter();
    let view = world(&format!("{WEB}\nslice shop/web http:8080 admin:1 | 10.42.0.2 10.42.0.3"));
    let second = ServiceTable::build(&view, &mut kept);
    assert_eq!(load(&second, 80).in_flight(), 1);
    assert_eq!(load(&second, 9000).in_flight(), 1);
    drop(under_way);
    assert_eq!(load(&second, 80).in_flight(), 0);
}

/// Where requests to port 80 of `shop/web` may go as seen from node n1, from within and from outside.
fn check_from_n1(text: &str, inside: &str, outside: &str) {
    let table = ServiceTable::build(&world(text), &mut Kept::on("n1", Readiness::default()));
    let service = table.service("shop", "web").expect("there");
    let port = service.port(PortRef::Number(80)).expect("there");
    let words = |traffic| {
        let words: Vec<String> = port.endpoints_for(traffic).iter().map(|one| one.address.to_string()).collect();
        words.join(" ")
    };
    assert_eq!((words(Traffic::Inside), words(Traffic::Outside)), (inside.to_owned(), outside.to_owned()), "{text}");
}

#[test]
fn traffic_policies_keep_to_the_node_on_their_side() {
    let slice = "slice shop/web http:80 | 10.42.0.2/n1 10.42.1.2/n2";
    let all = "10.42.0.2:80 10.42.1.2:80";
    check_from_n1(&format!("{WEB}\n{slice}"), all, all);
    check_from_n1(&format!("{WEB} +local-inside\n{slice}"), "10.42.0.2:80", all);
    check_from_n1(&format!("{WEB} +local-outside\n{slice}"), all, "10.42.0.2:80");
    check_from_n1(&format!("{WEB} +local-outside\nslice shop/web http:80 | 10.42.1.2/n2"), "10.42.1.2:80", "");
    let ending = "slice shop/web http:80 | 10.42.0.2~/n1 10.42.1.2/n2";
    check_from_n1(&format!("{WEB} +local-outside\n{ending}"), "10.42.1.2:80", "10.42.0.2:80");
}

#[test]
fn a_service_that_did_not_change_is_not_made_anew() {
    let mut kept = Kept::on("", Readiness::default());
    let view = world(&format!("{WEB}\nservice shop/db 10.43.0.6 sql:5432\nslice shop/web http:80 | 10.42.0.2"));
    let first = ServiceTable::build(&view, &mut kept);
    let object = view.get(&kinds::SERVICE.key("shop", "db")).expect("there");
    let mut value = object.to_value().expect("json");
    value["metadata"]["labels"] = serde_json::json!({"changed": "yes"});
    let changed = api::Object::from_value(kinds::SERVICE, &value).expect("an object");
    let (view, _) = view.apply(&state::Txn::replace(object, changed)).expect("applies");
    let second = ServiceTable::build(&view, &mut kept);
    let same =
        |name| Arc::ptr_eq(first.service("shop", name).expect("there"), second.service("shop", name).expect("there"));
    assert!(same("web") && !same("db"));
}

#[test]
fn clients_of_a_service_outlive_its_table() {
    let mut kept = Kept::on("", Readiness::default());
    let tables = ["10.42.0.2", "10.42.0.2 10.42.0.3"].map(|endpoints| {
        ServiceTable::build(&world(&format!("{WEB} +sticky:60\nslice shop/web http:80 | {endpoints}")), &mut kept)
    });
    let affinity =
        |table: &ServiceTable| table.service("shop", "web").and_then(|web| web.affinity.clone()).expect("sticky");
    let (first, second) = (affinity(&tables[0]), affinity(&tables[1]));
    assert!(Arc::ptr_eq(&first.clients, &second.clients) && second.timeout == Duration::from_secs(60));
}
