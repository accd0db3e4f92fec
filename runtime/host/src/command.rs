//! A run of a command: one instance from start to exit.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use wasmtime::Store;
use wasmtime_wasi::I32Exit;

use crate::fault::{Fault, told};
use crate::guest::Guest;
use crate::outside::Outside;
use crate::spec::Spec;
use crate::stdio::Stdin;
use crate::workload::{CommandPre, Shared};

/// A run in progress or over; a clone is the same run, and dropping the last one stops it.
#[derive(Clone)]
pub struct Command {
    exit: watch::Receiver<Option<Exit>>,
    stop: CancellationToken,
    _owner: Arc<DropGuard>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// The program ended by itself.
    Exited {
        /// Zero is success.
        code: i32,
    },
    /// The program trapped.
    Trapped {
        /// The trap and where it happened.
        message: String,
    },
    /// The program failed after its memory limit refused it more.
    OutOfMemory,
    /// It was stopped.
    Cancelled,
    /// It could not be started.
    NotStarted {
        /// What stood in the way.
        message: String,
    },
}

/// What `wasi:cli/run` says of itself.
type Outcome = Result<(), ()>;

/// The code of a program that says only that it failed.
const FAILURE: i32 = 1;

// === impl Command ===

impl Command {
    pub(crate) fn start(workload: Arc<Shared>, spec: Spec, stdin: Stdin, outside: Arc<dyn Outside>) -> Self {
        let stop = CancellationToken::new();
        let (told, exit) = watch::channel(None);
        let (host, ledger) = (workload.host.clone(), spec.ledger.clone());
        let mut run = host.metered(async move { run(&workload, &spec, stdin, outside).await }, ledger);
        host.guests().spawn({
            let stop = stop.clone();
            async move {
                let exit = tokio::select! {
                    biased;
                    () = stop.cancelled() => None,
                    exit = &mut run => Some(exit),
                };
                if exit.is_none() {
                    run.end().await;
                }
                told.send_replace(Some(exit.unwrap_or(Exit::Cancelled)));
            }
        });
        Self { exit, stop: stop.clone(), _owner: Arc::new(stop.drop_guard()) }
    }

    /// How the run ends, once it has.
    pub async fn wait(&self) -> Exit {
        let mut exit = self.exit.clone();
        match exit.wait_for(Option::is_some).await {
            Ok(exit) => exit.clone().unwrap_or(Exit::Cancelled),
            // The guests' threads were stopped, and the run with them.
            Err(_) => Exit::Cancelled,
        }
    }

    /// How the run ended, if it has.
    pub fn exit(&self) -> Option<Exit> {
        self.exit.borrow().clone()
    }

    /// Ends the run at once, wherever the guest is; [`wait`](Self::wait) tells when it is gone.
    pub fn stop(&self) {
        self.stop.cancel();
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command").field("exit", &self.exit()).finish_non_exhaustive()
    }
}

async fn run(workload: &Shared, spec: &Spec, stdin: Stdin, outside: Arc<dyn Outside>) -> Exit {
    let host = &workload.host;
    let command = workload.command.as_ref().expect("a command is only started for a component that has one");
    let mut store = match Guest::store(host, workload.size, spec, stdin, outside) {
        Ok(store) => store,
        Err(error) => return Exit::NotStarted { message: told(&error) },
    };
    let refusal = store.data().memory_refusal();
    let ended = match command {
        CommandPre::P2(pre) => match pre.instantiate_async(&mut store).await {
            Ok(instance) => instance.wasi_cli_run().call_run(&mut store).await,
            Err(error) => return not_started(&error, refusal.happened()),
        },
        CommandPre::P3(pre) => match pre.instantiate_async(&mut store).await {
            Ok(instance) => run_p3(&mut store, &instance).await,
            Err(error) => return not_started(&error, refusal.happened()),
        },
    };
    exit(ended, refusal.happened())
}

async fn run_p3(
    store: &mut Store<Guest>,
    instance: &wasmtime_wasi::p3::bindings::Command,
) -> wasmtime::Result<Outcome> {
    store.run_concurrent(async |accessor| instance.wasi_cli_run().call_run(accessor).await).await?
}

/// A program that fails after it was refused memory failed for that reason, however it put it.
fn exit(ended: wasmtime::Result<Outcome>, memory_refused: bool) -> Exit {
    let code = match &ended {
        Ok(Ok(())) => Some(0),
        Ok(Err(())) => Some(FAILURE),
        Err(error) => error.downcast_ref::<I32Exit>().map(|exit| exit.0),
    };
    match (code, ended) {
        (Some(0), _) => Exit::Exited { code: 0 },
        _ if memory_refused => Exit::OutOfMemory,
        (Some(code), _) => Exit::Exited { code },
        (None, Err(error)) => Exit::Trapped { message: told(&error) },
        (None, Ok(_)) => Exit::Exited { code: FAILURE },
    }
}

fn not_started(error: &wasmtime::Error, memory_refused: bool) -> Exit {
    if memory_refused {
        return Exit::OutOfMemory;
    }
    match Fault::of_start(error) {
        Fault::Trapped { message } => Exit::Trapped { message },
        Fault::Overloaded { message } | Fault::NotStarted { message } => Exit::NotStarted { message },
        fault => Exit::NotStarted { message: fault.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_after_a_refusal_is_out_of_memory() {
        let exited = |code| Err(I32Exit(code).into());
        assert_eq!(exit(Ok(Ok(())), true), Exit::Exited { code: 0 });
        assert_eq!(exit(exited(0), true), Exit::Exited { code: 0 });
        assert_eq!(exit(Ok(Err(())), false), Exit::Exited { code: 1 });
        assert_eq!(exit(exited(3), false), Exit::Exited { code: 3 });
        assert_eq!(exit(exited(3), true), Exit::OutOfMemory);
        assert_eq!(exit(Err(wasmtime::Trap::UnreachableCodeReached.into()), true), Exit::OutOfMemory);
        let trapped = exit(Err(wasmtime::Trap::UnreachableCodeReached.into()), false);
        assert!(matches!(trapped, Exit::Trapped { message } if message.contains("unreachable")));
    }
}
