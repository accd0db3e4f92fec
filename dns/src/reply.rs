//! What is said to a question, whoever asks it.

use std::borrow::Cow;
use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{LowerName, Name, Record, RecordType};
use hickory_resolver::lookup::Lookup;

use crate::forward::{Forwarder, Negative};
use crate::zone::{Answer, Zone};

/// How many aliases may point at each other.
const ALIASES_MAX: usize = 8;

/// What is sent back, beside the question.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) code: ResponseCode,
    /// Whether it is the cluster itself that says so.
    pub(crate) authoritative: bool,
    pub(crate) answers: Vec<Record>,
    pub(crate) soa: Option<Record>,
    pub(crate) additionals: Vec<Record>,
}

/// The reply of the zone, and of the forwarder for what is not in it.
pub(crate) async fn reply(zone: &Zone, forwarder: Option<&Forwarder>, name: &Name, wanted: RecordType) -> Reply {
    match zone.lookup(&LowerName::new(name), wanted) {
        Answer::Outside => from_outside(forwarder, name, wanted).await,
        Answer::Alias { record, target } => follow(zone, forwarder, record, target, wanted).await,
        known => Reply::from_zone(known),
    }
    .asked_as(name)
}

/// The reply of the forwarder alone.
pub(crate) async fn from_outside(forwarder: Option<&Forwarder>, name: &Name, wanted: RecordType) -> Reply {
    let Some(forwarder) = forwarder else { return Reply::no(ResponseCode::Refused) };
    match forwarder.lookup(name, wanted).await {
        Ok(lookup) => Reply::from_upstream(&lookup),
        Err(no) => Reply::from_negative(no),
    }
}

/// The alias, and what it leads to as far as that can be told.
async fn follow(
    zone: &Zone,
    forwarder: Option<&Forwarder>,
    record: &Record,
    target: &Name,
    wanted: RecordType,
) -> Reply {
    let mut reply = Reply { answers: vec![record.clone()], authoritative: true, ..Reply::no(ResponseCode::NoError) };
    let mut target = target.clone();
    for _ in 0..ALIASES_MAX {
        match zone.lookup(&LowerName::new(&target), wanted) {
            Answer::Alias { record, target: next } => {
                reply.answers.push(record.clone());
                target = next.clone();
            }
            Answer::Outside => {
                let Some(forwarder) = forwarder else { return reply };
                return match forwarder.lookup(&target, wanted).await {
                    Ok(lookup) => {
                        reply.answers.extend_from_slice(lookup.answers());
                        reply
                    }
                    Err(no) => reply.and(Reply::from_negative(no)),
                };
            }
            known => return reply.and(Reply::from_zone(known)),
        }
    }
    // They point at each other in a circle.
    Reply { code: ResponseCode::ServFail, ..reply }
}

// === impl Reply ===

impl Reply {
    pub(crate) fn no(code: ResponseCode) -> Self {
        Self { code, authoritative: false, answers: Vec::new(), soa: None, additionals: Vec::new() }
    }

    fn from_zone(answer: Answer<'_>) -> Self {
        let yes = Self { authoritative: true, ..Self::no(ResponseCode::NoError) };
        match answer {
            Answer::Records { mut answers, additionals } => {
                // Who takes the first address should not always get the same one.
                let turn = draw() % answers.len();
                answers.rotate_left(turn);
                let answers = answers.into_iter().map(Cow::into_owned).collect();
                Self { answers, additionals: additionals.to_vec(), ..yes }
            }
            Answer::Alias { record, .. } => Self { answers: vec![record.clone()], ..yes },
            Answer::NoData { soa } => Self { soa: Some(soa.clone()), ..yes },
            Answer::NoName { soa } => Self { code: ResponseCode::NXDomain, soa: Some(soa.clone()), ..yes },
            Answer::Outside => Self::no(ResponseCode::Refused),
        }
    }

    fn from_upstream(lookup: &Lookup) -> Self {
        Self { answers: lookup.answers().to_vec(), ..Self::no(ResponseCode::NoError) }
    }

    fn from_negative(no: Negative) -> Self {
        Self { soa: no.soa, ..Self::no(no.code) }
    }

    fn and(mut self, more: Self) -> Self {
        self.code = more.code;
        self.answers.extend(more.answers);
        self.soa = more.soa;
        self.additionals = more.additionals;
        self
    }

    /// The reply with the name in the letters the asker used: some compare them to tell a forged answer.
    fn asked_as(mut self, name: &Name) -> Self {
        for record in &mut self.answers {
            // A wildcard is not told: its records are those of the name that was asked for.
            if record.name == *name || record.name.is_wildcard() {
                record.name = name.clone();
            }
        }
        self
    }
}

/// A number that differs from question to question.
pub(crate) fn draw() -> usize {
    thread_local!(static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(0)));
    let next = STATE.get().wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
    STATE.set(next);
    (next >> 33) as usize
}
