use super::*;
use crate::{empty, full, handler};
use http_body_util::BodyExt;

fn saying(words: &'static str) -> Handler {
    handler(move |_| async move { Ok(Response::new(full(words))) })
}

async fn ask(fabric: &Fabric, address: SocketAddr) -> String {
    match fabric.send(&Origin::Ingress, address, Request::new(empty())).await {
        Ok(response) => {
            let body = response.into_body().collect().await.expect("a body that is there as a whole").to_bytes();
            String::from_utf8_lossy(&body).into_owned()
        }
        Err(fault) => fault.to_string(),
    }
}

#[tokio::test]
async fn an_address_is_answered_at_while_its_binding_lives() {
    let (fabric, address) = (Fabric::new(), SocketAddr::from(([10, 42, 0, 2], 80)));
    assert_eq!(ask(&fabric, address).await, "nobody answers at 10.42.0.2:80");
    let binding = fabric.bind(address, saying("one"));
    assert_eq!(ask(&fabric, address).await, "one");
    drop(binding);
    assert_eq!(ask(&fabric, address).await, "nobody answers at 10.42.0.2:80");
}

#[tokio::test]
async fn an_old_binding_does_not_take_the_new_one_with_it() {
    let (fabric, address) = (Fabric::new(), SocketAddr::from(([10, 42, 0, 2], 80)));
    let old = fabric.bind(address, saying("old"));
    let new = fabric.bind(address, saying("new"));
    drop(old);
    assert_eq!(ask(&fabric, address).await, "new");
    drop(new);
    assert_eq!(fabric.addresses(), []);
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn attach(fabric: &Fabric, name: &str, ip: &str) -> Attachment {
    fabric.attach(Citizen {
        namespace: "shop".into(),
        name: name.into(),
        addresses: vec![ip.parse().expect("an address")],
        host_network: false,
    })
}

/// Accepts one connection after the other and gives back what comes, prefixed by whom it comes from.
fn echo(pod: &Attachment, at: &str) -> AbortOnDropHandle<()> {
    let mut listener = pod.bind(address(at)).expect("free").listen(16).expect("bound");
    AbortOnDropHandle::new(tokio::spawn(async move {
        while let Ok(stream) = listener.accept().await {
            tokio::spawn(async move {
                let from = stream.remote().ip().to_string();
                let (mut reader, mut writer) = stream.into_split();
                writer.send_all(from.into()).await.expect("open");
                while let Ok(chunk) = reader.chunk(1 << 10).await
                    && !chunk.is_empty()
                {
                    writer.send_all(chunk).await.expect("open");
                }
            });
        }
    }))
}

/// What a connection says to a short greeting, or why there is none.
async fn greet(connecting: BoxFuture<'static, Result<Stream, Refused>>) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    match connecting.await {
        Ok(mut stream) => {
            let mut told = String::new();
            stream.write_all(b" hello").await.expect("open");
            stream.shutdown().await.expect("open");
            stream.read_to_string(&mut told).await.expect("text");
            told
        }
        Err(refused) => refused.to_string(),
    }
}

#[tokio::test]
async fn two_pods_may_have_the_same_port() {
    let fabric = Fabric::new();
    let (one, two) = (attach(&fabric, "one", "10.42.0.2"), attach(&fabric, "two", "10.42.0.3"));
    let _echoing = [echo(&one, "0.0.0.0:8080"), echo(&two, "10.42.0.3:8080")];
    assert_eq!(greet(one.connect(address("10.42.0.3:8080"))).await, "10.42.0.2 hello");
    assert_eq!(greet(two.connect(address("10.42.0.2:8080"))).await, "10.42.0.3 hello");
    assert_eq!(greet(two.connect(address("[::ffff:10.42.0.2]:8080"))).await, "10.42.0.3 hello");
    assert_eq!(greet(two.connect(address("10.42.0.2:8081"))).await, "nobody answers at 10.42.0.2:8081");
    assert_eq!(greet(two.connect(address("10.42.9.9:80"))).await, "there is no way to 10.42.9.9:80");
    assert!(matches!(one.bind(address("127.0.0.1:8080")), Err(BindError::InUse(_))));
    assert!(matches!(one.bind(address("10.42.0.3:8081")), Err(BindError::NotOwn(_))));
    drop(two);
    assert_eq!(greet(one.connect(address("10.42.0.3:8080"))).await, "there is no way to 10.42.0.3:8080");
}

