use super::*;
use crate::world::world;

const WORLD: &str = "
    service default/web 10.43.0.5 http:80
    service shop/web 10.43.0.6 http:80
    service shop/db headless tcp:5432
    slice shop/db tcp:5432 | db-0@10.42.0.4 10.42.0.5
    service shop/mail ->mail.example.com
    service shop/front ->web.default.svc.cluster.local
    service shop/circle ->circle.shop.svc.cluster.local
    service com/example 10.43.0.7 http:80
";

/// What `host` means to a pod of `namespace`.
fn check(namespace: &str, host: &str, expected: &str) {
    let table = ServiceTable::from(&world(WORLD));
    let told = match resolve(&table, "cluster.local", namespace, host) {
        Meaning::Service(service) => service.to_string(),
        Meaning::Address(address) => address.to_string(),
        Meaning::Outside(name) => format!("outside {name}"),
        Meaning::Nothing => "nothing".to_owned(),
    };
    assert_eq!(told, expected, "{host} in {namespace}");
}

#[test]
fn a_short_name_is_a_service_of_the_pods_own_namespace() {
    check("default", "web", "default/web");
    check("shop", "web", "shop/web");
    check("elsewhere", "web", "outside web");
}

#[test]
fn a_longer_name_says_the_namespace() {
    for host in
        ["web.shop", "web.shop.svc", "web.shop.svc.cluster.local", "web.shop.svc.cluster.local.", "WEB.Shop.SVC"]
    {
        check("default", host, "shop/web");
    }
}

#[test]
fn the_search_path_is_walked_before_the_name_is_taken_as_it_stands() {
    check("default", "example.com", "com/example");
    check("default", "example.com.", "outside example.com");
}

#[test]
fn the_clusters_own_names_never_leave_it() {
    check("default", "nobody.shop.svc.cluster.local", "nothing");
    check("default", "nobody.shop.svc", "nothing");
    check("default", "cluster.local", "nothing");
    check("default", "notcluster.local", "outside notcluster.local");
}

#[test]
fn members_of_a_headless_service_have_names() {
    check("shop", "db-0.db", "10.42.0.4");
    check("default", "db-0.db.shop.svc.cluster.local", "10.42.0.4");
    check("default", "10-42-0-5.db.shop", "10.42.0.5");
    check("default", "10-42-0-4.db.shop.svc", "nothing");
    check("default", "10-42-0-9.shop.pod.cluster.local", "10.42.0.9");
}

#[test]
fn an_alias_is_followed() {
    check("shop", "mail", "outside mail.example.com");
    check("shop", "front", "default/web");
    check("shop", "circle", "nothing");
}
