//! Answering whoever asks, with what is no answer. Each listens on port 80 of its pod, and waits for nobody: who asks is answered
//! before he has said all he wanted to.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use crate::{Deed, stay};

pub const ALL: &[Deed] = &[
    ("serve-endless-head", || repeat("HTTP/1.1 200 OK\r\n", "x-more: and more\r\n")),
    ("serve-endless-header", || repeat("HTTP/1.1 200 OK\r\nx-more: ", "and more ")),
    ("serve-endless-hints", || repeat("", "HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n")),
    ("serve-endless-continue", || repeat("", "HTTP/1.1 100 Continue\r\n\r\n")),
    ("serve-endless-trailers", || repeat(&format!("{CHUNKED}5\r\nhello\r\n0\r\n"), "x-more: and more\r\n")),
    ("serve-endless-zeros", || repeat(CHUNKED, "0")),
    ("serve-endless-extension", || repeat(&format!("{CHUNKED}5;"), "more")),
    ("serve-endless-chunks", || repeat(CHUNKED, "5\r\nhello\r\n")),
    ("serve-endless-body", || repeat("HTTP/1.1 200 OK\r\n\r\n", "hello")),
    ("serve-garbage", || repeat("", "\u{1}\u{2}no answer at all\u{3}")),
    ("serve-too-little", || once("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhello")),
    ("serve-too-much", || repeat("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", "HTTP/1.1 200 OK\r\n\r\n")),
    ("serve-two-lengths", || once("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!")),
    ("serve-huge-length", || repeat("HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n", "hello")),
    ("serve-half-a-head", half_a_head),
    ("serve-never", never),
    ("serve-hang-up", hang_up),
    ("serve-nobody-accepts", nobody_accepts),
];

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

/// What is written at once.
const PIECE_BYTES: usize = 64 << 10;

fn listener() -> TcpListener {
    TcpListener::bind("0.0.0.0:80").expect("the pod's own port is free")
}

fn each(mut answer: impl FnMut(TcpStream)) {
    for stream in listener().incoming().flatten() {
        let mut stream = stream;
        let mut request = [0; 4_096];
        if stream.read(&mut request).is_ok_and(|read| read > 0) {
            answer(stream);
        }
    }
}

/// A beginning, and then the same until the other side has enough.
fn repeat(head: &str, again: &str) {
    let piece = again.repeat(PIECE_BYTES / again.len());
    each(|mut stream| {
        if stream.write_all(head.as_bytes()).is_ok() {
            while stream.write_all(piece.as_bytes()).is_ok() {}
        }
    });
}

fn once(answer: &str) {
    each(|mut stream| {
        let _ = stream.write_all(answer.as_bytes());
    });
}

/// Holds on to everybody who comes, and leaves them with what they have.
fn hold(words: &str) {
    let mut all = Vec::new();
    each(|mut stream| {
        let _ = stream.write_all(words.as_bytes());
        all.push(stream);
    });
}

fn half_a_head() {
    hold("HTTP/1.1 200 OK\r\nx-half: ");
}

fn never() {
    hold("");
}

fn hang_up() {
    each(drop);
}

fn nobody_accepts() {
    let _listener = listener();
    stay()
}
