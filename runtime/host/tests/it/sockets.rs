//! Sockets of real guests, 0.2 and 0.3, over a network in memory.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use host::{Command, Connection, Exit, Nowhere, PipeReader, Spec, Stdin, Workload};

use crate::guests::{Bench, PATIENCE, check, ended, example, serving, until};
use crate::loopback::{Loopback, PIPE_BYTES};

/// Guests on one network.
struct Street {
    bench: Bench,
    network: Arc<Loopback>,
}

/// A guest that runs, and what it says.
struct Neighbour {
    command: Command,
    said: PipeReader,
}

impl Street {
    fn new() -> Self {
        Self { bench: Bench::new(), network: Loopback::new() }
    }

    async fn prepare(&self, name: &str) -> Workload {
        self.bench.prepare(&example(&format!("{name}/{name}.wasm"))).await
    }

    fn spec(&self, args: &str) -> Spec {
        Spec {
            args: args.split_whitespace().map(str::to_owned).collect(),
            network: self.network.clone(),
            ..Spec::default()
        }
    }

    /// Starts `NAME ARG…`.
    async fn start(&self, args: &str) -> Neighbour {
        self.start_with(args, |spec| spec).await
    }

    async fn start_with(&self, args: &str, change: impl FnOnce(Spec) -> Spec) -> Neighbour {
        let name = args.split_whitespace().next().expect("a name");
        let (stdout, said) = host::pipe(1 << 20);
        let spec = change(Spec { stderr: stdout.clone(), stdout, ..self.spec(args) });
        let command = self.prepare(name).await.run(spec, Stdin::Empty, Arc::new(Nowhere)).expect("it is a command");
        Neighbour { command, said }
    }

    /// Starts a server and waits for it.
    async fn serve(&self, args: &str, port: u16) -> Neighbour {
        let server = self.start(args).await;
        until(|| self.network.listens(port) || server.command.exit().is_some()).await;
        assert_eq!(server.command.exit(), None, "{args}");
        server
    }

    /// Runs `NAME ARG…` to its end: it succeeds and says this.
    async fn check(&self, args: &str, expected: &str) {
        let (exit, said) = self.start(args).await.all().await;
        assert_eq!((said.trim_end(), exit), (expected, Exit::Exited { code: 0 }), "{args}");
    }

    /// Runs `NAME ARG…` to its end: it fails and says so.
    async fn check_failure(&self, args: &str, expected: &str) {
        let (exit, said) = self.start(args).await.all().await;
        assert_eq!((said.trim_end(), exit), (expected, Exit::Exited { code: 1 }), "{args}");
    }
}

impl Neighbour {
    async fn all(mut self) -> (Exit, String) {
        let exit = ended(&self.command).await;
        let mut all = Vec::new();
        while let Some(bytes) = self.said.recv().await {
            all.extend_from_slice(&bytes);
        }
        (exit, String::from_utf8(all).expect("it says text"))
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        while !line.ends_with('\n') {
            let bytes = tokio::time::timeout(PATIENCE, self.said.recv()).await.expect("it says something");
            line.push_str(std::str::from_utf8(&bytes.expect("it says a line")).expect("it says text"));
        }
        line.trim_end().to_owned()
    }
}

/// Sends all of it, as fast as it is taken.
async fn send(connection: &mut Connection, mut bytes: Bytes) {
    while !bytes.is_empty() {
        let room = poll_fn(|cx| connection.writer.poll_ready(cx)).await.expect("the other side reads");
        let piece = bytes.split_to(room.min(bytes.len()));
        connection.writer.write(piece).expect("the other side reads");
    }
}

