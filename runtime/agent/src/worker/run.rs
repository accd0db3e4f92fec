//! Beginning and ending runs of containers.

mod aside;
mod settings;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use host::{Command, Folder, RequestPolicy, Server, Sink, Spec};
use k8s_openapi::api::core::v1::Container;
use network::Binding;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

use super::ports::{self, HostPort};
use super::words::LastWords;
use super::{Mail, Worker};
use crate::buckets::PodBuckets;
use crate::conversation::{Inlet, input};
use crate::environment::program;
use crate::logs::{Streams, Whose};
use crate::outside::{Front, PodOutside};
use crate::pod::{Blocked, Exit, Happening, Place};
use crate::sockets::{Doors, Names, PodNetwork};
use crate::taps::Taps;
use crate::volumes::{self, Fixed};

use aside::silent;
use settings::{answered, blobs, instances};

pub(super) use settings::limits;

/// A run in progress.
pub(super) struct Live {
    pub(super) run: u32,
    spec: Spec,
    outside: Arc<PodOutside>,
    engine: Engine,
    /// The node's ports that lead here.
    host_ports: Vec<HostPort>,
    /// Where what it writes can be watched.
    stdout: Weak<Taps>,
    stderr: Weak<Taps>,
    /// The way into its standard input, while nobody has taken it for good.
    inlet: Option<Inlet>,
    /// Where its last words are.
    pub(super) words: LastWords,
    /// Tells those inside when the run is over.
    ended: DropGuard,
}

enum Engine {
    Server { server: Server, asked: Arc<AtomicU64>, closing: Arc<AtomicBool>, bindings: Vec<Binding> },
    Command { command: Command, doors: Arc<Doors>, _waiting: AbortOnDropHandle<()> },
}

/// Requests that were on their way in when a server's addresses were taken down have come in by then.
const SETTLE: Duration = Duration::from_millis(20);

/// How long a run's last words may take to reach the disk.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Where last words are left unless the container says otherwise.
const TERMINATION_LOG: &str = "/dev/termination-log";
/// Far more than is told of them, and what else is in that directory is for nobody.
const TERMINATION_BYTES_MAX: u64 = 64 << 10;

impl Worker {
    pub(super) fn start(&mut self, place: Place, run: u32) {
        match self.begin(place, run) {
            Ok(live) => self.slot(place).live = Some(live),
            Err(blocked) => self.happened(Happening::NotStarted(place, blocked)),
        }
    }

    /// Posted, not called: the state machine is in the middle of its effects.
    fn happened(&self, happening: Happening) {
        let _ = self.post.unbounded_send(Mail::Happened(happening));
    }