#[tokio::test]
async fn the_loopback_is_the_pods_own_and_closed_to_others() {
    let fabric = Fabric::new();
    let (one, two) = (attach(&fabric, "one", "10.42.0.2"), attach(&fabric, "two", "10.42.0.3"));
    let _echoing = echo(&one, "127.0.0.1:7000");
    let _everywhere = echo(&one, "[::]:7001");
    assert_eq!(greet(one.connect(address("127.0.0.1:7000"))).await, "127.0.0.1 hello");
    assert_eq!(greet(one.connect(address("0.0.0.0:7000"))).await, "nobody answers at 0.0.0.0:7000");
    assert_eq!(greet(one.connect(address("[::1]:7001"))).await, "::1 hello");
    assert_eq!(greet(one.connect(address("10.42.0.2:7001"))).await, "10.42.0.2 hello");
    assert_eq!(greet(two.connect(address("10.42.0.2:7000"))).await, "nobody answers at 10.42.0.2:7000");
    assert_eq!(greet(two.connect(address("127.0.0.1:7000"))).await, "nobody answers at 127.0.0.1:7000");
}

#[tokio::test]
async fn a_port_is_free_again_with_its_listener() {
    let fabric = Fabric::new();
    let one = attach(&fabric, "one", "10.42.0.2");
    let socket = one.bind(address("0.0.0.0:80")).expect("free");
    assert_eq!(greet(one.connect(address("10.42.0.2:80"))).await, "nobody answers at 10.42.0.2:80");
    let listener = socket.listen(1).expect("bound");
    let waiting = one.connect(address("10.42.0.2:80")).await.expect("room for one");
    drop(listener);
    let (mut reader, _) = waiting.into_split();
    let broken = reader.chunk(1).await.map_err(|error| error.kind());
    assert_eq!(broken, Err(std::io::ErrorKind::ConnectionReset), "nobody accepted it");
    drop(one.bind(address("0.0.0.0:80")).expect("free again"));
    let _handler = fabric.bind(address("10.42.0.2:80"), saying("http"));
    assert!(matches!(one.bind(address("0.0.0.0:80")), Err(BindError::InUse(_))), "another container answers there");
}

#[tokio::test]
async fn who_came_before_the_listener_closed_is_not_turned_away() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let fabric = Fabric::new();
    let (web, other) = (attach(&fabric, "web", "10.42.0.2"), attach(&fabric, "other", "10.42.0.3"));
    let to = address("10.42.0.2:80");
    let listener = web.bind(to).expect("free").listen(16).expect("bound");
    let mut early = other.connect(to).await.expect("room in the row");
    let row = listener.close();
    assert_eq!(greet(other.connect(to)).await, "nobody answers at 10.42.0.2:80");
    assert_eq!(row.len(), 1);
    for mut stream in row {
        stream.write_all(b"come in").await.expect("open");
    }
    let mut heard = String::new();
    early.read_to_string(&mut heard).await.expect("text");
    assert_eq!(heard, "come in");
    web.bind(to).expect("free again");
}

#[tokio::test]
async fn a_full_row_is_waited_for_and_not_for_ever() {
    let config = Config { connect_timeout: std::time::Duration::from_millis(100), ..Config::default() };
    let fabric = Fabric::over(Latest::fixed(ServiceTable::default()), config);
    let one = attach(&fabric, "one", "10.42.0.2");
    let mut listener = one.bind(address("0.0.0.0:80")).expect("free").listen(1).expect("bound");
    let _first = one.connect(address("10.42.0.2:80")).await.expect("room for one");
    let second = tokio::spawn(one.connect(address("10.42.0.2:80")));
    tokio::task::yield_now().await;
    let _accepted = listener.accept().await.expect("the first");
    second.await.expect("no panic").expect("the row has moved");
    let third = one.connect(address("10.42.0.2:80")).await;
    assert!(matches!(third, Err(Refused::TimedOut { .. })), "{third:?}");
}

