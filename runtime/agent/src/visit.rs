//! Coming into a container that runs: a fresh instance beside it, or its own streams.

use std::sync::{Arc, Weak};

use host::{Exit, Spec, Streams, Workload, pipe};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::conversation::{Conversation, End, Inlet, PIPE_BYTES, input};
use crate::outside::PodOutside;
use crate::taps::Taps;
use crate::terminal::{Size, Terminal};

/// Somebody who wants into a container of a pod.
pub(crate) struct Visit {
    pub(crate) container: String,
    /// Whether the container's own standard input is wanted.
    pub(crate) input: bool,
    /// Told nothing if the container does not run.
    pub(crate) reply: oneshot::Sender<Option<Inside>>,
}

/// A container that runs, from inside.
pub(crate) struct Inside {
    pub(crate) workload: Workload,
    /// How it is run, without its streams.
    pub(crate) spec: Spec,
    pub(crate) outside: Arc<PodOutside>,
    pub(crate) stdout: Weak<Taps>,
    pub(crate) stderr: Weak<Taps>,
    /// The way into its standard input, if it was wanted and there is one.
    pub(crate) inlet: Option<Inlet>,
    /// The run itself, where it is a command.
    pub(crate) command: Option<host::Command>,
    /// Cancelled when the run is over.
    pub(crate) ended: CancellationToken,
}

/// Which streams a caller wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
    pub(crate) tty: bool,
}

/// What programs end with that a signal ended: 128 and the signal's number.
const INTERRUPTED: i32 = 130;
const ABORTED: i32 = 134;
const KILLED: i32 = 137;

// === impl Inside ===

impl Inside {
    /// Runs a command in a fresh instance, with its streams and how it will have ended. `size` is that of the terminal it is at.
    pub(crate) fn run(
        self,
        args: Vec<String>,
        wanted: Wanted,
        size: Option<Size>,
    ) -> (Conversation, impl Future<Output = End> + use<>) {
        let mut talk = Conversation::default();
        let mut spec = Spec { args, ..self.spec };
        if wanted.stdout || wanted.tty {
            let (sink, reader) = pipe(PIPE_BYTES);
            (spec.stdout, talk.stdout) = (sink, Some(reader));
        }
        if wanted.tty {
            spec.stderr = spec.stdout.clone();
            spec.streams = Streams::Terminal;
            talk.terminal = Some(Terminal::default());
            if let Some(size) = size {
                let mut environment = spec.env.to_vec();
                size.into_environment(&mut environment);
                spec.env = environment.into();
            }
        } else {
            spec.streams = Streams::Plain;
        }
        if wanted.stderr && !wanted.tty {
            let (sink, reader) = pipe(PIPE_BYTES);
            (spec.stderr, talk.stderr) = (sink, Some(reader));
        }
        let mut stdin = host::Stdin::Empty;
        if wanted.stdin {
            let (stream, inlet) = input();
            (stdin, talk.stdin) = (stream, Some(inlet));
        }
        let program = spec.args.first().cloned().unwrap_or_default();
        let begun = self.workload.run(spec, stdin, self.outside);
        let (interrupted, ended) = (talk.interrupted.clone(), self.ended);
        let end = async move {
            let command = match begun {
                Ok(command) => command,
                Err(none) => return End::not_begun(format!("failed to start exec {program:?}: {none}")),
            };
            let by_force = tokio::select! {
                exit = command.wait() => return end(exit),
                () = interrupted.cancelled() => INTERRUPTED,
                () = ended.cancelled() => KILLED,
            };
            command.stop();
            command.wait().await;
            End::code(by_force)
        };
        (talk, end)
    }

    /// The container's own streams, from now on, and how that will have ended: well, whatever becomes of the container.
    pub(crate) fn attach(self, wanted: Wanted) -> (Conversation, impl Future<Output = End> + use<>) {
        let is_terminal = self.spec.streams == Streams::Terminal;
        let tap = |taps: &Weak<Taps>| taps.upgrade().map(|taps| taps.tap());
        let talk = Conversation {
            stdin: self.inlet,
            stdout: wanted.stdout.then(|| tap(&self.stdout)).flatten(),
            stderr: (wanted.stderr && !is_terminal).then(|| tap(&self.stderr)).flatten(),
            terminal: is_terminal.then(Terminal::default),
            interrupted: CancellationToken::new(),
        };
        let (interrupted, ended, command) = (talk.interrupted.clone(), self.ended, self.command);
        let end = async move {
            tokio::select! {
                () = ended.cancelled() => return End::success(),
                () = interrupted.cancelled() => {}
            }
            if let Some(command) = command {
                command.stop();
            }
            ended.cancelled().await;
            End::success()
        };
        (talk, end)
    }
}

/// How a run ended, for who called it.
fn end(exit: Exit) -> End {
    match exit {
        Exit::Exited { code } => End::code(code),
        Exit::Trapped { message } => End::code(ABORTED).saying(message),
        Exit::OutOfMemory => End::code(KILLED).saying("out of memory: the container's limit allows no more"),
        Exit::Cancelled => End::code(KILLED),
        Exit::NotStarted { message } => End::not_begun(message),
    }
}
