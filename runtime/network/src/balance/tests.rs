use std::collections::HashMap;
use std::sync::Mutex;

use super::*;
use crate::{empty, full, handler};

fn endpoints(loads: &[usize]) -> Vec<Endpoint> {
    let endpoint = |(number, in_flight): (usize, &usize)| Endpoint {
        address: address(number),
        load: Arc::new(Load(AtomicUsize::new(*in_flight))),
    };
    loads.iter().enumerate().map(endpoint).collect()
}

fn address(number: usize) -> SocketAddr {
    SocketAddr::from(([10, 42, 0, u8::try_from(number).expect("a small number")], 80))
}

#[test]
fn of_two_the_less_busy_is_taken() {
    for dice in 0..100 {
        let endpoints = endpoints(&[5, 1]);
        assert_eq!(pick(&endpoints, &[], draw() ^ dice).map(|one| one.address), Some(address(1)));
    }
}

#[test]
fn what_was_tried_is_not_taken_again() {
    let endpoints = endpoints(&[0, 0, 0]);
    for _ in 0..100 {
        assert_eq!(pick(&endpoints, &[address(0), address(2)], draw()).map(|one| one.address), Some(address(1)));
    }
    let all = [address(0), address(1), address(2)];
    assert!(pick(&endpoints, &all, draw()).is_none());
    assert!(pick(&[], &[], draw()).is_none());
}

#[test]
fn the_busiest_of_many_is_never_taken_and_the_rest_share() {
    let endpoints = endpoints(&[9, 0, 0, 0]);
    let mut taken: HashMap<SocketAddr, u32> = HashMap::new();
    for _ in 0..3000 {
        let one = pick(&endpoints, &[], draw()).expect("there are endpoints");
        *taken.entry(one.address).or_default() += 1;
    }
    assert_eq!(taken.get(&address(0)), None);
    assert!((1..4).all(|number| taken[&address(number)] > 500), "{taken:?}");
}

/// Sends one request to as many endpoints as there are letters: `+` answers, `-` is not there, `r` refuses, `x` fails.
async fn check(behaviours: &'static str, expected: &str) {
    let endpoints = endpoints(&vec![0; behaviours.len()]);
    let asked = Arc::new(Mutex::new(0));
    let dial = |at: SocketAddr| {
        let number = endpoints.iter().position(|one| one.address == at).expect("one of ours");
        let behaviour = behaviours.as_bytes()[number];
        let asked = asked.clone();
        if behaviour == b'-' {
            return Err(Fault::Unreachable(at));
        }
        let answering = {
            handler(move |request| {
                *asked.lock().expect("nobody panicked") += 1;
                async move {
                    match behaviour {
                        b'+' => Ok(Response::new(full("yes"))),
                        b'r' => Err(Fault::refused(request, "not now")),
                        _ => Err(Fault::Trapped("unreachable".into())),
                    }
                }
            })
        };
        Ok(answering)
    };
    let told = match send(&endpoints, dial, Request::new(empty())).await {
        None => "no endpoint",
        Some(Ok(_)) => "answered",
        Some(Err(Fault::Unreachable(_))) => "unreachable",
        Some(Err(_)) => "failed",
    };
    assert_eq!(told, expected, "{behaviours}");
    assert!(endpoints.iter().all(|one| one.load.in_flight() == 0), "{behaviours}: nothing is under way afterwards");
    assert!(
        expected != "failed" || *asked.lock().expect("nobody panicked") == 1,
        "what was begun with is not sent again"
    );
}

#[tokio::test]
async fn a_request_that_nobody_began_with_goes_to_another() {
    for _ in 0..20 {
        check("+-", "answered").await;
        check("-r+", "answered").await;
        check("x", "failed").await;
        check("rrrr", "unreachable").await;
        check("---", "unreachable").await;
        check("", "no endpoint").await;
    }
}

#[tokio::test]
async fn a_request_is_under_way_until_its_body_ends() {
    let endpoints = endpoints(&[0]);
    let dial = |_| Ok(handler(|_| async { Ok(Response::new(full("a body"))) }));
    let response = send(&endpoints, dial, Request::new(empty())).await.expect("an endpoint").expect("an answer");
    assert_eq!(endpoints[0].load.in_flight(), 1);
    let body = response.into_body().collect().await.expect("whole").to_bytes();
    assert_eq!((&body[..], endpoints[0].load.in_flight()), (&b"a body"[..], 0));
}
