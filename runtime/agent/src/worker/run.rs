//! Beginning, probing and ending runs of containers.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use api::instances::Instances;
use futures::FutureExt as _;
use host::{Command, InstancePolicy, Limits, RequestPolicy, Server, Sink, Spec};
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use network::{Binding, Origin, Reach};
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
use crate::pod::{Blocked, Exit, Happening, Hook, Outcome, Place, ProbeKind};
use crate::probing::{Aside, Asked};
use crate::sockets::{Doors, Names, PodNetwork};
use crate::taps::Taps;
use crate::usage::{self, ContainerUsage, PodUsage};
use crate::visit::{Inside, Visit};
use crate::volumes::Fixed;
use crate::{probing, quantity, volumes};

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

/// Where a server without declared ports answers.
const PORT_DEFAULT: u16 = 80;

/// Requests that were on their way in when a server's addresses were taken down have come in by then.
const SETTLE: Duration = Duration::from_millis(20);

/// How long a run's last words may take to reach the disk.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Where last words are left unless the container says otherwise.
const TERMINATION_LOG: &str = "/dev/termination-log";
/// Far more than is told of them, and what else is in that directory is for nobody.
const TERMINATION_BYTES_MAX: u64 = 64 << 10;
/// A guest that forgets to free something is begun anew now and then.
const REUSED_MAX: u32 = 10_000;
/// As long as a browser keeps a connection that it may need again.
const IDLE: Duration = Duration::from_secs(60);