    /// Begins a run, and says so before the run can say anything itself: one that ends at once has begun all the same.
    fn begin(&mut self, place: Place, run: u32) -> Result<Live, Blocked> {
        let failed = |message: String| Blocked { reason: "CreateContainerError", message };
        let pod = self.pod();
        let address = self.state.address().ok_or_else(|| failed("the pod has no address".to_owned()))?;
        let container = self.state.container(place).cloned();
        let container = container.ok_or_else(|| failed("the container is not in the pod's spec".to_owned()))?;
        let view = self.context.view();
        let program = program(&pod, place, &self.context.around(&view, address))?;
        let fixed = |directory: PathBuf| directory.join("fixed").join(&container.name);
        let fixed = Fixed::new(fixed(self.directory()), fixed(self.directory_in_memory()));
        let mut mounts = volumes::mounts(&pod, place, &self.placed, fixed, &self.context.around(&view, address))?;
        let workload = self.slot(place).workload.clone();
        let workload = workload.ok_or_else(|| failed("the component is not prepared".to_owned()))?;
        let (namespace, name) = (self.key.namespace().to_owned(), self.key.name().to_owned());
        let whose = Whose { namespace: &namespace, pod: &name, uid: &self.uid, container: &container.name };
        let ledger = self.ledger.part(limits(container.resources.as_ref()));
        let writing = |work| self.context.host.attend(ledger.clone(), work);
        let streams = self.context.logs.begin(&whose, run, writing);
        let streams = streams.map_err(|error| failed(format!("failed to open the log: {error}")))?;
        let Streams { stdout, stderr, written } = streams;
        let log = self.context.logs.newest(&whose, run);
        let words = self.last_words(&container, workload.kind(), &mut mounts, log);
        let words = words.map_err(|error| failed(format!("failed to prepare the termination log: {error}")))?;
        let stdout = Taps::new(stdout);
        let is_terminal = container.tty == Some(true);
        // At a terminal there is one stream out.
        let stderr = if is_terminal { stdout.clone() } else { Taps::new(stderr) };
        let watched = (Arc::downgrade(&stdout), Arc::downgrade(&stderr));
        let doors = Doors::new();
        let names = Names::of(self.context.resolver.clone(), &pod, address);
        let spec = Spec {
            network: Arc::new(PodNetwork::new(
                self.attach(address),
                self.context.fabric.clone(),
                doors.clone(),
                names.clone(),
            )),
            args: program.args,
            env: program.env.into(),
            settings: program.settings.into(),
            buckets: Arc::new(PodBuckets::of(self.context.client.clone(), &namespace)),
            blobs: blobs(&pod, &container, &mounts),
            working_dir: container.working_dir.clone().filter(|directory| !directory.is_empty()),
            mounts,
            stdout,
            stderr: stderr.clone(),
            streams: if is_terminal { host::Streams::Terminal } else { host::Streams::Plain },
            ledger,
            requests: RequestPolicy { instances: instances(&pod), ..RequestPolicy::default() },
            ..Spec::default()
        };
        let on_host_network = self.is_on_host_network();
        let answers = match workload.kind() {
            host::WorkloadKind::Server(_) => answered(&container),
            host::WorkloadKind::Command(_) => Vec::new(),
        };
        let host_ports = ports::listen(&container, address, on_host_network, &answers, &self.context.fabric);
        let host_ports = host_ports.map_err(|error| failed(error.to_string()))?;
        let outbound = self.context.outbound.clone();
        let outside = Arc::new(PodOutside::new(outbound, &namespace, &name, address, on_host_network, names.clone()));
        let mut inlet = None;
        let engine = match workload.kind() {
            host::WorkloadKind::Server(_) => {
                let server =
                    workload.serve(spec.clone(), outside.clone()).map_err(|error| failed(error.to_string()))?;
                self.happened(Happening::Started(place, run));
                self.open(place, run, server, &answers, address, stderr)
            }
            host::WorkloadKind::Command(_) => {
                let mut stdin = host::Stdin::Empty;
                if container.stdin == Some(true) {
                    let (stream, into) = input();
                    (stdin, inlet) = (stream, Some(into));
                }
                let command = workload.run(spec.clone(), stdin, outside.clone());
                let command = command.map_err(|error| failed(error.to_string()))?;
                self.happened(Happening::Started(place, run));
                let (waited, post) = (command.clone(), self.post.clone());
                let waiting = tokio::spawn(async move {
                    let exit = exit(waited.wait().await);
                    drop(waited);
                    // A run's log is whole before its end is told, unless a probe still writes to it.
                    let _ = tokio::time::timeout(LAST_WORDS, written).await;
                    let _ = post.unbounded_send(Mail::Happened(Happening::Exited(place, run, exit)));
                });
                Engine::Command { command, doors, _waiting: AbortOnDropHandle::new(waiting) }
            }
        };
        // A command's log ends when its run does: only servers keep the sinks for their probes and faults.
        let spec = match &engine {
            Engine::Server { .. } => spec,
            Engine::Command { .. } => silent(spec),
        };
        let (stdout, stderr) = watched;
        let ended = CancellationToken::new().drop_guard();
        Ok(Live { run, spec, outside, engine, host_ports, stdout, stderr, inlet, words, ended })
    }

