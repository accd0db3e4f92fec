//! Questions that are not the cluster's, put to somebody else and remembered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, Record, RecordType};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use tokio::sync::Semaphore;

/// Questions under way at once. Each holds a task and a socket; beyond this the asker is told to try again.
const IN_FLIGHT_MAX: usize = 1000;
/// Answers remembered: a few megabytes.
const CACHE_ANSWERS: u64 = 8192;
/// How long an upstream may take, twice, before the asker's own patience (usually 5 s) ends.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The longest that an answer is remembered, whatever its owner says.
const REMEMBERED_MAX: Duration = Duration::from_secs(3600);
/// The same for a no: who made a name just now wants to see it.
const NO_REMEMBERED_MAX: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub(crate) struct Forwarder {
    resolver: TokioResolver,
    /// Each server by itself, for when one of them says that it cannot and another could.
    each: Arc<[TokioResolver]>,
    permits: Arc<Semaphore>,
}

/// A no, as the upstream said it or as it must be said in its place.
#[derive(Debug)]
pub(crate) struct Negative {
    pub(crate) code: ResponseCode,
    pub(crate) soa: Option<Record>,
}

// === impl Forwarder ===

impl Forwarder {
    /// None: there is nobody to ask.
    pub(crate) fn new(upstreams: &[SocketAddr]) -> Result<Option<Self>, NetError> {
        if upstreams.is_empty() {
            return Ok(None);
        }
        let each: Vec<TokioResolver> = match upstreams {
            [_] => Vec::new(),
            several => several.iter().map(|one| resolver(&[*one])).collect::<Result<_, _>>()?,
        };
        let permits = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
        Ok(Some(Self { resolver: resolver(upstreams)?, each: each.into(), permits }))
    }

    pub(crate) async fn lookup(&self, name: &Name, wanted: RecordType) -> Result<Lookup, Negative> {
        let Ok(_permit) = self.permits.try_acquire() else { return Err(Negative::failure()) };
        let mut result = self.resolver.lookup(name.clone(), wanted).await;
        if result.as_ref().is_err_and(is_inability) {
            let mut answers: FuturesUnordered<_> =
                self.each.iter().map(|one| one.lookup(name.clone(), wanted)).collect();
            while let Some(answer) = answers.next().await {
                if answer.is_ok() || answer.as_ref().is_err_and(is_no) {
                    result = answer;
                    break;
                }
            }
        }
        result.map_err(|error| match error {
            NetError::Dns(DnsError::NoRecordsFound(no)) => {
                Negative { code: no.response_code, soa: no.soa.map(|soa| soa.into_record_of_rdata()) }
            }
            NetError::Dns(DnsError::ResponseCode(code)) => Negative { code, soa: None },
            error => {
                tracing::debug!(%name, error = &error as &dyn std::error::Error, "upstream does not answer");
                Negative::failure()
            }
        })
    }
}

fn resolver(upstreams: &[SocketAddr]) -> Result<TokioResolver, NetError> {
    let config = ResolverConfig::from_name_servers(upstreams.iter().map(name_server).collect());
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let options = builder.options_mut();
    options.use_hosts_file = ResolveHosts::Never;
    options.cache_size = CACHE_ANSWERS;
    options.timeout = TIMEOUT;
    options.positive_max_ttl = Some(REMEMBERED_MAX);
    options.negative_max_ttl = Some(NO_REMEMBERED_MAX);
    options.try_tcp_on_error = true;
    // The asker gets the chain of aliases, not only its end.
    options.preserve_intermediates = true;
    builder.build()
}

/// Whether a server said that there is no such thing.
fn is_no(error: &NetError) -> bool {
    matches!(error, NetError::Dns(DnsError::NoRecordsFound(_))) && !is_inability(error)
}

/// Whether a server said that it cannot or will not, rather than what there is.
fn is_inability(error: &NetError) -> bool {
    let code = match error {
        NetError::Dns(DnsError::ResponseCode(code)) => *code,
        NetError::Dns(DnsError::NoRecordsFound(no)) => no.response_code,
        _ => return false,
    };
    matches!(code, ResponseCode::ServFail | ResponseCode::Refused | ResponseCode::NotImp)
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let at = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    NameServerConfig::new(address.ip(), true, vec![at(ConnectionConfig::udp()), at(ConnectionConfig::tcp())])
}

// === impl Negative ===

impl Negative {
    fn failure() -> Self {
        Self { code: ResponseCode::ServFail, soa: None }
    }
}
