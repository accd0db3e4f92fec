use std::collections::BTreeSet;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use proptest::prelude::*;

use super::*;
use crate::world::world;
use crate::zone::Answer;
use crate::{Authority, Zone};

const WORLD: &str = "namespace/empty; service/web 10.43.0.5 http:80 dns:53/UDP; service/six fd00::5 http:80; \
    service/db headless; slice/db tcp:5432 | db-0@10.42.0.4 db-1@10.42.0.5 10.42.0.6; service/mail ->mail.example.com; \
    pod/shop/web-1 10.42.0.2";

fn zone() -> Zone {
    Zone::new(&Authority::default(), &world(WORLD)).expect("a zone")
}

fn question(name: &str, kind: RecordType, edns: Option<u16>) -> Vec<u8> {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    let mut name = Name::from_ascii(name).expect("a name");
    name.set_fqdn(true);
    message.add_query(Query::query(name, kind));
    message.edns = edns.map(|bytes| {
        let mut edns = Edns::new();
        edns.set_max_payload(bytes);
        edns
    });
    message.to_vec().expect("encodes")
}

fn answer(wire: &Wire, request: &[u8]) -> Option<Message> {
    let mut out = Vec::new();
    wire.answer(request, true, 0, &mut out)?;
    Some(Message::from_vec(&out).expect("what is sent can be read"))
}

/// What is said, but for the order.
fn told<'a>(records: impl IntoIterator<Item = &'a Record>) -> BTreeSet<String> {
    records.into_iter().map(|record| record.to_string().to_ascii_lowercase()).collect()
}

/// The wire answers a question as the zone does, or not at all.
fn check(zone: &Zone, wire: &Wire, name: &str, kind: RecordType) {
    let request = question(name, kind, Some(1232));
    let mut whole = Name::from_ascii(name).expect("a name");
    whole.set_fqdn(true);
    let known = zone.lookup(&LowerName::new(&whole), kind);
    let Some(answer) = answer(wire, &request) else {
        assert!(matches!(known, Answer::Outside | Answer::Alias { .. }) || !TYPES.contains(&kind), "{name} {kind}");
        return;
    };
    assert_eq!((answer.metadata.id, answer.metadata.truncation), (4711, false));
    assert!(answer.metadata.authoritative && answer.metadata.recursion_desired && answer.metadata.recursion_available);
    assert_eq!(answer.queries[0].name().to_ascii(), whole.to_ascii(), "the letters of the question come back");
    assert_eq!(answer.edns.as_ref().map(Edns::max_payload), Some(1232));
    let code = answer.metadata.response_code;
    let parts = (told(&answer.answers), told(&answer.authorities), told(&answer.additionals));
    let expected = match known {
        Answer::Records { answers, additionals } => {
            (told(answers.iter().map(AsRef::as_ref)), told([]), told(additionals))
        }
        Answer::NoData { soa } | Answer::NoName { soa } => (told([]), told([soa]), told([])),
        other => panic!("{name} {kind} is answered although {other:?}"),
    };
    assert_eq!(parts, expected, "{name} {kind}");
    let whole = LowerName::new(&whole);
    let is_name = zone.nodes.contains_key(&whole) || zone.pods.at(&whole).is_some();
    assert_eq!(code, if is_name { ResponseCode::NoError } else { ResponseCode::NXDomain }, "{name} {kind}");
}

#[test]
fn the_wire_says_what_the_zone_says() {
    let zone = zone();
    let wire = Wire::new(&zone);
    let kinds = [TYPES.as_slice(), &[RecordType::TXT, RecordType::SOA, RecordType::ANY]].concat();
    let mut names: Vec<String> = zone.nodes.keys().map(ToString::to_string).collect();
    names.extend(names.clone().iter().map(|name| format!("No-Such.{name}")));
    names.extend(["10-42-0-2.shop.pod.cluster.local", "10-42-0-02.shop.pod.cluster.local"].map(str::to_owned));
    names.extend(["2.0.42.10.in-addr.arpa", "0.42.10.in-addr.arpa", "9.42.10.in-addr.arpa"].map(str::to_owned));
    names.extend(["example.com", "xcluster.local", "local", "."].map(str::to_owned));
    for name in &names {
        for kind in &kinds {
            check(&zone, &wire, name, *kind);
            check(&zone, &wire, &name.to_ascii_uppercase(), *kind);
        }
    }
    let told = answer(&wire, &question("_tcp._tcp.db.default.svc.cluster.local", RecordType::SRV, None));
    assert_eq!(told.map(|told| (told.answers.len(), told.additionals.len())), Some((3, 3)));
}

