//! One question, one answer, on the wire.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::Guard;
use hickory_proto::op::{Edns, Header, HeaderCounts, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, RecordType};
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;

use crate::asker::{Asker, Neighbours};
use crate::reply::{Reply, draw};
use crate::resolver::Resolver;
use crate::tables::Tables;
use crate::zone::View;
use crate::zone::wire::UDP_BYTES_MAX;

/// What answers at one listener.
#[derive(Clone)]
pub(crate) struct Answerer {
    resolver: Resolver,
    neighbours: Neighbours,
    view: View,
}

// === impl Answerer ===

impl Answerer {
    pub(crate) fn new(resolver: Resolver, neighbours: Neighbours, view: View) -> Self {
        Self { resolver, neighbours, view }
    }

    pub(crate) fn asker(&self, source: SocketAddr) -> Asker {
        self.neighbours.asker(source, self.view)
    }

    /// What was published last.
    pub(crate) fn tables(&self) -> Guard<Arc<Tables>> {
        self.resolver.tables()
    }

    /// Writes the answer if it is ready for the wire; else what was written means nothing.
    pub(crate) fn answer_wire(&self, tables: &Tables, asker: Asker, request: &[u8], out: &mut Vec<u8>) -> bool {
        let is_recursive = self.is_recursive(asker);
        tables.seen_by(asker.view).wire.answer(request, is_recursive, draw(), out).is_some()
    }

    fn is_recursive(&self, asker: Asker) -> bool {
        asker.is_served && self.resolver.has_forwarder()
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
        let asker = self.asker(request.src());
        let is_served = asker.is_served && request.metadata.recursion_desired;
        let asker = Asker { is_served, ..asker };
        self.resolver.reply(asker, query.original().name(), query.query_type()).await
    }
}

#[async_trait::async_trait]
impl RequestHandler for Answerer {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut out: R) -> ResponseInfo {
        let edns = request.edns.as_ref().map(|asked| {
            let mut edns = Edns::new();
            edns.set_max_payload(asked.max_payload().clamp(512, UDP_BYTES_MAX as u16));
            edns.set_version(0);
            edns
        });
        let reply = match &request.edns {
            Some(asked) if asked.version() > 0 => Reply::no(ResponseCode::BADVERS),
            _ => self.reply(request).await,
        };
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.authoritative = reply.authoritative;
        metadata.recursion_available = self.is_recursive(self.asker(request.src()));
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
