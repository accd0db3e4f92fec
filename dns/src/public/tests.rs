use super::*;
use crate::world::world;

/// What is to be told to the world about `example.com`: `name type data ttl resource`, parted by `;`.
fn check(text: &str, expected: &str) {
    let zone = Name::from_ascii("example.com.").expect("a name");
    let told: Vec<String> = wanted(&zone, &world(text))
        .iter()
        .map(|((name, kind), wanted)| {
            let data: Vec<String> = wanted.data.iter().map(ToString::to_string).collect();
            format!("{name} {kind} {} {} {}", data.join(","), wanted.ttl, wanted.resource)
        })
        .collect();
    assert_eq!(told.join("; "), expected, "{text}");
}

#[test]
fn an_ingress_is_called_by_its_hosts() {
    check(
        "ingress/shop/web 192.0.2.1 www.example.com Example.com hello.localhost",
        "example.com. A 192.0.2.1 300 ingress/shop/web; www.example.com. A 192.0.2.1 300 ingress/shop/web",
    );
    check("ingress/web 192.0.2.1 *.apps.example.com", "*.apps.example.com. A 192.0.2.1 300 ingress/default/web");
    check("ingress/web 192.0.2.1 notexample.com example.com.evil.org", "");
    check("ingress/web - www.example.com", "");
}

#[test]
fn a_load_balancer_is_called_as_it_is_annotated() {
    check(
        "balancer/db 192.0.2.1,2001:db8::1 hostname=db.example.com,sql.example.com ttl=60",
        "db.example.com. A 192.0.2.1 60 service/default/db; db.example.com. AAAA 2001:db8::1 60 service/default/db; \
         sql.example.com. A 192.0.2.1 60 service/default/db; sql.example.com. AAAA 2001:db8::1 60 service/default/db",
    );
    check("balancer/db 192.0.2.1", "");
    check("service/db 10.43.0.5", "");
}

#[test]
fn a_target_may_be_said() {
    check(
        "ingress/web 10.0.0.1 www.example.com target=192.0.2.7,192.0.2.7,192.0.2.8",
        "www.example.com. A 192.0.2.7,192.0.2.8 300 ingress/default/web",
    );
    check(
        "ingress/web 10.0.0.1 www.example.com target=edge.example.net",
        "www.example.com. CNAME edge.example.net. 300 ingress/default/web",
    );
    check(
        "ingress/web 10.0.0.1 www.example.com target=edge.example.net,192.0.2.7",
        "www.example.com. A 192.0.2.7 300 ingress/default/web",
    );
}

#[test]
fn the_first_to_ask_for_a_name_has_it() {
    check(
        "ingress/b 192.0.2.2 www.example.com; ingress/a 192.0.2.1 www.example.com",
        "www.example.com. A 192.0.2.1 300 ingress/default/a",
    );
    check(
        "ingress/a 192.0.2.1 www.example.com target=edge.example.net; ingress/b 192.0.2.2 www.example.com",
        "www.example.com. A 192.0.2.2 300 ingress/default/b",
    );
}

#[test]
fn a_time_is_said_in_seconds_or_with_units() {
    let all = ["60", "90s", "10m", "1h30m", "0", "", "x", "10", "1h5", "99999999999", "700000", "5é"].map(seconds);
    let read = [Some(60), Some(90), Some(600), Some(5400), None, None, None, Some(10), None, None, None, None];
    assert_eq!(all, read);
}
