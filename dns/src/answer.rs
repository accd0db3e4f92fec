//! One question, one answer, on the wire.

use hickory_proto::op::{Edns, Header, HeaderCounts, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, RecordType};
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;

use crate::reply::Reply;
use crate::resolver::Resolver;

/// The largest answer over UDP: what passes every link unfragmented.
const UDP_BYTES_MAX: u16 = 1232;

pub(crate) struct Answerer {
    resolver: Resolver,
}

// === impl Answerer ===

impl Answerer {
    pub(crate) fn new(resolver: Resolver) -> Self {
        Self { resolver }
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
        let is_recursive = request.metadata.recursion_desired;
        self.resolver.reply(query.original().name(), query.query_type(), is_recursive).await
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
        metadata.recursion_available = self.resolver.is_recursive();
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
