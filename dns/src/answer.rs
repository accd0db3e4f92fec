//! One question, one answer.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use arc_swap::ArcSwap;
use hickory_proto::op::{Edns, Header, HeaderCounts, LowerQuery, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, LowerName, Name, Record, RecordType};
use hickory_resolver::lookup::Lookup;
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;

use crate::forward::Forwarder;
use crate::zone::{Answer, Zone};

/// The largest answer over UDP: what passes every link unfragmented.
const UDP_BYTES_MAX: u16 = 1232;
/// How many aliases may point at each other.
const ALIASES_MAX: usize = 8;

pub(crate) struct Answerer {
    zone: Arc<ArcSwap<Zone>>,
    forwarder: Option<Forwarder>,
}

/// What is sent back, beside the question.
struct Reply {
    code: ResponseCode,
    /// Whether it is the cluster itself that says so.
    authoritative: bool,
    answers: Vec<Record>,
    soa: Option<Record>,
    additionals: Vec<Record>,
}

// === impl Answerer ===

impl Answerer {
    pub(crate) fn new(zone: Arc<ArcSwap<Zone>>, forwarder: Option<Forwarder>) -> Self {
        Self { zone, forwarder }
    }

    async fn reply(&self, request: &Request) -> Reply {
        if request.metadata.op_code != OpCode::Query {
            return Reply::no(ResponseCode::NotImp);
        }
        let [query] = request.queries.queries() else { return Reply::no(ResponseCode::FormErr) };
        let is_transfer = matches!(query.query_type(), RecordType::AXFR | RecordType::IXFR);
        if query.query_class() != DNSClass::IN || is_transfer {
            return Reply::no(ResponseCode::Refused);
        }
        let zone = self.zone.load_full();
        match zone.lookup(query.name(), query.query_type()) {
            Answer::Outside => self.reply_from_outside(query, request.metadata.recursion_desired).await,
            Answer::Alias { record, target } => self.follow(&zone, record, target, query).await,
            known => Reply::from_zone(known),
        }
        .asked_as(query.original().name())
    }

    async fn reply_from_outside(&self, query: &LowerQuery, is_wanted: bool) -> Reply {
        match &self.forwarder {
            Some(forwarder) if is_wanted => match forwarder.lookup(query.original().name(), query.query_type()).await {
                Ok(lookup) => Reply::from_upstream(&lookup),
                Err(no) => Reply { soa: no.soa, ..Reply::no(no.code) },
            },
            _ => Reply::no(ResponseCode::Refused),
        }
    }

    /// The alias, and what it leads to as far as that can be told.
    async fn follow(&self, zone: &Zone, record: &Record, target: &Name, query: &LowerQuery) -> Reply {
        let mut reply =
            Reply { answers: vec![record.clone()], authoritative: true, ..Reply::no(ResponseCode::NoError) };
        let mut target = target.clone();
        for _ in 0..ALIASES_MAX {
            match zone.lookup(&LowerName::new(&target), query.query_type()) {
                Answer::Alias { record, target: next } => {
                    reply.answers.push(record.clone());
                    target = next.clone();
                }
                Answer::Outside => {
                    let Some(forwarder) = &self.forwarder else { return reply };
                    if let Ok(lookup) = forwarder.lookup(&target, query.query_type()).await {
                        reply.answers.extend_from_slice(lookup.answers());
                    }
                    return reply;
                }
                known => return reply.and(Reply::from_zone(known)),
            }
        }
        reply
    }
}

#[async_trait::async_trait]
impl RequestHandler for Answerer {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut out: R) -> ResponseInfo {
        let edns = request.edns.as_ref().map(|asked| {
            let mut edns = Edns::new();
            edns.set_max_payload(asked.max_payload().clamp(512, UDP_BYTES_MAX));
            edns.set_version(0);
            edns
        });
        let reply = match &request.edns {
            Some(asked) if asked.version() > 0 => Reply::no(ResponseCode::BADVERS),
            _ => self.reply(request).await,
        };
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.authoritative = reply.authoritative;
        metadata.recursion_available = self.forwarder.is_some();
        metadata.response_code = reply.code;
        let mut builder = MessageResponseBuilder::from_message_request(request);
        if let Some(edns) = &edns {
            builder.edns(edns);
        }
        let response = builder.build(metadata, &reply.answers, [], &reply.soa, &reply.additionals);
        match out.send_response(response).await {
            Ok(info) => info,
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "the answer could not be sent");
                metadata.response_code = ResponseCode::ServFail;
                ResponseInfo::from(Header { metadata, counts: HeaderCounts::default() })
            }
        }
    }
}

// === impl Reply ===

impl Reply {
    fn no(code: ResponseCode) -> Self {
        Self { code, authoritative: false, answers: Vec::new(), soa: None, additionals: Vec::new() }
    }

    fn from_zone(answer: Answer<'_>) -> Self {
        let yes = Self { authoritative: true, ..Self::no(ResponseCode::NoError) };
        match answer {
            Answer::Records { mut answers, additionals } => {
                // Who takes the first address should not always get the same one.
                let turn = draw() % answers.len();
                answers.rotate_left(turn);
                let answers = answers.into_iter().cloned().collect();
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
            if record.name == *name {
                record.name = name.clone();
            }
        }
        self
    }
}

/// A number that differs from question to question.
fn draw() -> usize {
    thread_local!(static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(0)));
    let next = STATE.get().wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
    STATE.set(next);
    (next >> 33) as usize
}