#[tokio::test]
async fn a_connection_to_who_answers_requests_is_served_as_http() {
    let fabric = Fabric::new();
    let one = attach(&fabric, "one", "10.42.0.2");
    let target = address("10.42.0.3:80");
    let binding = fabric
        .bind(target, handler(|request: Request| async move { Ok(Response::new(full(request.uri().to_string()))) }));
    let stream = one.connect(target).await.expect("served");
    let (mut reader, mut writer) = stream.into_split();
    writer.send_all("GET /path HTTP/1.1\r\nhost: web.shop\r\n\r\n".into()).await.expect("open");
    let mut told = Vec::new();
    while !told.ends_with(b"http://web.shop/path") {
        told.extend_from_slice(&reader.chunk(1 << 10).await.expect("bytes"));
    }
    drop(binding);
    assert!(reader.chunk(1).await.expect("an orderly end").is_empty(), "a kept connection ends with the binding");
}

/// Answers each request of a connection with a number: that of the connection, then that of the request.
fn counting(pod: &Attachment, at: &str) -> AbortOnDropHandle<()> {
    let mut listener = pod.bind(address(at)).expect("free").listen(16).expect("bound");
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut connections = 0;
        while let Ok(stream) = listener.accept().await {
            connections += 1;
            let requests = Arc::new(AtomicU64::new(0));
            let answering = handler(move |_| {
                let words = format!("{connections}.{}", requests.fetch_add(1, Ordering::Relaxed) + 1);
                async move { Ok(Response::new(full(words))) }
            });
            tokio::spawn(bridge::serve(answering, stream, CancellationToken::new()));
        }
    }))
}

#[tokio::test]
async fn a_request_to_who_listens_is_sent_over_a_connection_that_is_kept_for_its_origin() {
    let fabric = Fabric::new();
    let one = attach(&fabric, "one", "10.42.0.2");
    let target = address("10.42.0.2:8080");
    assert_eq!(ask(&fabric, target).await, "nobody answers at 10.42.0.2:8080");
    let counting = counting(&one, "0.0.0.0:8080");
    assert_eq!(ask(&fabric, target).await, "1.1");
    let ask_as = async |origin: &Origin| {
        // The connection is kept a moment after its answer has been read.
        for _ in 0..16 {
            tokio::task::yield_now().await;
        }
        let response = fabric.send(origin, target, Request::new(empty())).await.expect("an answer");
        String::from_utf8_lossy(&response.into_body().collect().await.expect("whole").to_bytes()).into_owned()
    };
    assert_eq!(ask_as(&Origin::Ingress).await, "1.2");
    assert_eq!(ask_as(one.origin()).await, "2.1");
    drop(counting);
    tokio::task::yield_now().await;
    let after = fabric.send(&Origin::Ingress, target, Request::new(empty())).await;
    assert!(matches!(after, Err(Fault::Unreachable(_))), "{after:?}");
}

#[tokio::test]
async fn datagrams_reach_pods_and_are_answered() {
    let fabric = Fabric::new();
    let (one, two) = (attach(&fabric, "one", "10.42.0.2"), attach(&fabric, "two", "10.42.0.3"));
    let server = two.datagrams(address("0.0.0.0:53")).expect("free");
    let client = one.datagrams(address("0.0.0.0:0")).expect("free");
    client.send("who?".into(), address("10.42.0.3:53")).expect("there is a way");
    let (question, from) = server.receive().await;
    assert_eq!((&question[..], from.ip().to_string()), (&b"who?"[..], "10.42.0.2".to_owned()));
    server.send("you".into(), from).expect("there is a way");
    assert_eq!(client.receive().await, (Bytes::from("you"), address("10.42.0.3:53")));
    let denied = client.send("x".into(), address("127.0.0.53:53"));
    assert!(denied.is_ok(), "the loopback is the pod's own, where nobody reads");
    assert!(matches!(client.send("x".into(), address("169.254.169.254:53")), Err(Refused::Denied { .. })));
    assert!(matches!(one.datagrams(client.local()), Err(BindError::InUse(_))));
}
