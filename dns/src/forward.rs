//! Questions that are not the cluster's, put to somebody else and remembered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

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

#[derive(Clone)]
pub(crate) struct Forwarder {
    resolver: TokioResolver,
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
        let servers = upstreams.iter().map(name_server).collect();
        let config = ResolverConfig::from_name_servers(servers);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let options = builder.options_mut();
        options.use_hosts_file = ResolveHosts::Never;
        options.cache_size = CACHE_ANSWERS;
        options.timeout = TIMEOUT;
        options.try_tcp_on_error = true;
        // The asker gets the chain of aliases, not only its end.
        options.preserve_intermediates = true;
        Ok(Some(Self { resolver: builder.build()?, permits: Arc::new(Semaphore::new(IN_FLIGHT_MAX)) }))
    }

    pub(crate) async fn lookup(&self, name: &Name, wanted: RecordType) -> Result<Lookup, Negative> {
        let Ok(_permit) = self.permits.try_acquire() else { return Err(Negative::failure()) };
        self.resolver.lookup(name.clone(), wanted).await.map_err(|error| match error {
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
