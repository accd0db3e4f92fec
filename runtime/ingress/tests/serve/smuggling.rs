//! Requests that two readers would understand differently: each is refused, or reaches the component in the one way there is.
//!
//! Behind every request a second one is sent, `GET /next`. Where a length is in doubt it would vanish into a body or appear
//! out of one; so what the component has seen says how the edge read it.

use std::sync::{Arc, Mutex};

use http_body_util::BodyExt;
use network::{Handler, Request, Response, empty, handler};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::world::{PATIENCE, Plan, raw};

/// What the component has seen.
type Seen = Arc<Mutex<Vec<String>>>;

const NEXT: &str = "GET /next HTTP/1.1|Host: web.example|Connection: close||";

/// What is sent, in which `|` ends a line; which answers come; and what the component sees.
#[rustfmt::skip]
const CASES: &[(&str, &str, &str)] = &[
    // What everybody reads alike.
    ("GET /a HTTP/1.1|Host: web.example||", "200 200", "GET /a; GET /next"),
    ("|GET /a HTTP/1.1|Host: web.example||", "200 200", "GET /a; GET /next"),
    ("GET http://web.example/a HTTP/1.1|Host: web.example||", "200 200", "GET /a; GET /next"),
    ("GET /a?b=%0d%0aHost:x HTTP/1.1|Host: web.example||", "200 200", "GET /a?b=%0d%0aHost:x; GET /next"),
    ("GET /a/../b//c/./%2e%2e HTTP/1.1|Host: web.example||", "200 200", "GET /a/../b//c/./%2e%2e; GET /next"),
    ("POST /a HTTP/1.1|Host: web.example|Content-Length: 3||abc", "200 200", "POST /a abc; GET /next"),
    ("POST /a HTTP/1.1|Host: web.example|Content-Length: \t 3 \t||abc", "200 200", "POST /a abc; GET /next"),
    ("POST /a HTTP/1.1|Host: web.example|Content-Length: 0||", "200 200", "POST /a; GET /next"),
    ("POST /a HTTP/1.1|Host: web.example|Content-Length: 0003||abc", "200 200", "POST /a abc; GET /next"),
    ("GET /a HTTP/1.1|Host: web.example|Content-Length: 3||abc", "200 200", "GET /a abc; GET /next"),
    ("POST /a HTTP/1.1|Host: web.example|Transfer-Encoding: chunked||3|abc|0||", "200 200", "POST /a abc; GET /next"),
    ("POST /a HTTP/1.1|Host: web.example|TRANSFER-ENCODING: Chunked||3;x=\"y\"|abc|00||", "200 200", "POST /a abc; GET /next"),
    ("POST /a HTTP/1.1|Host: web.example|Transfer-Encoding: chunked||3|abc|0|x-check: 1||", "200 200", "POST /a abc; GET /next"),
    ("GET /a HTTP/1.1|Host: web.example|X: Content-Length: 5||", "200 200", "GET /a; GET /next"),
    ("POST /a HTTP/1.1|Host: web.example|Content-Length: 36||GET /b HTTP/1.1|Host: web.example|", "200 200", "POST /a GET /b HTTP/1.1|Host: web.example|; GET /next"),
    // Two lengths.
    ("POST /a HTTP/1.1|Host: web.example|Content-Length: 5|Transfer-Encoding: chunked||0||", "400", ""),
    ("POST /a HTTP/1.1|Host: web.example|Transfer-Encoding: chunked|Content-Length: 5||0||", "400", ""),
    ("POST /a HTTP/1.1|Host: web.example|Content-Length: 3|Content-Length: 3||abc", "400", ""),
    ("POST /a HTTP/1.1|Host: web.example|Content-Length: 3|Content-Length: 4||abc", "400", ""),
    ("POST /a HTTP/1.1|Host: web.example|Content-Length: 3, 3||abc", "400", ""),
    ("POST /a HTTP/1.1|Host: web.example|Content-Length: 3|Content_Length: 4||abc", "400", ""),
    // Lengths that are none.
    ("POST /a HTTP/1.1|Host: web.example|Content-Length: +3||abc", "400", ""),
    ("POST /a HTTP/1.1|Host: web.example|Content-Length: -3||abc", "400", ""),
    ("POST /a HTTP/1.1|Host: web.example|Content-Length: 0x3||abc", "400", ""),
    ("POST /a HTTP/1.1|Host: web.example|Content-Length: 3.0||abc", "400", ""),
    ("POST /a HTTP/1.1|Host: web.example|Content-Length: 3 0||abc", "400", ""),
    ("POST /a HTTP/1.1|Host: web.example|Content-Length:||abc", "400", ""),
    ("POST /a HTTP/1.1|Host: web.example|Content-Length: 18446744073709551619||abc", "400", ""),
    ("POST /a HTTP/1.1|Host: web.example|Content-Length : 3||abc", "400", ""),
    ("POST /a HTTP/1.1|Host: web.example|Content-Length\0: 3||abc", "400", ""),
    // Encodings that are not chunked, or only to some.
    ("POST /a HTTP/1.1|Host: web.example|Transfer-Encoding: xchunked||0||", "400", ""),
    ("POST /a HTTP/1.1|Host: web.example|Transfer-Encoding: chunked, identity||0||", "400", ""),
    ("POST /a HTTP/1.1|Host: web.example|Transfer-Encoding: identity, chunked||0||", "400", ""),
    ("POST /a HTTP/1.1|Host: web.example|Transfer-Encoding: gzip, chunked||0||", "400", ""),
    ("POST /a HTTP/1.1|Host: web.example|Transfer-Encoding: chunked, chunked||0||", "400", ""),
    ("POST /a HTTP/1.1|Host: web.example|Transfer-Encoding: chunked|Transfer-Encoding: x||0||", "400", ""),
    ("POST /a HTTP/1.1|Host: web.example|Transfer-Encoding: x|Transfer-Encoding: chunked||0||", "400", ""),
    ("POST /a HTTP/1.1|Host: web.example|Transfer-Encoding: identity|Content-Length: 3||abc", "400", ""),
    ("POST /a HTTP/1.1|Host: web.example|Transfer-Encoding: \x0bchunked||0||", "400", ""),
    ("POST /a HTTP/1.1|Host: web.example|Transfer-Encoding: \"chunked\"||0||", "400", ""),
    ("POST /a HTTP/1.1|Host: web.example|Transfer-Encoding: chunked;x=1||0||", "400", ""),
    ("POST /a HTTP/1.1|Host: web.example|Transfer-Encoding : chunked||0||", "400", ""),
    ("POST /a HTTP/1.1|Host: web.example|Transfer_Encoding: chunked||0||", "400", ""),
    ("POST /a HTTP/1.1|Host: web.example|Transfer-Encoding:||0||", "400", ""),
    ("POST /a HTTP/1.1|Host: web.example|X: y|\tTransfer-Encoding: chunked||0||", "400", ""),
    ("POST /a HTTP/1.1|Host: web.example|Transfer-Encoding:| chunked||0||", "400", ""),
    ("POST /a HTTP/1.0|Host: web.example|Transfer-Encoding: chunked||0||", "400", ""),
    // Lines that end too early, too late or not at all.
    ("GET /a HTTP/1.1\nHost: web.example||", "400", ""),
    ("GET /a HTTP/1.1|Host: web.example\n\n", "400", ""),
    ("GET /a HTTP/1.1|Host: web.example|X: y\nTransfer-Encoding: chunked||", "400", ""),
    ("GET /a HTTP/1.1|Host: web.example|X: y\rTransfer-Encoding: chunked||", "400", ""),
    ("GET /a HTTP/1.1|Host: web.example|X: y\r\r\n|", "400", ""),
    ("GET /a HTTP/1.1|Host: web.example|X: y\0z||", "400", ""),
    ("GET /a HTTP/1.1| Host: web.example||", "400", ""),
    ("GET /a HTTP/1.1|Host: web.example|X||", "400", ""),
    ("GET /a HTTP/1.1|Host: web.example|: y||", "400", ""),
    ("GET /a HTTP/1.1|Host: web.example|X(y): z||", "400", ""),
    // First lines with another number of words.
    ("GET /a b HTTP/1.1|Host: web.example||", "400", ""),
    ("GET  /a HTTP/1.1|Host: web.example||", "400", ""),
    ("GET /a\tHTTP/1.1|Host: web.example||", "400", ""),
    ("GET /a HTTP/1.1 |Host: web.example||", "400", ""),
    ("GET /a HTTP/1.2|Host: web.example||", "400", ""),
    ("GET /a HTTP/2.0|Host: web.example||", "400", ""),
    ("GET /a|Host: web.example||", "400", ""),
    ("G@T /a HTTP/1.1|Host: web.example||", "400", ""),
    ("* /a HTTP/1.1|Host: web.example||", "200 200", "* /a; GET /next"),
    // Hosts: none, two, another one, a strange one.
    ("GET /a HTTP/1.1||", "400", ""),
    ("GET /a HTTP/1.1|Host: web.example|Host: web.example||", "400", ""),
    ("GET /a HTTP/1.1|Host: web.example|Host: other.example||", "400", ""),
    ("GET http://other.example/a HTTP/1.1|Host: web.example||", "400", ""),
    ("GET http://web.example:81/a HTTP/1.1|Host: web.example||", "400", ""),
    ("GET http://web.example@other.example/a HTTP/1.1|Host: web.example||", "400", ""),
    ("GET /a HTTP/1.1|Host: web.example@other.example||", "400", ""),
    ("GET /a HTTP/1.1|Host: web.example/b||", "400", ""),
    ("GET /a HTTP/1.1|Host: web.example, other.example||", "400", ""),
    ("GET web.example HTTP/1.1|Host: web.example||", "400", ""),
    ("OPTIONS * HTTP/1.1|Host: web.example||", "400", ""),
    // Chunks that are not what they say: the component sees a body that breaks off, and nothing after it.
    ("POST /a HTTP/1.1|Host: web.example|Transfer-Encoding: chunked||x|abc|0||", "broken", "POST /a broken"),
    ("POST /a HTTP/1.1|Host: web.example|Transfer-Encoding: chunked||-3|abc|0||", "broken", "POST /a broken"),
    ("POST /a HTTP/1.1|Host: web.example|Transfer-Encoding: chunked||0x3|abc|0||", "broken", "POST /a broken"),
    ("POST /a HTTP/1.1|Host: web.example|Transfer-Encoding: chunked||3 |abc|0||", "broken", "POST /a broken"),
    ("POST /a HTTP/1.1|Host: web.example|Transfer-Encoding: chunked||3\nabc|0||", "broken", "POST /a broken"),
    ("POST /a HTTP/1.1|Host: web.example|Transfer-Encoding: chunked||3;\nabc|0||", "broken", "POST /a broken"),
    ("POST /a HTTP/1.1|Host: web.example|Transfer-Encoding: chunked||3|abcd|0||", "broken", "POST /a broken"),
    ("POST /a HTTP/1.1|Host: web.example|Transfer-Encoding: chunked||3|abc0||", "broken", "POST /a broken"),
    ("POST /a HTTP/1.1|Host: web.example|Transfer-Encoding: chunked||10000000000000003|abc|0||", "broken", "POST /a broken"),
    ("POST /a HTTP/1.1|Host: web.example|Transfer-Encoding: chunked||3|abc|0|Content-Length: 9||", "broken", "POST /a broken"),
    ("POST /a HTTP/1.1|Host: web.example|Transfer-Encoding: chunked||3|abc|0|x : y||", "broken", "POST /a broken"),
    ("POST /a HTTP/1.1|Host: web.example|Transfer-Encoding: chunked||3|abc|0|\nx: y||", "broken", "POST /a broken"),
    // Other protocols: the connection ends with the answer.
    ("GET /a HTTP/1.1|Host: web.example|Upgrade: h2c|Connection: Upgrade, HTTP2-Settings|HTTP2-Settings: AAMAAABk||", "200", "GET /a"),
    ("GET /a HTTP/1.1|Host: web.example|Upgrade: TLS/1.0|Connection: Upgrade||", "200", "GET /a"),
    ("GET /a HTTP/1.1|Host: web.example|Upgrade: websocket, h2c|Connection: Upgrade||", "200", "GET /a"),
    ("CONNECT web.example:80 HTTP/1.1|Host: web.example:80||", "405", ""),
    ("TRACE /a HTTP/1.1|Host: web.example||", "405", ""),
];

