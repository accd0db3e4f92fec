//! Reading a log as `kubectl logs` asks for it.

use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt, BufReader};
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

/// A time with nanoseconds, the longer of the streams' names, a mark, and the spaces between.
const LINE_START_BYTES_MAX: usize = 48;

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
        let live = self.live().get(&newest).cloned();
        let (pieces, receiver) = mpsc::channel(QUEUE_MAX);
        let mut reader = Reader { out: Vec::new(), pieces, options, left: options.limit_bytes, mid_line: false };
        tokio::spawn(async move {
            if let Err(Stop::Failed(error)) = reader.read(&directory, run, live).await {
                tracing::debug!(%error, "a log could not be read to its end");
            }
        });
        Ok(receiver)
    }
}

/// The last lines of a file, as many as are in so many bytes of text; none if there is no line.
pub(crate) fn end_of(file: &Path, lines_max: usize, bytes_max: usize) -> Option<String> {
    let mut file = std::fs::File::open(file).ok()?;
    // Each line begins with its time and its stream.
    let before = u64::try_from(bytes_max + lines_max * LINE_START_BYTES_MAX).unwrap_or(u64::MAX);
    let start = file.metadata().ok()?.len().saturating_sub(before);
    file.seek(SeekFrom::Start(start)).ok()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    let lines: Vec<Line<'_>> = bytes.split(|byte| *byte == b'\n').filter_map(Line::parse).collect();
    let mut text = Vec::new();
    for line in lines.iter().skip(lines.len().saturating_sub(lines_max)) {
        text.extend_from_slice(line.text);
        text.extend(line.whole.then_some(b'\n'));
    }
    let text = String::from_utf8_lossy(&text[text.len().saturating_sub(bytes_max)..]).into_owned();
    (!text.is_empty()).then_some(text)
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
        mut live: Option<watch::Receiver<Progress>>,
    ) -> Result<(), Stop> {
        let (files, mut rotations) = open(directory, run, usize::MAX, live.as_ref()).await?;
        let mut files: Vec<_> = files.into_iter().map(BufReader::new).collect();
        if let Some(tail) = self.options.tail {
            skip_to(&mut files, tail).await?;
        }
        let mut last = None;
        for mut file in files.into_iter().rev() {
            self.drain(&mut file).await?;
            last = Some(file);
        }
        self.flush().await?;
        let Some(live) = live.as_mut().filter(|_| self.options.follow) else { return Ok(()) };
        loop {
            live.mark_unchanged();
            if let Some(file) = &mut last {
                self.drain(file).await?;
            }
            let begun = live.borrow().rotations - rotations;
            if begun > 0 {
                // All that were begun since, also those that are not the newest any more.
                let (files, now) = open_since(directory, run, rotations, live).await?;
                rotations = now;
                for file in files.into_iter().rev() {
                    // What was written to the one before until it was put aside.
                    if let Some(file) = &mut last {
                        self.drain(file).await?;
                    }
                    last = Some(BufReader::new(file));
                }
                continue;
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

/// Opens up to `most` files of a run, the newest first, and says how many had been begun by then. Where one is begun in
/// the middle of it the names have moved, and it is done again.
async fn open(
    directory: &Path,
    run: u32,
    most: usize,
    live: Option<&watch::Receiver<Progress>>,
) -> std::io::Result<(Vec<File>, u64)> {
    let names = || live.map_or((0, false), |live| (live.borrow().rotations, live.borrow().is_moving));
    loop {
        let before = names();
        let mut opened = Vec::new();
        for path in files(directory, run).take(most) {
            match File::open(path).await {
                Ok(file) => opened.push(file),
                Err(error) if error.kind() == ErrorKind::NotFound => break,
                Err(error) => return Err(error),
            }
        }
        if names() == before && !before.1 {
            return Ok((opened, before.0));
        }
        tokio::task::yield_now().await;
    }
}

/// Opens the files begun since there were `rotations`, as far as they are kept.
async fn open_since(
    directory: &Path,
    run: u32,
    rotations: u64,
    live: &watch::Receiver<Progress>,
) -> std::io::Result<(Vec<File>, u64)> {
    loop {
        let now = live.borrow().rotations;
        let (files, at) =
            open(directory, run, usize::try_from(now - rotations).unwrap_or(usize::MAX), Some(live)).await?;
        if at == now {
            return Ok((files, now));
        }
    }
}

/// Leaves of the files (newest first) those that hold the last `tail` lines, the oldest of them at the first of these lines.
async fn skip_to(files: &mut Vec<BufReader<File>>, tail: u64) -> std::io::Result<()> {
    let mut lines = 0;
    for index in 0..files.len() {
        let mut content = Vec::new();
        files[index].read_to_end(&mut content).await?;
        lines += content.split(|byte| *byte == b'\n').count().saturating_sub(1) as u64;
        files[index].rewind().await?;
        if lines >= tail {
            files.truncate(index + 1);
            let mut line = Vec::new();
            for _ in tail..lines {
                line.clear();
                files[index].read_until(b'\n', &mut line).await?;
            }
            return Ok(());
        }
    }
    Ok(())
}