impl Worker {
    pub(super) fn start(&mut self, place: Place, run: u32) {
        let happening = match self.begin(place, run) {
            Ok(live) => {
                self.slot(place).live = Some(live);
                Happening::Started(place, run)
            }
            Err(blocked) => Happening::NotStarted(place, blocked),
        };
        // Posted, not called: the state machine is in the middle of its effects.
        let _ = self.post.send(Mail::Happened(happening));
    }

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
            env: program.env,
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
                let (waited, post) = (command.clone(), self.post.clone());
                let waiting = tokio::spawn(async move {
                    let exit = exit(waited.wait().await);
                    drop(waited);
                    // A run's log is whole before its end is told, unless a probe still writes to it.
                    let _ = tokio::time::timeout(LAST_WORDS, written).await;
                    let _ = post.send(Mail::Happened(Happening::Exited(place, run, exit)));
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
            Ok(host::Mount { host, guest: String::new(), mode: host::Mode::ReadWrite, quota })
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
                let _ = post.send(Mail::Happened(Happening::Exited(place, run, Exit::OutOfMemory)));
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

    pub(super) fn probe(&mut self, place: Place, run: u32, kind: ProbeKind) {
        let Some((asked, command)) = self.asked(place, run) else { return };
        let Some(probe) = kind.of(&asked.container).cloned() else { return };
        self.spawn(async move {
            let outcome: Outcome = probing::ask(&probe, &asked, command).await;
            Mail::Happened(Happening::Probed(place, run, kind, outcome))
        });
    }

    pub(super) fn hook(&mut self, place: Place, run: u32, hook: Hook, within: Option<Duration>) {
        let Some((asked, command)) = self.asked(place, run) else { return };
        let Some(handler) = hook.of(&asked.container).cloned() else { return };
        self.spawn(async move {
            let outcome = probing::hook(&handler, &asked, within, command).await;
            Mail::Happened(Happening::Hooked(place, run, hook, outcome))
        });
    }

    /// What the pod's containers have used, those that run.
    pub(super) fn used(&self) -> PodUsage {
        let used = self.slots.iter().enumerate().filter_map(|(place, slot)| {
            let live = slot.live.as_ref()?;
            let used = ContainerUsage { run: live.run, usage: live.spec.ledger.usage(), asked: live.engine.asked() };
            Some((self.state.container(place)?.name.clone(), used))
        });
        PodUsage {
            namespace: self.key.namespace().to_owned(),
            name: self.key.name().to_owned(),
            uid: self.uid.to_string(),
            containers: used.collect(),
        }
    }

    /// Lets somebody into a container that runs.
    pub(super) fn visited(&mut self, visit: Visit) {
        let Visit { container, input, reply } = visit;
        let place = (0..self.slots.len())
            .find(|place| self.state.container(*place).is_some_and(|known| known.name == container));
        let inside = place.and_then(|place| self.inside(place, input));
        // Who does not wait any more does not come in.
        let _ = reply.send(inside);
    }

    fn inside(&mut self, place: Place, input: bool) -> Option<Inside> {
        // Who comes first has the only way in for good, where the container says so; it is closed behind him.
        let once = self.state.container(place)?.stdin_once == Some(true);
        let slot = self.slot(place);
        let workload = slot.workload.clone()?;
        let live = slot.live.as_mut()?;
        let inlet = match (input, once) {
            (false, _) => None,
            (true, true) => live.inlet.take(),
            (true, false) => live.inlet.clone(),
        };
        let command = match &live.engine {
            Engine::Server { .. } => None,
            Engine::Command { command, .. } => Some(command.clone()),
        };
        Some(Inside {
            workload,
            spec: silent(live.spec.clone()),
            outside: live.outside.clone(),
            stdout: live.stdout.clone(),
            stderr: live.stderr.clone(),
            inlet,
            command,
            ended: live.ended.token().clone(),
        })
    }

    /// Whom to ask, where, and by which command, while this run of the container is the one that lives.
    fn asked(&mut self, place: Place, run: u32) -> Option<(Asked, Aside)> {
        let address = self.state.address()?;
        let asked = Asked {
            container: self.state.container(place)?.clone(),
            pod: Origin::pod(self.key.namespace(), self.key.name(), address),
            address,
            reach: if self.is_on_host_network() { Reach::Node } else { Reach::Pod },
            fabric: self.context.fabric.clone(),
        };
        let slot = self.slot(place);
        let live = slot.live.as_ref().filter(|live| live.run == run)?;
        let (workload, spec, outside) = (slot.workload.clone()?, silent(live.spec.clone()), live.outside.clone());
        let command: Aside = Box::new(move |args| probing::exec(workload, Spec { args, ..spec }, outside).boxed());
        Some((asked, command))
    }
}

// === impl Engine ===

impl Engine {
    fn asked(&self) -> Option<usage::Asked> {
        match self {
            Self::Server { server, asked, .. } => {
                let requests = asked.load(Ordering::Relaxed);
                Some(usage::Asked { requests, in_flight: server.in_flight() })
            }
            Self::Command { .. } => None,
        }
    }
}

/// The ports at which a server answers: those that it declares, or the usual one.
fn answered(container: &Container) -> Vec<u16> {
    let declared = container.ports.iter().flatten().filter(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP");
    let ports: Vec<u16> = declared.filter_map(|port| u16::try_from(port.container_port).ok()).collect();
    if ports.is_empty() { vec![PORT_DEFAULT] } else { ports }
}

/// The same, with nothing written anywhere.
fn silent(spec: Spec) -> Spec {
    Spec { stdout: Arc::new(host::Discard), stderr: Arc::new(host::Discard), ..spec }
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

/// How the instances of a pod's servers live.
fn instances(pod: &Pod) -> InstancePolicy {
    match pod.metadata.annotations.as_ref().map(api::instances::of).unwrap_or_default() {
        Instances::Fresh => InstancePolicy::Fresh,
        Instances::Reuse => InstancePolicy::Reuse { requests_max: REUSED_MAX, idle: IDLE },
        Instances::Warm(instances) => InstancePolicy::Warm { instances },
    }
}

/// Where a container's objects are kept: at its mount of the volume that the pod names for them.
fn blobs(pod: &Pod, container: &Container, mounts: &[host::Mount]) -> Option<host::Mount> {
    let volume = pod.metadata.annotations.as_ref().and_then(api::blobstore::volume_of)?;
    let mounted = container.volume_mounts.iter().flatten().find(|mount| mount.name == volume)?;
    mounts.iter().find(|mount| mount.guest == mounted.mount_path).cloned()
}

/// What a container, or a pod as a whole, may use.
pub(super) fn limits(resources: Option<&ResourceRequirements>) -> Limits {
    let limit = |name: &str| resources.and_then(|resources| resources.limits.as_ref()?.get(name));
    let request = |name: &str| resources.and_then(|resources| resources.requests.as_ref()?.get(name));
    let millis = |amount: u64| u32::try_from(amount).unwrap_or(u32::MAX);
    Limits {
        memory_bytes: limit("memory").and_then(quantity::units).filter(|bytes| *bytes > 0),
        cpu_millis: limit("cpu").and_then(quantity::millis).filter(|amount| *amount > 0).map(millis),
        cpu_request_millis: request("cpu").or(limit("cpu")).and_then(quantity::millis).map_or(0, millis),
    }
}
