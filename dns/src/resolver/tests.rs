use super::*;
use crate::world::world;

const WORLD: &str = "service/shop/web 10.43.0.5; service/db headless; slice/db tcp:1 | db-0@10.42.0.4; \
    service/shop/both 10.43.0.6; service/shop/db ->db.default.svc.cluster.local; service/shop/round ->round.shop.svc.cluster.local; \
    service/shop/far ->far.example; pod/shop/web-1 10.42.0.2";

fn resolver() -> Resolver {
    Resolver::new(Authority::default(), Machine::default(), &world(WORLD)).expect("a resolver")
}

async fn told(resolver: &Resolver, name: &str, ask: &Ask) -> String {
    match resolver.lookup(name, ask).await {
        Ok(addresses) => addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        Err(error) => error.to_string(),
    }
}

/// What a pod of namespace `shop` finds in a cluster with nobody to ask about the rest of the world.
async fn check(name: &str, expected: &str) {
    let ask = Ask::of_cluster("shop", "cluster.local", &Machine::default());
    assert_eq!(told(&resolver(), name, &ask).await, expected, "{name}");
}

#[tokio::test]
async fn a_pod_finds_services_by_short_names() {
    check("web", "10.43.0.5").await;
    check("WEB.shop", "10.43.0.5").await;
    check("web.shop.svc", "10.43.0.5").await;
    check("web.shop.svc.cluster.local.", "10.43.0.5").await;
    check("db.default", "10.42.0.4").await;
    check("db-0.db.default", "10.42.0.4").await;
    check("10-42-0-2.shop.pod", "10.42.0.2").await;
    check("10.42.0.9", "10.42.0.9").await;
}

#[tokio::test]
async fn a_pod_is_told_whose_fault_it_is() {
    // The name as it stands is not the cluster's, and here there is nobody to ask.
    check("nobody", "nobody could say the address of nobody").await;
    check("nobody.shop.svc.cluster.local.", "nobody.shop.svc.cluster.local. has no address").await;
    check("far", "nobody could say the address of far").await;
    check("a..b", "\"a..b\" is not a name").await;
}

#[tokio::test]
async fn an_alias_is_followed_and_a_circle_is_not() {
    check("db", "10.42.0.4").await;
    check("round.shop.svc.cluster.local.", "nobody could say the address of round.shop.svc.cluster.local.").await;
}

#[tokio::test]
async fn a_pod_that_asks_others_knows_nothing_of_the_cluster() {
    let mut ask = Ask::of_cluster("shop", "cluster.local", &Machine::default());
    ask.servers = vec![Server::Machine];
    assert_eq!(told(&resolver(), "web", &ask).await, "nobody could say the address of web");
    ask.servers = Vec::new();
    assert_eq!(told(&resolver(), "web", &ask).await, "nobody could say the address of web");
    ask.servers = vec![Server::Machine, Server::Cluster];
    assert_eq!(told(&resolver(), "web", &ask).await, "10.43.0.5");
}

#[tokio::test]
async fn a_pod_cannot_ask_the_node_by_any_address() {
    let resolver = resolver();
    for address in [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "0.1.2.3",
        "::1",
        "::",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "224.0.0.251",
        "255.255.255.255",
        "169.254.169.254",
        "fe80::1",
        "ff02::fb",
        "10.42.0.2",
        "10.43.0.10",
        "10.43.0.5",
    ] {
        assert!(resolver.chosen(address.parse().expect("an address")).is_none(), "{address}");
    }
    assert!(resolver.chosen("192.0.2.1".parse().expect("an address")).is_some());
    assert!(resolver.chosen("2001:db8::1".parse().expect("an address")).is_some());
}

#[tokio::test]
async fn the_resolver_follows_the_world() {
    let resolver = Resolver::new(Authority::default(), Machine::default(), &world("")).expect("a resolver");
    let (sender, view) = watch::channel(world(""));
    let ask = Ask::of_cluster("shop", "cluster.local", &Machine::default());
    let becomes_known = async {
        sender.send_replace(world(WORLD));
        while resolver.lookup("web.shop.svc.cluster.local.", &ask).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        error = resolver.follow(view) => panic!("{error}"),
        done = timeout(Duration::from_secs(10), becomes_known) => done.expect("in time"),
    }
}