    /// Where the run is to leave its last words. A server seldom has any, and each of its instances would pay for the place: it
    /// gets one if it says where.
    fn last_words(
        &self,
        container: &Container,
        kind: host::WorkloadKind,
        mounts: &mut Vec<host::Mount>,
        log: PathBuf,
    ) -> std::io::Result<LastWords> {
        let path = container.termination_message_path.as_deref().unwrap_or(TERMINATION_LOG);
        let is_wanted = matches!(kind, host::WorkloadKind::Command(_)) || path != TERMINATION_LOG;
        let path = Some(Path::new(path)).filter(|path| is_wanted && path.is_absolute());
        LastWords::prepare(container, path, mounts, log, || {
            let host = self.directory().join("termination").join(&container.name);
            match std::fs::remove_dir_all(&host) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => std::fs::create_dir_all(&host)?,
            }
            let quota = Some(self.context.quotas.of(&host, TERMINATION_BYTES_MAX));
            Ok(host::Mount { host: Folder::at(host), guest: String::new(), mode: host::Mode::ReadWrite, quota })
        })
    }

    /// Has the server answer on its ports.
    fn open(
        &self,
        place: Place,
        run: u32,
        server: Server,
        answers: &[u16],
        address: IpAddr,
        stderr: Arc<dyn Sink>,
    ) -> Engine {
        let closing = Arc::new(AtomicBool::new(false));
        let (post, told) = (self.post.clone(), AtomicBool::new(false));
        let out_of_memory = Arc::new(move || {
            if !told.swap(true, Ordering::Relaxed) {
                let _ = post.unbounded_send(Mail::Happened(Happening::Exited(place, run, Exit::OutOfMemory)));
            }
        });
        let asked = Arc::<AtomicU64>::default();
        let front =
            Front { server: server.clone(), asked: asked.clone(), closing: closing.clone(), out_of_memory, stderr };
        let handler = network::handler(move |request| front.clone().answer(request));
        let bind = |port: &u16| self.context.fabric.bind(SocketAddr::new(address, *port), handler.clone());
        Engine::Server { server, asked, closing, bindings: answers.iter().map(bind).collect() }
    }

    /// Gives a run what its container has been promised since.
    pub(super) fn resize(&mut self, place: Place, run: u32) {
        let Some(limits) = self.state.container(place).map(|container| limits(container.resources.as_ref())) else {
            return;
        };
        if let Some(live) = self.slot(place).live.as_ref().filter(|live| live.run == run) {
            live.spec.ledger.limit(limits);
        }
    }

    pub(super) fn stop(&mut self, place: Place, run: u32, grace: Duration) {
        let live = self.slot(place).live.as_mut().filter(|live| live.run == run);
        let engine = live.map(|live| {
            live.host_ports.clear();
            &mut live.engine
        });
        match engine {
            // The run has ended by itself; its end is in the post.
            None => {}
            // WASI has no signals: a command cannot be asked, only ended. Its waiter tells.
            Some(Engine::Command { command, doors, .. }) => {
                let (command, doors) = (command.clone(), doors.clone());
                doors.close();
                self.tasks.spawn(async move {
                    let _ = tokio::time::timeout(grace, doors.empty()).await;
                    command.stop();
                });
            }
            Some(Engine::Server { server, closing, bindings, .. }) => {
                closing.store(true, Ordering::Release);
                bindings.clear();
                let server = server.clone();
                self.spawn(async move {
                    tokio::time::sleep(SETTLE).await;
                    server.drain(grace).await;
                    Mail::Happened(Happening::Exited(place, run, Exit::Stopped))
                });
            }
        }
    }
}

fn exit(exit: host::Exit) -> Exit {
    match exit {
        host::Exit::Exited { code } => Exit::Code(code),
        host::Exit::Trapped { message } => Exit::Trapped(message),
        host::Exit::OutOfMemory => Exit::OutOfMemory,
        host::Exit::Cancelled => Exit::Stopped,
        host::Exit::NotStarted { message } => Exit::NotStarted(message),
    }
}
