//! The words of the tunnel are those that every node of these protocols speaks.

use std::fmt::Write as _;
use std::time::Duration;

use http::HeaderMap;

use super::failure::Failure;
use super::words::{self, Kind, Written};
use super::{BACK, NODE, RELAY, datagrams};
use crate::Origin;

#[test]
fn the_words_are_those_that_are_spoken_everywhere() {
    let mut told = String::new();
    for protocol in [NODE, RELAY, BACK] {
        writeln!(told, "protocol: {}", String::from_utf8_lossy(protocol)).expect("a string takes everything");
    }
    let pod = Origin::pod("shop", "web-0", "10.42.0.2".parse().expect("an address"));
    let outside = Origin::Outside("[2001:db8::1]:4000".parse().expect("an address"));
    let mut headers = HeaderMap::new();
    for kind in [Kind::Request, Kind::Stream, Kind::Datagrams, Kind::Content] {
        words::set(&mut headers, &words::KIND, &kind);
        tell(&mut told, &mut headers);
    }
    for origin in [&pod, &Origin::Ingress, &Origin::Node("edge-1".into()), &outside] {
        words::set(&mut headers, &words::ORIGIN, &Written(origin));
        tell(&mut told, &mut headers);
    }
    for failure in [
        Failure::Nobody,
        Failure::Refused,
        Failure::Unreachable,
        Failure::Denied,
        Failure::TimedOut(Duration::from_millis(1_500)),
        Failure::TooManyHops(32),
        Failure::Trapped,
        Failure::Failed,
    ] {
        words::set(&mut headers, &words::FAULT, &failure);
        tell(&mut told, &mut headers);
    }
    for (name, value) in [
        (&words::NODE, "edge-1"),
        (&words::ASKER, "edge-2"),
        (&words::TO, "10.42.0.3:80"),
        (&words::HOPS, "3"),
        (&words::DIGEST, "sha256:00"),
    ] {
        words::set(&mut headers, name, &value);
        tell(&mut told, &mut headers);
    }
    let frame = datagrams::encode(
        &pod,
        "10.42.0.2:4000".parse().expect("an address"),
        "[fd00::1]:53".parse().expect("an address"),
        b"query",
    );
    let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
    writeln!(told, "datagram: {hex}").expect("a string takes everything");
    assert!(told == include_str!("golden.txt"), "the words are now others:\n{told}");
}

/// The only header there is, as it is sent.
fn tell(told: &mut String, headers: &mut HeaderMap) {
    for (name, value) in headers.drain() {
        let name = name.expect("each is there once");
        writeln!(told, "{name}: {}", value.to_str().expect("text")).expect("a string takes everything");
    }
}
