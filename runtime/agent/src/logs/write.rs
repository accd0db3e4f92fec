//! Writing what a run prints.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::BoxFuture;
use host::{PipeReader, Sink, pipe};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::line::Framer;
use super::{Logs, Progress, Whose, files, runs};
use crate::config::Rotation;

/// The two streams of a run, and the task that writes them down; it ends when both are closed.
pub struct Streams {
    /// For standard output.
    pub stdout: Arc<dyn Sink>,
    /// For standard error.
    pub stderr: Arc<dyn Sink>,
    /// Ends when everything is written.
    pub written: JoinHandle<()>,
}

/// What a guest may be ahead of the disk.
const PIPE_BYTES: usize = 256 << 10;

/// After this much another run's writer has its turn.
const TURN_BYTES: usize = 16 << 10;

struct Writer {
    path: PathBuf,
    file: File,
    progress: watch::Sender<Progress>,
    file_bytes: u64,
    rotation: Rotation,
}

// === impl Logs ===

impl Logs {
    /// Begins the log of a run, which is written where `spawn` puts that work. Only the run before it is kept.
    pub fn begin(
        &self,
        whose: &Whose<'_>,
        run: u32,
        spawn: impl FnOnce(BoxFuture<'static, ()>) -> JoinHandle<()>,
    ) -> io::Result<Streams> {
        let directory = self.directory(whose);
        std::fs::create_dir_all(&directory)?;
        for old in runs(&directory).into_iter().filter(|old| old.saturating_add(1) < run) {
            for file in files(&directory, old).take_while(|file| file.is_file()) {
                std::fs::remove_file(file)?;
            }
        }
        let path = directory.join(format!("{run}.log"));
        let file = open(&path)?;
        let file_bytes = file.metadata()?.len();
        let (progress, watched) = watch::channel(Progress::default());
        self.live().insert(path.clone(), watched);
        let (stdout, out) = pipe(PIPE_BYTES);
        let (stderr, err) = pipe(PIPE_BYTES);
        let writer = Writer { path: path.clone(), file, progress, file_bytes, rotation: self.rotation };
        let logs = self.clone();
        let written = spawn(Box::pin(async move {
            writer.run(out, err).await;
            logs.live().remove(&path);
        }));
        Ok(Streams { stdout, stderr, written })
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

// === impl Writer ===

impl Writer {
    async fn run(mut self, mut out: PipeReader, mut err: PipeReader) {
        let (mut stdout, mut stderr) = (Framer::new("stdout"), Framer::new("stderr"));
        let (mut out_open, mut err_open) = (true, true);
        let mut lines = Vec::new();
        while out_open || err_open {
            tokio::select! {
                bytes = out.recv(), if out_open => match bytes {
                    Some(bytes) => stdout.push(&bytes, Timestamp::now(), &mut lines),
                    None => out_open = false,
                },
                bytes = err.recv(), if err_open => match bytes {
                    Some(bytes) => stderr.push(&bytes, Timestamp::now(), &mut lines),
                    None => err_open = false,
                },
            }
            if self.write(&mut lines) >= TURN_BYTES {
                // Others want to write, too.
                tokio::task::yield_now().await;
            }
        }
        let now = Timestamp::now();
        stdout.finish(now, &mut lines);
        stderr.finish(now, &mut lines);
        self.write(&mut lines);
    }

    /// An append to the page cache takes microseconds, less than handing it to another thread. Tells how much it was.
    fn write(&mut self, lines: &mut Vec<u8>) -> usize {
        if lines.is_empty() {
            return 0;
        }
        if let Err(error) = self.try_write(lines) {
            tracing::warn!(path = %self.path.display(), %error, "log lines dropped");
        }
        let bytes = lines.len();
        lines.clear();
        bytes
    }

    fn try_write(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.file_bytes >= self.rotation.file_bytes_max {
            self.rotate()?;
        }
        self.file.write_all(lines)?;
        self.file_bytes += lines.len() as u64;
        self.progress.send_modify(|progress| progress.bytes += lines.len() as u64);
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.progress.send_modify(|progress| progress.is_moving = true);
        let moved = self.move_files();
        self.progress.send_modify(|progress| {
            progress.is_moving = false;
            progress.rotations += u64::from(moved.is_ok());
        });
        moved
    }

    fn move_files(&mut self) -> io::Result<()> {
        let aged = |age: u32| match age {
            0 => self.path.clone(),
            age => self.path.with_extension(format!("log.{age}")),
        };
        for age in (0..self.rotation.files_max - 1).rev() {
            match std::fs::rename(aged(age), aged(age + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.file = open(&self.path)?;
        self.file_bytes = 0;
        Ok(())
    }
}