fn recorder(seen: Seen) -> Handler {
    handler(move |request: Request| {
        let seen = seen.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = match body.collect().await {
                Ok(body) => String::from_utf8_lossy(&body.to_bytes()).replace("\r\n", "|"),
                Err(_) => "broken".to_owned(),
            };
            let path = head.uri.path_and_query().expect("a path");
            let line = format!("{} {path} {body}", head.method);
            seen.lock().expect("not poisoned").push(line.trim_end().to_owned());
            Ok(Response::new(empty()))
        }
    })
}

#[tokio::test]
async fn each_is_refused_or_read_in_one_way() {
    let seen = Seen::default();
    let edge = Plan { web: recorder(seen.clone()), ..Plan::default() }.start().await;
    let mut wrong = Vec::new();
    for (sent, answers, reaches) in CASES {
        let told = raw(edge.http, &format!("{sent}{NEXT}").replace('|', "\r\n")).await;
        let told: Vec<&str> =
            told.match_indices("HTTP/1.1 ").map(|(at, words)| &told[at + words.len()..][..3]).collect();
        let is_as_said = match *answers {
            // The component may have answered before its body broke off, or not.
            "broken" => told.len() <= 1,
            answers => told.join(" ") == answers,
        };
        let reached = std::mem::take(&mut *seen.lock().expect("not poisoned")).join("; ");
        if !is_as_said || reached != *reaches {
            wrong.push(format!("{sent:?}: {} {reached:?}, not {answers} {reaches:?}", told.join(" ")));
        }
    }
    assert!(CASES.len() >= 60 && wrong.is_empty(), "of {} cases\n{}", CASES.len(), wrong.join("\n"));
}