#[test]
fn addresses_take_turns() {
    let wire = Wire::new(&zone());
    let request = question("db.default.svc.cluster.local", RecordType::A, None);
    let first = |turn| {
        let mut out = Vec::new();
        wire.answer(&request, true, turn, &mut out).expect("an answer");
        let answer = Message::from_vec(&out).expect("readable");
        assert_eq!(told(&answer.answers).len(), 3);
        answer.answers[0].data.to_string()
    };
    assert_eq!([0, 1, 2, 3].map(first), ["10.42.0.4", "10.42.0.5", "10.42.0.6", "10.42.0.4"]);
}

#[test]
fn what_does_not_fit_is_cut() {
    let crowd: Vec<String> = (0..200).map(|last| format!("10.42.1.{last}")).collect();
    let world = world(&format!("service/crowd headless; slice/crowd t:1 | {}", crowd.join(" ")));
    let wire = Wire::new(&Zone::new(&Authority::default(), &world).expect("a zone"));
    for (edns, count) in [(None, 28), (Some(0), 28), (Some(1232), 73), (Some(65535), 73)] {
        let request = question("crowd.default.svc.cluster.local", RecordType::A, edns);
        for turn in [0, 150, 199] {
            let mut out = Vec::new();
            wire.answer(&request, true, turn, &mut out).expect("an answer");
            assert!(out.len() <= edns.map_or(512, |bytes| usize::from(bytes).clamp(512, 1232)), "{edns:?}");
            let answer = Message::from_vec(&out).expect("readable");
            let told = told(&answer.answers);
            // Beside EDNS there is a little less room.
            assert!(answer.metadata.truncation && told.len().abs_diff(count) <= 1, "{edns:?} {}", told.len());
        }
    }
    let places = question("_t._tcp.crowd.default.svc.cluster.local", RecordType::SRV, None);
    assert!(answer(&wire, &places).is_none(), "goes the long way");
}

#[test]
fn what_is_not_plain_goes_the_long_way() {
    let wire = Wire::new(&zone());
    let plain = question("web.default.svc.cluster.local", RecordType::A, None);
    let edns = question("web.default.svc.cluster.local", RecordType::A, Some(1232));
    let opt = plain.len();
    let odd = |base: &[u8], place: usize, byte: u8| {
        let mut odd = base.to_vec();
        odd[place] = byte;
        answer(&wire, &odd).is_none()
    };
    assert!(answer(&wire, &plain).is_some() && answer(&wire, &edns).is_some());
    assert!(odd(&plain, 2, 0x80), "an answer");
    assert!(odd(&plain, 2, 0x28), "an update");
    assert!(odd(&plain, 5, 2), "two questions");
    assert!(odd(&plain, 7, 1), "an answer in a question");
    assert!(odd(&plain, 12, 0xc0), "a pointer");
    assert!(odd(&plain, plain.len() - 1, 3), "another class");
    assert!(odd(&edns, opt + 6, 1), "another version of EDNS");
    assert!(odd(&edns, opt, 1), "an OPT record with a name");
    assert!(answer(&wire, &[&plain[..], &[0]].concat()).is_none(), "more than was said");
    assert!(answer(&wire, &plain[..plain.len() - 1]).is_none(), "less than was said");
    // "DNSSEC is fine with me" and options that nobody knows are read over.
    let mut options = edns.clone();
    options[opt + 7] = 0x80;
    options[opt + 10] = 6;
    options.extend([0xff, 0xf0, 0, 2, 1, 2]);
    assert!(answer(&wire, &options).is_some());
    *options.last_mut().expect("an option") = 0;
    options[opt + 14] = 200;
    assert!(answer(&wire, &options).is_none(), "an option longer than the message");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut out = Vec::new();
        let _ = Wire::new(&zone()).answer(&bytes, true, 0, &mut out);
    }

    #[test]
    fn no_change_of_a_question_makes_it_panic(place in 0usize..80, byte in any::<u8>(), cut in 0usize..90, turn in any::<usize>()) {
        let wire = Wire::new(&zone());
        let mut request = question("_http._tcp.web.default.svc.cluster.local", RecordType::SRV, Some(900));
        if let Some(there) = request.get_mut(place) {
            *there = byte;
        }
        request.truncate(cut);
        let mut out = Vec::new();
        if wire.answer(&request, false, turn, &mut out).is_some() {
            prop_assert!(out.len() <= UDP_BYTES_MAX && Message::from_vec(&out).is_ok());
        }
    }
}
