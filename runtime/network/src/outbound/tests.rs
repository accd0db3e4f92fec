use std::sync::Mutex;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;

use super::*;
use crate::world::world;
use crate::{Binding, Citizen, Latest, ServiceTable, empty, full, handler};

const WORLD: &str = "
    service default/web 10.43.0.5 http:80
    slice default/web http:8080 | 10.42.0.2
    service shop/web 10.43.0.6 http:80
    slice shop/web http:80 | 10.42.0.3
    service shop/db headless http:80
    slice shop/db http:80 | db-0@10.42.0.4
    service shop/none 10.43.0.7 http:80
    service shop/api 10.43.0.8 https:443
    slice shop/api https:6443 | 127.0.0.1
";

struct Node {
    outbound: Outbound,
    _bindings: Vec<Binding>,
}

/// A node on which every pod answers with its own address and the host it was asked for.
fn node(config: Config) -> Node {
    let fabric = Fabric::new();
    let bind = |text: &str| {
        let address: SocketAddr = text.parse().expect("an address");
        fabric.bind(
            address,
            handler(move |request: Request| async move {
                let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("-");
                Ok(Response::new(full(format!("{address} as {host}"))))
            }),
        )
    };
    let bindings =
        ["10.42.0.2:8080", "10.42.0.3:80", "10.42.0.4:80", "10.42.0.4:9000", "10.42.0.9:80"].map(bind).into();
    let services = Latest::fixed(ServiceTable::from(&world(WORLD)));
    Node { outbound: Outbound::new(fabric, services, config), _bindings: bindings }
}

async fn ask(node: &Node, namespace: &str, reach: Reach, uri: &str) -> Result<String, Fault> {
    let from = From { reach, ..From::pod(namespace, "asking", [10, 42, 0, 9].into()) };
    let request = http::Request::get(uri).body(empty()).expect("a request");
    let response = node.outbound.send(from, request).await?;
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    Ok(String::from_utf8_lossy(&body).into_owned())
}

async fn check(namespace: &str, uri: &str, expected: &str) {
    let told = ask(&node(Config::default()), namespace, Reach::Pod, uri).await;
    assert_eq!(told.unwrap_or_else(|fault| fault.to_string()), expected, "{uri} in {namespace}");
}

#[tokio::test]
async fn services_are_reached_by_name_within_the_process() {
    check("default", "http://web", "10.42.0.2:8080 as web").await;
    check("shop", "http://web/path", "10.42.0.3:80 as web").await;
    check("default", "http://web.shop.svc.cluster.local:80/", "10.42.0.3:80 as web.shop.svc.cluster.local:80").await;
    check("default", "http://db.shop:9000", "10.42.0.4:9000 as db.shop:9000").await;
    check("default", "http://db-0.db.shop", "10.42.0.4:80 as db-0.db.shop").await;
}

#[tokio::test]
async fn services_and_pods_are_reached_by_address() {
    check("default", "http://10.43.0.6", "10.42.0.3:80 as 10.43.0.6").await;
    check("default", "http://10.42.0.2:8080", "10.42.0.2:8080 as 10.42.0.2:8080").await;
    check("default", "http://[::ffff:10.42.0.3]", "10.42.0.3:80 as [::ffff:10.42.0.3]").await;
}

#[tokio::test]
async fn the_loopback_is_the_pods_own() {
    check("default", "http://127.0.0.1", "10.42.0.9:80 as 127.0.0.1").await;
    check("default", "http://localhost", "10.42.0.9:80 as localhost").await;
    check("default", "http://[::1]", "10.42.0.9:80 as [::1]").await;
    check("default", "http://localhost:81", "nobody answers at 127.0.0.1:81").await;
}

