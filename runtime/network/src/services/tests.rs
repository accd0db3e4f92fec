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
    let first = ServiceTable::from(&view);
    let load = |table: &ServiceTable, port| {
        let service = table.service("shop", "web").expect("there");
        service.port(PortRef::Number(port)).expect("there").endpoints[0].load.clone()
    };
    let under_way = load(&first, 80).enter();
    let second = ServiceTable::build(&view, &first.loads);
    assert_eq!(load(&second, 80).in_flight(), 1);
    assert_eq!(load(&second, 9000).in_flight(), 1);
    drop(under_way);
    assert_eq!(load(&second, 80).in_flight(), 0);
}
