//! Load: connections that ask one after the other until told to stop, and count what they were answered.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Load that is under way.
pub struct Load {
    stop: Arc<AtomicBool>,
    worker: JoinHandle<Report>,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How many answers had each status.
    pub answers: BTreeMap<u16, u64>,
    /// What answers with another status than 200 say, a few of them.
    pub refusals: Vec<String>,
    /// What went wrong without an answer.
    pub failures: Vec<String>,
    /// Distinct bodies of good answers, a few of them.
    pub bodies: BTreeMap<String, u64>,
    /// How long each answer took, in microseconds, in no order.
    pub micros: Vec<u32>,
}

// === impl Load ===

impl Load {
    /// Starts `connections` that each keep asking for `path` of `host`.
    pub fn start(address: SocketAddr, host: &str, path: &str, connections: usize) -> Self {
        Self::start_paced(address, host, path, connections, Duration::ZERO)
    }

    /// The same, with a pause after each answer.
    pub fn start_paced(address: SocketAddr, host: &str, path: &str, connections: usize, pause: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (flag, host, path) = (stop.clone(), host.to_owned(), path.to_owned());
        let worker = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.unwrap_or_else(|error| panic!("cannot start a runtime: {error}"));
            runtime.block_on(async {
                let mut asking = tokio::task::JoinSet::new();
                for _ in 0..connections {
                    asking.spawn(connection(address, host.clone(), path.clone(), pause, flag.clone()));
                }
                let mut report = Report::default();
                while let Some(one) = asking.join_next().await {
                    report.add(one.unwrap_or_default());
                }
                report
            })
        });
        Self { stop, worker }
    }

    /// Stops and gives the report.
    pub fn stop(self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        self.worker.join().unwrap_or_else(|_| panic!("the load panicked"))
    }
}

async fn connection(address: SocketAddr, host: String, path: String, pause: Duration, stop: Arc<AtomicBool>) -> Report {
    let mut report = Report::default();
    let mut sender: Option<http1::SendRequest<Empty<Bytes>>> = None;
    while !stop.load(Ordering::Relaxed) {
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        let asked = Instant::now();
        match ask(&mut sender, address, &host, &path).await {
            Ok((status, body)) => {
                report.micros.push(u32::try_from(asked.elapsed().as_micros()).unwrap_or(u32::MAX));
                *report.answers.entry(status).or_default() += 1;
                if status != 200 && report.refusals.len() < 64 {
                    report.refusals.push(body.trim().to_owned());
                }
                if report.bodies.len() < 64 || report.bodies.contains_key(&body) {
                    *report.bodies.entry(body).or_default() += 1;
                }
            }
            Err(error) => {
                sender = None;
                report.failures.push(error.to_string());
                if report.failures.len() > 1000 {
                    break;
                }
            }
        }
    }
    report
}

async fn ask(
    sender: &mut Option<http1::SendRequest<Empty<Bytes>>>,
    address: SocketAddr,
    host: &str,
    path: &str,
) -> anyhow::Result<(u16, String)> {
    // A kept connection that the server has closed in between is no failure: nothing was sent on it.
    if let Some(open) = sender.as_mut()
        && open.ready().await.is_err()
    {
        *sender = None;
    }
    let open = match sender {
        Some(open) => open,
        None => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (fresh, driver) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(driver);
            sender.insert(fresh)
        }
    };
    let request = Request::builder().uri(path).header("host", host).body(Empty::new())?;
    let answer = open.send_request(request).await?;
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

// === impl Report ===

impl Report {
    /// All answers.
    pub fn total(&self) -> u64 {
        self.answers.values().sum()
    }

    /// Answers with another status than 200, and requests without an answer.
    pub fn dropped(&self) -> u64 {
        self.total() - self.answers.get(&200).copied().unwrap_or(0) + self.failures.len() as u64
    }

    /// So many of a thousand answers took no longer than this, in microseconds.
    pub fn quantile(&self, of_thousand: usize) -> u32 {
        crate::measure::quantile(&self.micros, of_thousand)
    }

    /// Takes up another report.
    pub fn add(&mut self, other: Self) {
        for (status, count) in other.answers {
            *self.answers.entry(status).or_default() += count;
        }
        for (body, count) in other.bodies {
            *self.bodies.entry(body).or_default() += count;
        }
        self.refusals.extend(other.refusals);
        self.failures.extend(other.failures);
        self.micros.extend(other.micros);
    }
}
