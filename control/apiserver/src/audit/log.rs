//! Where the lines go: to a file that is put aside when it is large, or to the standard output.
//!
//! One hand writes. Whoever has a line hands it over without waiting; a line that finds no room is counted instead.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::counter::Counter;
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncWriteExt, BufWriter, Stdout};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Where the lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditLog {
    /// To the end of a file, which is put aside when it is large.
    File {
        /// The file; those put aside lie beside it, with a number.
        path: PathBuf,
        /// As large as a file grows.
        bytes_max: u64,
        /// How many that were put aside are kept.
        kept_max: u32,
    },
    /// To the standard output.
    Stdout,
}

/// Takes lines.
#[derive(Clone)]
pub(crate) struct Recorder {
    lines: mpsc::Sender<Vec<u8>>,
    left_out: Arc<AtomicU64>,
    counts: Counts,
}

/// What is counted.
#[derive(Clone, Default)]
pub(crate) struct Counts {
    /// Lines taken.
    pub(crate) taken: Counter,
    /// Lines that found no room, or no disk.
    pub(crate) lost: Counter,
}

/// Writes what the recorders take, for as long as there is one.
pub(crate) struct Scribe {
    lines: mpsc::Receiver<Vec<u8>>,
    left_out: Arc<AtomicU64>,
    counts: Counts,
    to: Target,
}

enum Target {
    File { file: BufWriter<File>, path: PathBuf, written: u64, bytes_max: u64, kept_max: u32 },
    Stdout(BufWriter<Stdout>),
}

/// Lines that wait to be written: a second of a busy API, some MiB.
const LINES_MAX: usize = 4096;
/// As Kubernetes has it: a file of so many bytes is put aside, and so many of those are kept.
const FILE_BYTES_MAX: u64 = 100 * 1024 * 1024;
const FILES_KEPT: u32 = 10;

/// Opens the log.
pub(crate) async fn open(log: &AuditLog, counts: Counts) -> io::Result<(Recorder, Scribe)> {
    let to = match log {
        AuditLog::Stdout => Target::Stdout(BufWriter::new(tokio::io::stdout())),
        AuditLog::File { path, bytes_max, kept_max } => {
            let file = file(path).await?;
            let written = file.metadata().await?.len();
            let (path, bytes_max, kept_max) = (path.clone(), *bytes_max, *kept_max);
            Target::File { file: BufWriter::new(file), path, written, bytes_max, kept_max }
        }
    };
    let (sender, lines) = mpsc::channel(LINES_MAX);
    let left_out = Arc::<AtomicU64>::default();
    let recorder = Recorder { lines: sender, left_out: left_out.clone(), counts: counts.clone() };
    Ok((recorder, Scribe { lines, left_out, counts, to }))
}

/// Only its owner reads who did what.
async fn file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600).open(path).await
}

// === impl AuditLog ===

impl From<&Path> for AuditLog {
    /// A path, or `-` for the standard output.
    fn from(path: &Path) -> Self {
        if path == Path::new("-") {
            return Self::Stdout;
        }
        Self::File { path: path.to_owned(), bytes_max: FILE_BYTES_MAX, kept_max: FILES_KEPT }
    }
}

// === impl Recorder ===

impl Recorder {
    /// Hands a line over, if there is room for it.
    pub(super) fn take(&self, line: Vec<u8>) {
        if self.lines.try_send(line).is_ok() {
            self.counts.taken.inc();
        } else {
            self.counts.lost.inc();
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }
}

// === impl Scribe ===

impl Scribe {
    /// Writes until it is told that nothing more comes, and what has come by then.
    pub(crate) async fn run(mut self, until: CancellationToken) {
        let mut batch = Vec::new();
        loop {
            let come = tokio::select! {
                biased;
                come = self.lines.recv_many(&mut batch, LINES_MAX) => come,
                () = until.cancelled(), if !self.lines.is_closed() => {
                    self.lines.close();
                    continue;
                }
            };
            if come == 0 {
                return;
            }
            let lines = batch.len() as u64;
            if let Err(error) = self.to.write(&mut batch).await {
                batch.clear();
                self.counts.lost.inc_by(lines);
                warn!(error = &error as &dyn std::error::Error, lines, "the audit log is not written");
            }
            let left_out = self.left_out.swap(0, Ordering::Relaxed);
            if left_out > 0 {
                warn!(left_out, "lines are missing in the audit log");
            }
        }
    }
}

// === impl Target ===

impl Target {
    async fn write(&mut self, batch: &mut Vec<Vec<u8>>) -> io::Result<()> {
        for line in batch.drain(..) {
            match self {
                Self::Stdout(out) => out.write_all(&line).await?,
                Self::File { file, written, .. } => {
                    file.write_all(&line).await?;
                    *written += line.len() as u64;
                    self.put_aside().await?;
                }
            }
        }
        match self {
            Self::Stdout(out) => out.flush().await,
            Self::File { file, .. } => file.flush().await,
        }
    }

    /// Begins a new file if this one is large: `audit.log` becomes `audit.log.1`, and so on.
    async fn put_aside(&mut self) -> io::Result<()> {
        let Self::File { file, path, written, bytes_max, kept_max } = self else { return Ok(()) };
        if *written < *bytes_max {
            return Ok(());
        }
        file.flush().await?;
        for number in (1..*kept_max).rev() {
            match tokio::fs::rename(numbered(path, number), numbered(path, number + 1)).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if *kept_max > 0 {
            tokio::fs::rename(&*path, numbered(path, 1)).await?;
        } else {
            tokio::fs::remove_file(&*path).await?;
        }
        *file = BufWriter::new(self::file(path).await?);
        *written = 0;
        Ok(())
    }
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_large_file_is_put_aside_and_the_oldest_goes() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("audit.log");
        let log = AuditLog::File { path: path.clone(), bytes_max: 10, kept_max: 2 };
        let (recorder, scribe) = open(&log, Counts::default()).await.expect("opened");
        for line in ["one line\n", "two lines\n", "three lines\n", "four lines\n", "five\n"] {
            recorder.take(line.into());
        }
        let ended = CancellationToken::new();
        ended.cancel();
        scribe.run(ended).await;
        let read = |path: &Path| std::fs::read_to_string(path).expect("a file");
        assert_eq!(read(&path), "five\n");
        assert_eq!(read(&numbered(&path, 1)), "four lines\n");
        assert_eq!(read(&numbered(&path, 2)), "three lines\n");
        assert!(!numbered(&path, 3).exists());
    }

    #[tokio::test]
    async fn who_finds_no_room_does_not_wait_and_is_counted() {
        let counts = Counts::default();
        let (recorder, scribe) = open(&AuditLog::Stdout, counts.clone()).await.expect("opened");
        for _ in 0..LINES_MAX + 3 {
            recorder.take(Vec::new());
        }
        assert_eq!((counts.taken.get(), counts.lost.get()), (LINES_MAX as u64, 3));
        drop(scribe);
    }
}
