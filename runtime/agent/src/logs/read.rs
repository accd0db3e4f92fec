//! Reading a log as `kubectl logs` asks for it.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::{mpsc, watch};

use super::line::Line;
use super::{Logs, Progress, Whose, files, runs};

/// Which part of a log, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Goes on as lines come, until the run ends.
    pub follow: bool,
    /// The run before the last.
    pub previous: bool,
    /// Only lines printed since.
    pub since: Option<Timestamp>,
    /// Each line begins with its time.
    pub timestamps: bool,
    /// Only the last lines.
    pub tail: Option<u64>,
    /// At most so many bytes.
    pub limit_bytes: Option<u64>,
}

/// Why there is nothing to read, in the API's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It never ran.
    #[error("container \"{container}\" in pod \"{pod}\" is waiting to start: ContainerCreating")]
    NotStarted {
        /// The container.
        container: String,
        /// The pod.
        pod: String,
    },
    /// It ran only once.
    #[error("previous terminated container \"{container}\" in pod \"{pod}\" not found")]
    NoPrevious {
        /// The container.
        container: String,
        /// The pod.
        pod: String,
    },
}

/// Pieces that a slow reader may be behind.
const QUEUE_MAX: usize = 16;

/// Output is sent in pieces of about this size.
const PIECE_BYTES: usize = 32 << 10;

// === impl Logs ===

impl Logs {
    /// The log in pieces; it ends at the end of the log, with `follow` at the end of the run, or when nobody listens.
    pub fn read(&self, whose: &Whose<'_>, options: Options) -> Result<mpsc::Receiver<Bytes>, ReadError> {
        let directory = self.directory(whose);
        let runs = runs(&directory);
        let (container, pod) = (whose.container.to_owned(), whose.pod.to_owned());
        let run = match (options.previous, runs.as_slice()) {
            (false, [.., last]) => *last,
            (true, [.., previous, _]) => *previous,
            (false, []) => return Err(ReadError::NotStarted { container, pod }),
            (true, _) => return Err(ReadError::NoPrevious { container, pod }),
        };
        let newest = directory.join(format!("{run}.log"));
        let live = self.live().get(&newest).cloned().filter(|_| options.follow);
        let (pieces, receiver) = mpsc::channel(QUEUE_MAX);
        let mut reader = Reader { out: Vec::new(), pieces, options, left: options.limit_bytes, mid_line: false };
        tokio::spawn(async move {
            if let Err(Stop::Failed(error)) = reader.read(&directory, run, &newest, live).await {
                tracing::debug!(%error, "a log could not be read to its end");
            }
        });
        Ok(receiver)
    }
}

struct Reader {
    out: Vec<u8>,
    pieces: mpsc::Sender<Bytes>,
    options: Options,
    left: Option<u64>,
    mid_line: bool,
}

/// Why reading ended early.
enum Stop {
    /// Nobody listens, or has heard enough.
    Enough,
    Failed(std::io::Error),
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error)
    }
}

impl Reader {
    async fn read(
        &mut self,
        directory: &Path,
        run: u32,
        newest: &Path,
        mut live: Option<watch::Receiver<Progress>>,
    ) -> Result<(), Stop> {
        let mut rotations = live.as_mut().map_or(0, |live| live.borrow_and_update().rotations);
        let mut files = files(directory, run);
        let mut skip = match self.options.tail {
            Some(tail) => tail_of(&mut files, tail).await?,
            None => 0,
        };
        let mut last = None;
        for path in files.iter().rev() {
            let mut file = BufReader::new(File::open(path).await?);
            let mut line = Vec::new();
            while skip > 0 && file.read_until(b'\n', &mut line).await? > 0 {
                line.clear();
                skip -= 1;
            }
            self.drain(&mut file).await?;
            last = Some(file);
        }
        self.flush().await?;
        let Some(live) = &mut live else { return Ok(()) };
        loop {
            let now = *live.borrow_and_update();
            if let Some(file) = &mut last {
                self.drain(file).await?;
            }
            if now.rotations != rotations {
                rotations = now.rotations;
                let mut file = BufReader::new(File::open(newest).await?);
                self.drain(&mut file).await?;
                last = Some(file);
            }
            self.flush().await?;
            let changed = tokio::select! {
                changed = live.changed() => changed,
                () = self.pieces.closed() => return Err(Stop::Enough),
            };
            if changed.is_err() {
                if let Some(file) = &mut last {
                    self.drain(file).await?;
                }
                return self.flush().await;
            }
        }
    }

    /// Reads to the end of a file. Lines are appended whole, so there is no torn one to wait for.
    async fn drain(&mut self, file: &mut BufReader<File>) -> Result<(), Stop> {
        let mut line = Vec::new();
        loop {
            line.clear();
            if file.read_until(b'\n', &mut line).await? == 0 {
                return Ok(());
            }
            line.pop_if(|last| *last == b'\n');
            if let Some(line) = Line::parse(&line) {
                self.take(&line);
            }
            if self.out.len() >= PIECE_BYTES {
                self.flush().await?;
            }
        }
    }

    fn take(&mut self, line: &Line<'_>) {
        if self.options.since.is_some_and(|since| line.at().is_some_and(|at| at < since)) {
            return;
        }
        if self.options.timestamps && !self.mid_line {
            self.out.extend_from_slice(line.time);
            self.out.push(b' ');
        }
        self.out.extend_from_slice(line.text);
        if line.whole {
            self.out.push(b'\n');
        }
        self.mid_line = !line.whole;
    }

    async fn flush(&mut self) -> Result<(), Stop> {
        let mut piece = std::mem::take(&mut self.out);
        if let Some(left) = &mut self.left {
            piece.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= piece.len() as u64;
        }
        if !piece.is_empty() {
            self.pieces.send(piece.into()).await.map_err(|_| Stop::Enough)?;
        }
        if self.left == Some(0) { Err(Stop::Enough) } else { Ok(()) }
    }
}

/// Keeps the files (newest first) that hold the last `tail` lines, and says how many lines of the oldest to leave out.
async fn tail_of(files: &mut Vec<PathBuf>, tail: u64) -> std::io::Result<u64> {
    let mut lines = 0;
    for index in 0..files.len() {
        let content = tokio::fs::read(&files[index]).await?;
        lines += content.split(|byte| *byte == b'\n').count().saturating_sub(1) as u64;
        if lines >= tail {
            files.truncate(index + 1);
            return Ok(lines - tail);
        }
    }
    Ok(0)
}