/// Header fields of HTTP/2, name and value, and what becomes of the request; `!`: it is sent on, and what the component says is
/// not taken for an answer.
#[rustfmt::skip]
const FIELDS: &[(&str, &str)] = &[
    (":method GET, :scheme http, :path /a, :authority web.example", "GET /a"),
    (":method GET, :scheme http, :path /a, :authority web.example, host web.example", "GET /a"),
    (":method GET, :scheme http, :path /a, :authority web.example, te trailers", "GET /a"),
    (":method GET, :scheme http, :path /a, :authority web.example, host other.example", ""),
    (":method GET, :scheme http, :path /a", ""),
    (":method GET, :scheme http, :path /a, :authority web.example@other.example", ""),
    (":method GET, :scheme http, :authority web.example", ""),
    (":method GET, :path /a, :authority web.example", ""),
    (":scheme http, :path /a, :authority web.example", ""),
    (":method GET, :method POST, :scheme http, :path /a, :authority web.example", ""),
    (":method GET, :scheme http, :path /a, :path /b, :authority web.example", ""),
    (":method GET, :scheme http, :path /a, :authority web.example, :authority other.example", ""),
    (":method GET, :scheme http, :path /a, x y, :authority web.example", ""),
    (":method GET, :scheme http, :path /a, :authority web.example, :status 200", ""),
    (":method GET, :scheme http, :path /a, :authority web.example, :unknown x", ""),
    (":method GET, :scheme http, :path a, :authority web.example", ""),
    (":method GET, :scheme http, :path /a\u{20}HTTP/1.1\r\nHost:\u{20}x, :authority web.example", ""),
    (":method GET, :scheme http, :path /a, :authority web.example, transfer-encoding chunked", ""),
    (":method GET, :scheme http, :path /a, :authority web.example, connection close", ""),
    (":method GET, :scheme http, :path /a, :authority web.example, keep-alive 5", ""),
    (":method GET, :scheme http, :path /a, :authority web.example, upgrade websocket", ""),
    (":method GET, :scheme http, :path /a, :authority web.example, proxy-connection x", ""),
    (":method GET, :scheme http, :path /a, :authority web.example, te gzip", ""),
    (":method GET, :scheme http, :path /a, :authority web.example, Content-Length 0", ""),
    (":method GET, :scheme http, :path /a, :authority web.example, x a\r\ntransfer-encoding:\u{20}chunked", ""),
    (":method GET, :scheme http, :path /a, :authority web.example, x a\nb", ""),
    (":method GET, :scheme http, :path /a, :authority web.example, x\u{3a}y z", ""),
    (":method GET, :scheme http, :path /a, :authority web.example, content-length 3", ""),
    (":method GET, :scheme http, :path /a, :authority web.example, content-length 0, content-length 3", ""),
    (":method CONNECT, :authority web.example", ""),
    (":method CONNECT, :protocol websocket, :scheme http, :path /a, :authority web.example", "!GET /a"),
    (":method CONNECT, :protocol websocket, :scheme http, :path /a, :authority web.example, host other.example", ""),
    (":method CONNECT, :protocol websocket, :scheme http, :path /a, :authority web.example, content-length 3", ""),
    (":method CONNECT, :protocol connect-udp, :scheme http, :path /a, :authority web.example", ""),
    (":method CONNECT, :protocol websocket, :authority web.example", ""),
    (":method GET, :protocol websocket, :scheme http, :path /a, :authority web.example", ""),
];