/// Sends all of it and waits until the other side has read it.
async fn send_and_see_read(connection: &mut Connection, bytes: Bytes) {
    send(connection, bytes).await;
    let reading = async {
        while poll_fn(|cx| connection.writer.poll_ready(cx)).await.expect("the other side reads") < PIPE_BYTES {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("it is read");
}

/// Hears so many bytes, or fewer and the end.
async fn hear(connection: &mut Connection, count: usize) -> Vec<u8> {
    let mut heard = Vec::new();
    while heard.len() < count {
        let piece =
            poll_fn(|cx| connection.reader.poll_read(cx, count - heard.len())).await.expect("the stream is whole");
        if piece.is_empty() {
            break;
        }
        heard.extend_from_slice(&piece);
    }
    heard
}

#[tokio::test]
async fn every_state_of_0_2_refuses_what_it_must() {
    let street = Street::new();
    let (exit, said) = street.start("dial states").await.all().await;
    assert_eq!(exit, Exit::Exited { code: 0 }, "{said}");
    assert!(said.ends_with("checks\n"), "{said}");
    assert_eq!(street.network.taken(), 0);
}

#[tokio::test]
async fn every_state_of_0_3_refuses_what_it_must() {
    let street = Street::new();
    let (exit, said) = street.start("dial3 states").await.all().await;
    assert_eq!(exit, Exit::Exited { code: 0 }, "{said}");
    assert!(said.ends_with("checks\n"), "{said}");
    assert_eq!(street.network.taken(), 0);
}

#[tokio::test]
async fn a_guest_without_a_network_is_refused_everything() {
    let street = Street::new();
    for (args, expected) in [
        ("dial connect 127.0.0.1:80", "permission denied"),
        ("dial connect kv:80", "name does not resolve"),
        ("dial take 127.0.0.1:80", "permission denied"),
        ("dial udp 127.0.0.1:80 hello", "permission denied"),
        ("dial3 udp 127.0.0.1 80", "accessdenied"),
    ] {
        let guest = street.start_with(args, |spec| Spec { network: Arc::new(Nowhere), ..spec }).await;
        let (exit, said) = guest.all().await;
        assert_eq!(exit, Exit::Exited { code: 1 });
        assert!(said.to_lowercase().contains(expected), "{args}: {said}");
    }
}

#[tokio::test]
async fn what_is_said_comes_back() {
    let street = Street::new();
    let _echo = street.serve("echo 0.0.0.0:7", 7).await;
    street.check("dial echo 127.0.0.1:7 1", "1 bytes came back on each of 1 connections").await;
    street.check("dial echo here:7 10000000", "10000000 bytes came back on each of 1 connections").await;
    street.check("dial udp 127.0.0.1:7 hello", "127.0.0.1:7 says \"hello\"").await;
    street.check("dial3 udp 127.0.0.1 7", "heard [\"one\", \"two\"]").await;
}

#[tokio::test]
async fn ipv6_is_a_family_of_its_own() {
    let street = Street::new();
    let _six = street.serve("echo [::]:7", 7).await;
    street.check("dial echo [::1]:7 100000 3", "100000 bytes came back on each of 3 connections").await;
    street.check_failure("dial connect 127.0.0.1:7", "dial: Connection refused (os error 14)").await;
    // The name has both; the first that answers is taken.
    street.check("dial half here:7", "heard \"half a talk\", then the end; writing more gave Err(BrokenPipe)").await;
    let _four = street.serve("kv serve 0.0.0.0:8", 8).await;
    street.check("kv 127.0.0.1:8 PING", "PONG").await;
    street.check_failure("kv [::1]:8 PING", "kv: [::1]:8: Connection refused (os error 14)").await;
}

#[tokio::test]
async fn both_generations_talk_to_each_other() {
    let street = Street::new();
    let _splices = street.serve("dial3 serve 70", 70).await;
    let _copies = street.serve("dial3 copy 71", 71).await;
    let _echo = street.serve("echo 127.0.0.1:72", 72).await;
    for port in [70, 71, 72] {
        let echo = format!("dial echo 127.0.0.1:{port} 1000000 5");
        street.check(&echo, "1000000 bytes came back on each of 5 connections").await;
        let half = "heard \"half a talk\", then the end; writing more gave Err(BrokenPipe)";
        street.check(&format!("dial half 127.0.0.1:{port}"), half).await;
        let half = "0 left, sent Ok(()), heard \"half a talk\", ended Ok(())";
        street.check(&format!("dial3 half 127.0.0.1 {port}"), half).await;
    }
}

#[tokio::test]
async fn many_connections_live_at_once() {
    let street = Street::new();
    let _echo = street.serve("echo 127.0.0.1:7", 7).await;
    let _serve = street.serve("dial3 serve 8", 8).await;
    let clients = [7, 8, 7, 8].map(|port| {
        let street = &street;
        async move {
            let args = format!("dial echo 127.0.0.1:{port} 1000 100");
            street.check(&args, "1000 bytes came back on each of 100 connections").await;
        }
    });
    futures::future::join_all(clients).await;
    until(|| street.network.taken() == 3).await;
}

#[tokio::test]
async fn a_connection_to_nobody_is_refused() {
    let street = Street::new();
    street.check_failure("dial connect 127.0.0.1:9", "dial: Connection refused (os error 14)").await;
    let (exit, said) = street.start("dial connect 192.0.2.1:9").await.all().await;
    assert_eq!(exit, Exit::Exited { code: 1 });
    assert!(said.contains("unreachable"), "{said}");
}

#[tokio::test]
async fn names_are_looked_up() {
    let street = Street::new();
    street.check("dial lookup here", "127.0.0.1 ::1").await;
    street.check("dial lookup 10.1.2.3", "10.1.2.3").await;
    let (exit, _) = street.start("dial lookup nobody").await.all().await;
    assert_eq!(exit, Exit::Exited { code: 1 });
    street.check_failure("dial3 lookup nobody", "dial3: ErrorCode::NameUnresolvable").await;
    street.check_failure("dial3 lookup later", "dial3: ErrorCode::TemporaryResolverFailure").await;
}

#[tokio::test]
async fn a_writer_faster_than_its_reader_waits() {
    let street = Street::new();
    // It listens, but accepts nobody's bytes: the first connection is taken and only written to.
    let mut taker = street.serve("dial take 127.0.0.1:80", 80).await;
    assert_eq!(taker.line().await, "listening on 127.0.0.1:80");
    let mut flood = street.start("dial flood 127.0.0.1:80").await;
    assert_eq!(flood.line().await, format!("{PIPE_BYTES} bytes were taken"));
    flood.command.stop();
    let taken = taker.all().await;
    assert_eq!(taken.0, Exit::Exited { code: 0 }, "{}", taken.1);
}

#[tokio::test]
async fn a_reader_that_goes_breaks_the_writers_pipe() {
    let street = Street::new();
    let mut taker = street.serve("dial take 127.0.0.1:80", 80).await;
    let mut connection = street.network.connect_here(80).expect("it listens");
    assert_eq!(hear(&mut connection, 100_000).await.len(), 100_000);
    assert_eq!(taker.line().await, "listening on 127.0.0.1:80");
    drop(connection);
    let (exit, said) = taker.all().await;
    assert_eq!(exit, Exit::Exited { code: 0 });
    assert!(said.ends_with("gone: BrokenPipe\n"), "{said}");
}

#[tokio::test]
async fn a_guest_that_is_stopped_leaves_nothing_behind() {
    let street = Street::new();
    for (args, port) in [("echo 127.0.0.1:7", 7), ("dial3 serve 8", 8)] {
        let server = street.serve(args, port).await;
        let mut connection = street.network.connect_here(port).expect("it listens");
        send(&mut connection, Bytes::from_static(b"hello")).await;
        assert_eq!(hear(&mut connection, 5).await, b"hello");
        server.command.stop();
        assert_eq!(ended(&server.command).await, Exit::Cancelled);
        assert_eq!(hear(&mut connection, 5).await, b"", "{args}: the connection has ended");
        drop(connection);
        assert_eq!(street.network.taken(), 0, "{args}");
        assert!(street.network.connect_here(port).is_err(), "{args}");
    }
}

#[tokio::test]
async fn sockets_are_counted() {
    let street = Street::new();
    let few = |spec| Spec { sockets_max: 3, ..spec };
    let _echo = street.serve("echo 127.0.0.1:7", 7).await;
    let opener = street.start_with("dial open 127.0.0.1:7 10", few).await;
    let (exit, said) = opener.all().await;
    assert_eq!(exit, Exit::Exited { code: 0 }, "{said}");
    assert!(said.starts_with("3 connections, then: "), "{said}");

    // One listens, two are accepted, the third waits until one of them has gone.
    let _serve = street.start_with("dial3 serve 8", few).await;
    until(|| street.network.listens(8)).await;
    let mut connections = Vec::new();
    for _ in 0..3 {
        let mut connection = street.network.connect_here(8).expect("it listens");
        send(&mut connection, Bytes::from_static(b"hello")).await;
        connections.push(connection);
    }
    assert_eq!(hear(&mut connections[0], 5).await, b"hello");
    assert_eq!(hear(&mut connections[1], 5).await, b"hello");
    assert!(futures::poll!(std::pin::pin!(hear(&mut connections[2], 5))).is_pending());
    drop(connections.remove(0));
    assert_eq!(hear(&mut connections[1], 5).await, b"hello");
}

#[tokio::test]
async fn a_key_value_server_serves_several_at_once() {
    let street = Street::new();
    let _kv = street.serve("kv", 6379).await;
    street.check("kv here:6379 SET tide high", "OK").await;
    street.check("kv here:6379 GET tide", "high").await;
    street.check("kv 127.0.0.1:6379 GET nothing", "(nil)").await;
    street.check("kv here:6379 APPEND tide er", "6").await;
    street.check_failure("kv here:6379 INCR tide", "kv: ERR value is not an integer or out of range").await;

    let clients = (0..20).map(|_| async {
        let mut connection = street.network.connect_here(6379).expect("it listens");
        for _ in 0..50 {
            send(&mut connection, Bytes::from_static(b"*2\r\n$4\r\nINCR\r\n$5\r\nwaves\r\n")).await;
            let answer = hear(&mut connection, 1).await;
            assert_eq!(answer, b":");
            while hear(&mut connection, 1).await != b"\n" {}
        }
    });
    futures::future::join_all(clients).await;
    street.check("kv here:6379 GET waves", "1000").await;

    // A command in pieces, an inline one, and one that is none.
    let mut connection = street.network.connect_here(6379).expect("it listens");
    send_and_see_read(&mut connection, Bytes::from_static(b"*2\r\n$3\r\nGE")).await;
    send(&mut connection, Bytes::from_static(b"T\r\n$4\r\ntide\r\nPING\r\n")).await;
    assert_eq!(hear(&mut connection, 19).await, b"$6\r\nhigher\r\n+PONG\r\n");
    send(&mut connection, Bytes::from_static(b"*2\r\n$x\r\n")).await;
    let answer = String::from_utf8(hear(&mut connection, 1000).await).expect("it is text");
    assert_eq!(answer, "-ERR the length of a word is wrong\r\n");
}

#[tokio::test]
async fn a_server_opens_connections_too() {
    let street = Street::new();
    let _echo = street.serve("echo 127.0.0.1:7", 7).await;
    let spec = Spec { network: street.network.clone(), ..Spec::default() };
    let server = serving(&street.bench, &example("probe/probe.wasm"), spec).await;
    check(&server, "/dial?to=here:7&say=hello", 200, "hello").await;
    check(&server, "/datagram?to=127.0.0.1:7&say=hello", 200, "hello").await;
    check(&server, "/lookup?name=here", 200, "127.0.0.1\n::1\n").await;
    check(&server, "/dial?to=127.0.0.1:9", 502, "127.0.0.1:9: Connection refused (os error 14)\n").await;
    until(|| street.network.taken() == 2).await;
}

#[tokio::test]
async fn a_program_of_sockets_speaks_web_sockets() {
    const UPGRADE: &str = "GET /echo HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let street = Street::new();
    let _chat = street.serve("chat 127.0.0.1:80", 80).await;
    let mut connection = street.network.connect_here(80).expect("it listens");
    // The head in two pieces, the first frame together with its end: "hi", masked by zeros.
    let (first, second) = UPGRADE.split_at(40);
    send_and_see_read(&mut connection, Bytes::from(first)).await;
    send(&mut connection, [second.as_bytes(), b"\x81\x82\0\0\0\0hi"].concat().into()).await;
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        head.push_str(&String::from_utf8(hear(&mut connection, 1).await).expect("it is text"));
    }
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    assert_eq!(hear(&mut connection, 4).await, b"\x81\x02hi");

    let mut page = street.network.connect_here(80).expect("it listens");
    send(&mut page, Bytes::from_static(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")).await;
    let page = String::from_utf8(hear(&mut page, 100_000).await).expect("it is text");
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n") && page.ends_with("</script>\n"), "{page}");
}