#[tokio::test]
async fn a_request_reaches_who_listens_on_the_pods_loopback_alone() {
    let node = node(Config::default());
    let attach = |name: &str, ip: [u8; 4]| {
        let (namespace, addresses) = ("default".into(), vec![ip.into()]);
        node.outbound.shared.fabric.attach(Citizen { namespace, name: name.into(), addresses, host_network: false })
    };
    let (own, _other) = (attach("asking", [10, 42, 0, 9]), attach("other", [10, 42, 0, 8]));
    let listen = |at: &str| {
        let at: SocketAddr = at.parse().expect("an address");
        let mut listener = own.bind(at).and_then(|socket| socket.listen(8)).expect("free");
        tokio::spawn(async move {
            while let Ok(stream) = listener.accept().await {
                let serve = service_fn(move |request: http::Request<Incoming>| async move {
                    let host = request.headers()[header::HOST].to_str().unwrap_or_default().to_owned();
                    Ok::<_, std::convert::Infallible>(Response::new(full(format!("{at} as {host}"))))
                });
                tokio::spawn(async move {
                    let _ =
                        auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), serve).await;
                });
            }
        });
    };
    listen("127.0.0.1:8081");
    listen("[::1]:8082");
    for (uri, expected) in [
        ("http://127.0.0.1:8081", "127.0.0.1:8081 as 127.0.0.1:8081"),
        ("http://localhost:8081", "127.0.0.1:8081 as localhost:8081"),
        ("http://[::1]:8082", "[::1]:8082 as [::1]:8082"),
        ("http://localhost:8082", "[::1]:8082 as localhost:8082"),
        ("http://127.0.0.1:8082", "nobody answers at 127.0.0.1:8082"),
        ("http://10.42.0.9:8081", "nobody answers at 10.42.0.9:8081"),
        ("http://localhost", "10.42.0.9:80 as localhost"),
    ] {
        let told = ask(&node, "default", Reach::Pod, uri).await;
        assert_eq!(told.unwrap_or_else(|fault| fault.to_string()), expected, "{uri}");
    }
    // Another pod's loopback is another.
    let request = http::Request::get("http://127.0.0.1:8081").body(empty()).expect("a request");
    let answer = node.outbound.send(From::pod("default", "other", [10, 42, 0, 8].into()), request).await;
    assert!(matches!(answer, Err(Fault::Unreachable(_))), "{answer:?}");
}

#[tokio::test]
async fn a_no_says_why() {
    check("default", "http://web:81", "default/web has no port 81").await;
    check("default", "http://none.shop", "shop/none:80 has no endpoint that is ready").await;
    check("default", "http://nobody.shop.svc", "there is no host nobody.shop.svc").await;
    check("default", "http://10.42.7.7", "nobody answers at 10.42.7.7:80").await;
    check("default", "http://10.43.7.7", "nobody answers at 10.43.7.7:80").await;
    check("default", "http://169.254.169.254", "169.254.169.254 is not to be reached from a pod").await;
    check("default", "http://api.shop:443", "127.0.0.1 is not to be reached from a pod").await;
    check("default", "ftp://web", "the request cannot be sent: unknown scheme").await;
}

#[tokio::test]
async fn a_circle_of_pods_ends() {
    let node = node(Config::default());
    let mut request = http::Request::get("http://web").body(empty()).expect("a request");
    request.extensions_mut().insert(Hops(32));
    let answer = node.outbound.send(From::pod("default", "asking", [10, 42, 0, 9].into()), request).await;
    assert!(matches!(answer, Err(Fault::TooManyHops(32))));
}

#[tokio::test]
async fn the_next_pod_is_told_how_many_came_before() {
    let fabric = Fabric::new();
    let seen = Arc::new(Mutex::new(None));
    let told = seen.clone();
    let _binding = fabric.bind(
        "10.42.0.2:80".parse().expect("an address"),
        handler(move |request: Request| {
            *told.lock().expect("nobody panicked") = request.extensions().get::<Hops>().copied();
            async { Ok(Response::new(empty())) }
        }),
    );
    let outbound = Outbound::new(fabric, Latest::fixed(ServiceTable::default()), Config::default());
    let request = http::Request::get("http://10.42.0.2").body(empty()).expect("a request");
    outbound.send(From::pod("default", "asking", [10, 42, 0, 9].into()), request).await.expect("an answer");
    assert_eq!(*seen.lock().expect("nobody panicked"), Some(Hops(1)));
}

/// A real server on the node's loopback that answers with the path and the host it was asked for.
async fn outside() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let serve = service_fn(|request: http::Request<Incoming>| async move {
                let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("-");
                Ok::<_, std::convert::Infallible>(Response::new(full(format!("{} as {host}", request.uri()))))
            });
            tokio::spawn(async move {
                let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), serve).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn the_way_out_is_guarded_by_address() {
    let address = outside().await;
    let open = EgressPolicy { allowed: vec!["127.0.0.0/8".parse().expect("a network")], ..EgressPolicy::default() };
    let shut = node(Config::default());
    let open = node(Config { egress: open, ..Config::default() });
    let endpoint = open.outbound.shared.egress.handler(Reach::Pod, address);
    let request = http::Request::get("http://db.example/row").header(header::HOST, "db.example");
    let response = call(endpoint, request.body(empty()).expect("a request")).await.expect("an answer");
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    assert_eq!(&body[..], b"/row as db.example");

    let on_the_host = ask(&shut, "default", Reach::Node, &format!("http://127.0.0.1:{}/x", address.port())).await;
    assert_eq!(on_the_host.expect("an answer"), format!("/x as {address}"));
    let still_shut = shut.outbound.shared.egress.handler(Reach::Pod, address);
    let request = http::Request::get("http://db.example/").body(empty()).expect("a request");
    assert!(matches!(call(still_shut, request).await, Err(Fault::Denied(_))));
}