#[tokio::test]
async fn the_second_version_has_no_side_doors() {
    let seen = Seen::default();
    let edge = Plan { web: recorder(seen.clone()), ..Plan::default() }.start().await;
    let mut wrong = Vec::new();
    for (fields, reaches) in FIELDS {
        let mut stream = TcpStream::connect(edge.http).await.expect("connected");
        stream.write_all(&second_version(fields)).await.expect("written");
        let is_served = is_answered(&mut stream).await;
        drop(stream);
        let reached = std::mem::take(&mut *seen.lock().expect("not poisoned")).join("; ");
        let is_to_be_served = !reaches.is_empty() && !reaches.starts_with('!');
        if reached != reaches.trim_start_matches('!') || is_served != is_to_be_served {
            wrong.push(format!("{fields:?}: {reached:?}, not {reaches:?}; answered 200: {is_served}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A connection of HTTP/2 with one request, whose fields are written as they are: literally, without a table.
fn second_version(fields: &str) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields.split(", ").filter_map(|field| field.split_once(' ')) {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).expect("short"));
            block.extend_from_slice(text.as_bytes());
        }
    }
    let length = u32::try_from(block.len()).expect("short").to_be_bytes();
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    // END_STREAM and END_HEADERS, on the first stream.
    let head = [&length[1..], &[1, 5, 0, 0, 0, 1]].concat();
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings, &head, &block].concat()
}

/// Whether the first stream is answered with `200`, rather than with another status or none.
async fn is_answered(stream: &mut TcpStream) -> bool {
    loop {
        let mut head = [0; 9];
        if timeout(PATIENCE, stream.read_exact(&mut head)).await.expect("in time").is_err() {
            return false;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        if stream.read_exact(&mut payload).await.is_err() {
            return false;
        }
        match head[3] {
            // HEADERS: `:status: 200` is number 8 of the static table.
            1 => return payload.first() == Some(&0x88),
            // RST_STREAM, GOAWAY.
            3 | 7 => return false,
            _ => {}
        }
    }
}
