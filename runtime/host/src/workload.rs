//! A component prepared to run.

use std::fmt;
use std::sync::Arc;

use wasmtime::component::InstancePre;
use wasmtime_wasi_http::handler::ProxyPre;

use crate::artifact::Digest;
use crate::command::Command;
use crate::guest::Guest;
use crate::kind::{Uses, Wasi, WorkloadKind};
use crate::outside::Outside;
use crate::server::Server;
use crate::spec::Spec;
use crate::stdio::Stdin;
use crate::{engine, host};

/// A component, compiled and linked; it holds no instance and costs nothing while it waits.
#[derive(Clone)]
pub struct Workload {
    pub(crate) shared: Arc<Shared>,
}

/// The component answers no requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the component exports no wasi:http handler, so it cannot answer requests")]
pub struct NotAServer;

/// The component has no program to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the component does not export wasi:cli/run, so there is no command to run in it")]
pub struct NotACommand;

/// What a command is called by.
pub(crate) enum CommandPre {
    P2(wasmtime_wasi::p2::bindings::CommandPre<Guest>),
    P3(wasmtime_wasi::p3::bindings::CommandPre<Guest>),
}

pub(crate) struct Shared {
    pub(crate) host: Arc<host::Shared>,
    digest: Digest,
    kind: WorkloadKind,
    /// How many instances of the usual size one of it counts for.
    pub(crate) size: usize,
    pub(crate) server: Option<ProxyPre<Guest>>,
    pub(crate) command: Option<CommandPre>,
}

// === impl Workload ===

impl Workload {
    pub(crate) fn new(
        host: Arc<host::Shared>,
        digest: Digest,
        kind: WorkloadKind,
        uses: Uses,
        linked: InstancePre<Guest>,
    ) -> wasmtime::Result<Self> {
        let size = engine::size(linked.component(), host.pool);
        let server = match uses.server {
            None => None,
            Some(Wasi::P2) => Some(ProxyPre::P2(wasmtime_wasi_http::p2::bindings::ProxyPre::new(linked.clone())?)),
            Some(Wasi::P3) => Some(ProxyPre::P3(wasmtime_wasi_http::p3::bindings::ServicePre::new(linked.clone())?)),
        };
        let command = match uses.command {
            None => None,
            Some(Wasi::P2) => Some(CommandPre::P2(wasmtime_wasi::p2::bindings::CommandPre::new(linked)?)),
            Some(Wasi::P3) => Some(CommandPre::P3(wasmtime_wasi::p3::bindings::CommandPre::new(linked)?)),
        };
        Ok(Self { shared: Arc::new(Shared { host, digest, kind, size, server, command }) })
    }

    /// The component it was made of.
    pub fn digest(&self) -> Digest {
        self.shared.digest
    }

    /// What the component is for.
    pub fn kind(&self) -> WorkloadKind {
        self.shared.kind
    }

    /// Takes requests from now on; instances are started as they come.
    pub fn serve(&self, spec: Spec, outside: Arc<dyn Outside>) -> Result<Server, NotAServer> {
        match self.shared.server {
            Some(_) => Ok(Server::new(self.shared.clone(), spec, outside)),
            None => Err(NotAServer),
        }
    }

    /// Starts a run of the command. Runs for the same container share the [`Ledger`](crate::Ledger) of its spec.
    pub fn run(&self, spec: Spec, stdin: Stdin, outside: Arc<dyn Outside>) -> Result<Command, NotACommand> {
        match self.shared.command {
            Some(_) => Ok(Command::start(self.shared.clone(), spec, stdin, outside)),
            None => Err(NotACommand),
        }
    }
}

impl fmt::Debug for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workload").field("digest", &self.digest()).field("kind", &self.kind()).finish_non_exhaustive()
    }
}
