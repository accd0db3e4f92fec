//! What an operator says about the ingress.

use std::path::PathBuf;

use clap::Args;
use ipnet::IpNet;
use tokio::net::TcpListener;

#[derive(Debug, Clone, Args)]
pub(crate) struct Edge {
    /// A network of proxies in front of the ingress, whose word is taken for who a client is
    #[arg(
        long = "ingress-trusted-proxies",
        env = "CORACLE_INGRESS_TRUSTED_PROXIES",
        value_delimiter = ',',
        value_name = "CIDR"
    )]
    trusted: Vec<IpNet>,
    /// Connections of trusted proxies begin with a PROXY header (version 1 or 2)
    #[arg(long = "ingress-proxy-protocol", env = "CORACLE_INGRESS_PROXY_PROTOCOL", requires = "trusted")]
    proxy_protocol: bool,
    /// Tell components who the client is by `Forwarded` (RFC 7239) too
    #[arg(long = "ingress-forwarded", env = "CORACLE_INGRESS_FORWARDED")]
    forwarded: bool,
    /// Write a line of JSON per request to this file; `-` is the standard output
    #[arg(long = "ingress-access-log", env = "CORACLE_INGRESS_ACCESS_LOG", value_name = "FILE")]
    access_log: Option<PathBuf>,
}

// === impl Edge ===

impl Edge {
    /// An ingress on these listeners.
    pub(crate) fn config(&self, http: TcpListener, https: TcpListener) -> ingress::Config {
        ingress::Config {
            http: Some(http),
            https: Some(https),
            trusted: self.trusted.clone(),
            proxy_protocol: self.proxy_protocol,
            forwarded: self.forwarded,
            access_log: self.access_log.as_deref().map(ingress::AccessLog::from),
            limits: ingress::Limits::default(),
        }
    }
}
