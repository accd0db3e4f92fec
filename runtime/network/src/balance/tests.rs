use std::collections::HashMap;
use std::sync::Mutex;

use super::*;
use crate::{empty, full, handler};

fn endpoints(loads: &[usize]) -> Vec<Endpoint> {
    let endpoint = |(number, in_flight): (usize, &usize)| Endpoint {
        address: address(number),
        load: Arc::new(Load(AtomicUsize::new(*in_flight))),
        health: Arc::default(),
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

#[test]
fn who_is_left_out_is_taken_only_when_all_are() {
    let endpoints = endpoints(&[0, 0, 0]);
    let fail = |number: usize| (0..3).for_each(|_| endpoints[number].health.failed(Instant::now()));
    fail(0);
    fail(1);
    for _ in 0..100 {
        assert_eq!(pick(&endpoints, &[], draw()).map(|one| one.address), Some(address(2)));
    }
    fail(2);
    assert!(pick(&endpoints, &[], draw()).is_some());
}

#[test]
fn a_client_is_led_to_its_endpoint_while_that_is_there() {
    let endpoints = endpoints(&[0; 8]);
    let clients = Clients::default();
    let session =
        Session { clients: &clients, timeout: Duration::from_secs(60), client: [192, 0, 2, 1].into(), port: 80 };
    let taken = |endpoints| {
        let mut tries = Tries::new(endpoints, Some(session));
        let endpoint = tries.next_endpoint().expect("there are endpoints");
        tries.succeeded(endpoint);
        endpoint.address
    };
    let first = taken(&endpoints);
    assert!((0..50).all(|_| taken(&endpoints) == first));
    let others: Vec<Endpoint> = endpoints.iter().filter(|one| one.address != first).cloned().collect();
    let second = taken(&others);
    assert_ne!(second, first);
    assert!((0..50).all(|_| taken(&endpoints) == second), "it stays with the new one");
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
    let told = match send(&endpoints, None, &dial, Request::new(empty()), nobody).await {
        Ok(Ok(_)) => "answered",
        Ok(Err(_)) => "failed",
        Err(Untaken { fault: Fault::Unreachable(_), .. }) => "unreachable",
        Err(Untaken { .. }) => "no endpoint",
    };
    assert_eq!(told, expected, "{behaviours}");
    assert!(endpoints.iter().all(|one| one.load.in_flight() == 0), "{behaviours}: nothing is under way afterwards");
    assert!(
        expected != "failed" || *asked.lock().expect("nobody panicked") == 1,
        "what was begun with is not sent again"
    );
}

fn nobody() -> Fault {
    Fault::NoEndpoint { service: "shop/web:80".to_owned() }
}

#[tokio::test]
async fn a_request_that_nobody_began_with_goes_to_another() {
    for _ in 0..20 {
        check("+-", "answered").await;
        check("-r+", "answered").await;
        check("x", "failed").await;
        check("rrrr", "unreachable").await;
        // Those that go at once do not hide the one that stays.
        check("r-rr-rrr+rrr", "answered").await;
        check("---", "unreachable").await;
        check("", "no endpoint").await;
    }
}

#[tokio::test]
async fn a_request_is_under_way_until_its_body_ends() {
    let endpoints = endpoints(&[0]);
    let dial = |_| Ok(handler(|_| async { Ok(Response::new(full("a body"))) }));
    let sent = send(&endpoints, None, &dial, Request::new(empty()), nobody).await;
    let response = sent.expect("an endpoint").expect("an answer");
    assert_eq!(endpoints[0].load.in_flight(), 1);
    let body = response.into_body().collect().await.expect("whole").to_bytes();
    assert_eq!((&body[..], endpoints[0].load.in_flight()), (&b"a body"[..], 0));
}
