//! What benchmarks share: others to measure beside, and what to make of the numbers.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use bytes::Bytes;
use http_body_util::Full;
use hyper_util::rt::TokioIo;

/// A program that runs no longer than this value lives, and says nothing.
pub struct Running(Child);

// === impl Running ===

impl Running {
    /// Starts it.
    pub fn start(command: &mut Command) -> anyhow::Result<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Ok(Self(child.with_context(|| format!("cannot start {}", command.get_program().display()))?))
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The one in the middle.
pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// So many of a thousand of these are no larger than this.
pub fn quantile(values: &[u32], of_thousand: usize) -> u32 {
    let mut values = values.to_vec();
    values.sort_unstable();
    let at = (values.len() * of_thousand / 1_000).min(values.len().saturating_sub(1));
    values.get(at).copied().unwrap_or(0)
}

/// Processor time that a process has used so far, in seconds.
pub fn processor_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: f64 = fields.get(11..13).context("no times")?.iter().filter_map(|field| field.parse::<f64>().ok()).sum();
    // Linux has told user space a hundred ticks a second on every architecture for decades.
    Ok(ticks / 100.0)
}

/// An address of this machine that nobody listens at.
pub fn free() -> anyhow::Result<SocketAddr> {
    Ok(std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// The floor under an answer: that of `hello`, from a server that does nothing else. Returns only with an error.
pub fn bare_hyper(address: SocketAddr) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(address).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let answer = hyper::service::service_fn(|_| async {
                let body = Full::new(Bytes::from_static(b"Hello, world!\nI am hello-0123456789-01234.\n"));
                anyhow::Ok(http::Response::new(body))
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
        }
    })
}
