//! The access log: one line of JSON per request, written when its answer has ended.
//!
//! | member | meaning |
//! |---|---|
//! | `time` | when the request came, in UTC (RFC 3339) |
//! | `client` | the client's address: behind trusted proxies the one they name |
//! | `scheme`, `version` | `http` or `https`; `1.0`, `1.1` or `2` |
//! | `method`, `host`, `path` | what was asked for; without the query, which may hold secrets |
//! | `status` | what was answered |
//! | `backend` | the service and port, such as `shop/web:80`; absent where no rule answers |
//! | `bytesIn`, `bytesOut` | how much of the two bodies went through |
//! | `durationMs` | from the request's head to the end of the answer |
//! | `userAgent` | what the client calls itself; absent where it does not |
//! | `aborted` | `true` where the answer broke off, or the client went away; absent otherwise |
//!
//! Lines that cannot be written as fast as they come are left out, and counted in the program's own log: a full disk is
//! not to stop requests.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use http::{Method, StatusCode, Version, header};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::fs::OpenOptions;
use tokio::io::{AsyncWrite, AsyncWriteExt, BufWriter};
use tokio::sync::mpsc;

/// Lines that wait to be written: a second of a busy edge.
const LINES_MAX: usize = 16 * 1024;

/// Where the lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// To the end of a file.
    File(PathBuf),
    /// To the standard output.
    Stdout,
}

/// Takes records of requests.
#[derive(Clone)]
pub(crate) struct Recorder {
    lines: mpsc::Sender<String>,
    left_out: Arc<AtomicU64>,
}

/// Writes what the recorders take, for as long as there is one.
pub(crate) struct Scribe {
    lines: mpsc::Receiver<String>,
    left_out: Arc<AtomicU64>,
    to: Box<dyn AsyncWrite + Send + Unpin>,
}

/// What is known of a request. It is written when this is dropped.
pub(crate) struct Record {
    recorder: Recorder,
    started: Instant,
    time: Timestamp,
    pub(crate) client: IpAddr,
    pub(crate) scheme: &'static str,
    version: Version,
    method: Method,
    pub(crate) host: String,
    path: String,
    user_agent: Option<String>,
    pub(crate) backend: Option<String>,
    pub(crate) status: StatusCode,
    pub(crate) received: Arc<AtomicU64>,
    pub(crate) sent: u64,
    pub(crate) is_whole: bool,
}

/// Opens the log.
pub(crate) async fn open(log: &AccessLog) -> io::Result<(Recorder, Scribe)> {
    let to: Box<dyn AsyncWrite + Send + Unpin> = match log {
        AccessLog::File(path) => Box::new(OpenOptions::new().create(true).append(true).open(path).await?),
        AccessLog::Stdout => Box::new(tokio::io::stdout()),
    };
    let (sender, lines) = mpsc::channel(LINES_MAX);
    let left_out = Arc::<AtomicU64>::default();
    Ok((Recorder { lines: sender, left_out: left_out.clone() }, Scribe { lines, left_out, to }))
}

// === impl AccessLog ===

impl From<&Path> for AccessLog {
    /// A path, or `-` for the standard output.
    fn from(path: &Path) -> Self {
        if path == Path::new("-") { Self::Stdout } else { Self::File(path.to_owned()) }
    }
}

// === impl Recorder ===

impl Recorder {
    /// A request has come.
    pub(crate) fn begin<B>(&self, request: &http::Request<B>, client: IpAddr, scheme: &'static str) -> Record {
        let user_agent = request.headers().get(header::USER_AGENT);
        Record {
            recorder: self.clone(),
            started: Instant::now(),
            time: Timestamp::now(),
            client,
            scheme,
            version: request.version(),
            method: request.method().clone(),
            host: String::new(),
            path: request.uri().path().to_owned(),
            user_agent: user_agent.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()),
            backend: None,
            status: StatusCode::OK,
            received: Arc::default(),
            sent: 0,
            is_whole: false,
        }
    }
}

// === impl Scribe ===

impl Scribe {
    pub(crate) async fn run(self) {
        let Self { mut lines, left_out, to } = self;
        let mut to = BufWriter::new(to);
        let mut batch = Vec::new();
        while lines.recv_many(&mut batch, LINES_MAX).await > 0 {
            if let Err(error) = write(&mut to, &mut batch).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "the access log is not written");
            }
            let left_out = left_out.swap(0, Ordering::Relaxed);
            if left_out > 0 {
                tracing::warn!(left_out, "lines are missing in the access log");
            }
        }
    }
}

async fn write(to: &mut (impl AsyncWrite + Unpin), batch: &mut Vec<String>) -> io::Result<()> {
    for line in batch.drain(..) {
        to.write_all(line.as_bytes()).await?;
    }
    to.flush().await
}

// === impl Record ===

impl Record {
    fn line(&self) -> String {
        let version = match self.version {
            Version::HTTP_10 => "1.0",
            Version::HTTP_2 => "2",
            _ => "1.1",
        };
        let mut line = json!({
            "time": format!("{:.3}", self.time),
            "client": self.client.to_string(),
            "scheme": self.scheme,
            "version": version,
            "method": self.method.as_str(),
            "host": self.host,
            "path": self.path,
            "status": self.status.as_u16(),
            "bytesIn": self.received.load(Ordering::Relaxed),
            "bytesOut": self.sent,
            "durationMs": (self.started.elapsed().as_secs_f64() * 1e6).round() / 1e3,
        });
        let mut also = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                line[name] = value;
            }
        };
        also("backend", self.backend.clone().map(Value::from));
        also("userAgent", self.user_agent.clone().map(Value::from));
        also("aborted", (!self.is_whole).then_some(Value::from(true)));
        format!("{line}\n")
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.recorder.lines.try_send(self.line()).is_err() {
            self.recorder.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }
}
