//! Policies hold on the fabric, whatever travels.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::{Direction, Policy, PolicyTable, snapshot};
use crate::outbound::From;
use crate::{
    Attachment, Citizen, Config, Datagrams, Fabric, Fault, Latest, Origin, Outbound, Refused, Request, Response,
    ServiceTable, empty, full, handler,
};

const WORLD: &str = "
    namespace shop team=a
    pod shop/web 10.42.0.2 app=web
    pod shop/db 10.42.0.3 app=db
    pod shop/out 10.42.0.5 app=out
";

struct Node {
    fabric: Fabric,
    web: Attachment,
    db: Attachment,
    out: Attachment,
}

fn node(policies: &str) -> Node {
    let config = Config { connect_timeout: Duration::from_millis(20), ..Config::default() };
    let fabric = Fabric::over(Latest::fixed(ServiceTable::default()), config);
    fabric.obey(Policy::fixed(PolicyTable::from(&snapshot(&format!("{WORLD}\n{policies}")))));
    let attach = |name: &str, last: u8| {
        let addresses = vec![[10, 42, 0, last].into()];
        fabric.attach(Citizen { namespace: "shop".into(), name: name.into(), addresses, host_network: false })
    };
    let (web, db, out) = (attach("web", 2), attach("db", 3), attach("out", 5));
    Node { fabric, web, db, out }
}

fn at(text: &str) -> SocketAddr {
    text.parse().expect("a socket address")
}

/// What a dial came to, in one word.
fn word<T>(dialled: Result<T, Refused>) -> &'static str {
    match dialled {
        Ok(_) => "open",
        Err(Refused::Denied { .. }) => "denied",
        Err(_) => "closed",
    }
}

fn said(answer: Result<Response, Fault>) -> &'static str {
    match answer {
        Ok(_) => "open",
        Err(Fault::Denied(_)) => "denied",
        Err(_) => "closed",
    }
}

#[tokio::test]
async fn connections_are_asked_about_at_both_ends() {
    let node = node("policy shop/p [app=db] in from [app=web] at 5432; out none");
    let _db = node.db.bind(at("10.42.0.3:5432")).and_then(|socket| socket.listen(8)).expect("bound");
    let _other = node.db.bind(at("10.42.0.3:5433")).and_then(|socket| socket.listen(8)).expect("bound");
    let _web = node.web.bind(at("10.42.0.2:80")).and_then(|socket| socket.listen(8)).expect("bound");
    let dial = |from: &Attachment, to: &str| from.connect(at(to));
    assert_eq!(word(dial(&node.web, "10.42.0.3:5432").await), "open");
    assert_eq!(word(dial(&node.web, "10.42.0.3:5433").await), "denied");
    assert_eq!(word(dial(&node.web, "[::ffff:10.42.0.3]:5433").await), "denied");
    assert_eq!(word(dial(&node.out, "10.42.0.3:5432").await), "denied");
    assert_eq!(word(dial(&node.db, "10.42.0.2:80").await), "denied");
    assert_eq!(word(dial(&node.db, "198.51.100.7:80").await), "denied");
    assert_eq!(word(dial(&node.db, "10.42.0.3:5433").await), "open");
    assert_eq!(word(dial(&node.db, "127.0.0.1:5433").await), "closed");
    let probe = Origin::Node("n1".into());
    assert_eq!(word(node.fabric.connect(&probe, at("10.42.0.3:5433")).await), "open");
    let client = Origin::Outside(at("203.0.113.7:50000"));
    assert_eq!(word(node.fabric.connect(&client, at("10.42.0.3:5432")).await), "denied");
    let denials = node.fabric.policy().expect("obeyed").denials();
    assert_eq!((denials.count(Direction::Ingress), denials.count(Direction::Egress)), (4, 2));
}

#[tokio::test]
async fn what_comes_from_another_node_was_asked_about_there() {
    let node = node("policy shop/p [app=db] in from [app=web]; out none \n policy shop/q [app=web] out none");
    let _db = node.db.bind(at("10.42.0.3:5432")).and_then(|socket| socket.listen(8)).expect("bound");
    let web = Origin::pod("shop", "web", [10, 42, 0, 2].into());
    let out = Origin::pod("shop", "out", [10, 42, 0, 5].into());
    assert_eq!(word(node.fabric.connect_here(&web, at("10.42.0.3:5432")).await), "open");
    assert_eq!(word(node.fabric.connect_here(&out, at("10.42.0.3:5432")).await), "denied");
}

#[tokio::test]
async fn requests_are_asked_about_as_connections_are() {
    let node = node("policy shop/p [app=db] in from [app=web] at 80 \n policy shop/q [app=out] out to [app=web]");
    let answers = || handler(|_| async { Ok(Response::new(full("hello"))) });
    let _bindings = [node.fabric.bind(at("10.42.0.3:80"), answers()), node.fabric.bind(at("10.42.0.2:80"), answers())];
    let outbound = Outbound::new(node.fabric.clone(), Latest::fixed(ServiceTable::default()), Config::default());
    let ask = async |name: &str, last: u8, uri: &str| {
        let request: Request = http::Request::get(uri).body(empty()).expect("a request");
        said(outbound.send(From::pod("shop", name, [10, 42, 0, last].into()), request).await)
    };
    assert_eq!(ask("web", 2, "http://10.42.0.3").await, "open");
    assert_eq!(ask("out", 5, "http://10.42.0.3").await, "denied");
    assert_eq!(ask("out", 5, "http://[::ffff:10.42.0.3]").await, "denied");
    assert_eq!(ask("out", 5, "http://10.42.0.2").await, "open");
    assert_eq!(ask("out", 5, "http://198.51.100.7").await, "denied");
    // A name outside is not even looked up: the question would carry words out.
    assert_eq!(ask("out", 5, "http://secret.example.com").await, "closed");
    let denials = node.fabric.policy().expect("obeyed").denials();
    assert_eq!(denials.count(Direction::Egress), 4);
    let edge = http::Request::get("http://db").body(empty()).expect("a request");
    assert_eq!(said(node.fabric.send(&Origin::Ingress, at("10.42.0.3:80"), edge).await), "open");
}

/// Whether a datagram arrives that `from` sends to `to`.
async fn arrives(from: &Datagrams, to: &Datagrams) -> &'static str {
    match from.send(Bytes::from_static(b"ping"), to.local()) {
        Err(Refused::Denied { .. }) => "denied",
        Err(_) => "closed",
        Ok(()) => match tokio::time::timeout(Duration::from_secs(5), to.receive()).await {
            Ok(_) => "open",
            Err(_) => "lost",
        },
    }
}

#[tokio::test]
async fn what_answers_a_datagram_is_part_of_the_exchange() {
    let node = node("policy shop/p [app=web] in none \n policy shop/q [app=db] in from [app=web] at 53/UDP; out none");
    let web = node.web.datagrams(at("10.42.0.2:4000")).expect("bound");
    let other = node.web.datagrams(at("10.42.0.2:4001")).expect("bound");
    let db = node.db.datagrams(at("10.42.0.3:53")).expect("bound");
    let out = node.out.datagrams(at("10.42.0.5:4000")).expect("bound");
    assert_eq!(arrives(&db, &web).await, "denied");
    assert_eq!(arrives(&web, &db).await, "open");
    assert_eq!(arrives(&db, &web).await, "open");
    assert_eq!(arrives(&db, &other).await, "denied");
    assert_eq!(arrives(&out, &db).await, "denied");
    assert_eq!(arrives(&out, &web).await, "denied");
    assert_eq!(arrives(&db, &out).await, "denied");
}
