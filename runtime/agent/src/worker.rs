//! The loop of one pod: what happened goes into its [`PodState`], what comes out is carried out.
//!
//! Nothing is decided here. Whatever takes time is a task that posts what came of it; the tasks, the runs and the
//! addresses they hold end with the worker.

mod mount;
mod ports;
mod run;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::pod_spec::resize;
use api::{Key, Revision};
use client::PatchType;
use host::{Ledger, Workload};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodCondition, PodStatus};
use network::{Attachment, Citizen};
use serde_json::json;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tracing::{debug, info};

use crate::context::Context;
use crate::desired::{Uid, Wanted};
use crate::eviction::{self, StorageUsed};
use crate::image::{Credentials, Hold};
use crate::joint::{self, Joint};
use crate::pod::{
    Effect, Happening, LINKED, LinkedImage, Nature, NotPulled, Place, PodState, Pulled, Role, Severity, Told,
};
use crate::pressure;
use crate::recorder::Note;
use crate::report::{self, Report};
use crate::usage::PodUsage;
use crate::visit::Visit;
use crate::volumes::{Placed, Tokens};
use mount::Updated;
use run::Live;

/// What reaches a worker.
pub(crate) enum Mail {
    /// The cluster says this about the pod.
    Wanted(Wanted),
    /// It is not in the cluster any more.
    Removed,
    /// An effect has an answer.
    Happened(Happening),
    /// A component is prepared.
    Prepared(Place, Workload),
    /// The volumes are there; then the first token of theirs is to be replaced.
    Placed(BTreeMap<String, Placed>, Option<Timestamp>),
    /// What the volumes are made from has changed.
    VolumesChanged,
    /// What the pod keeps on the disk, and how long it took to look.
    Stored(StorageUsed, Duration),
    /// Somebody wants to know what the pod has used.
    Count(oneshot::Sender<PodUsage>),
    /// Somebody wants into a container.
    Visit(Visit),
    /// The volumes are brought up to date, as far as they could be.
    Updated(Updated),
}

/// One pod of this node at work.
struct Worker {
    context: Arc<Context>,
    key: Key,
    uid: Uid,
    state: PodState,
    slots: Vec<Slot>,
    /// What all containers of the pod use together, and may.
    ledger: Ledger,
    placed: BTreeMap<String, Placed>,
    /// The pod's place on the network, once something of it has run.
    attachment: Option<Arc<Attachment>>,
    /// The tokens in the volumes. One hand at them at a time, so that the last one leaves what is newest.
    tokens: Arc<tokio::sync::Mutex<Tokens>>,
    /// When the first of them is to be replaced.
    tokens_due: Option<Timestamp>,
    post: mpsc::UnboundedSender<Mail>,
    /// Ends what is under way when the worker ends.
    tasks: JoinSet<()>,
    reports: watch::Sender<Report>,
    last: Arc<PodStatus>,
    seen: (Revision, Arc<PodStatus>),
    /// Whether its room on the node is for others.
    released: bool,
    ended: bool,
}

/// What there is of one container.
#[derive(Default)]
struct Slot {
    component: Option<host::Digest>,
    /// Its images are not let go while the container has them.
    holds: Vec<Hold>,
    workload: Option<Workload>,
    live: Option<Live>,
}

/// Addresses that others turn out to have are tried over so often at a time.
const CLAIMS_MAX: usize = 64;

/// What is to be done at a time is late by no more than this where the clock was set, or the machine slept, meanwhile: then a token
/// would end before its successor is asked for.
const CLOCK_UNSEEN_MAX: Duration = Duration::from_secs(30);

/// How often to look at what a pod with a limit keeps on the disk, and of how much time looking may take a part.
const STORAGE_PERIOD: Duration = Duration::from_millis(100);
const STORAGE_LOOK_SHARE: u32 = 20;

/// Looks after a pod from its arrival until nothing of it is left.
pub(crate) async fn work(
    context: Arc<Context>,
    wanted: Wanted,
    uid: Uid,
    post: mpsc::UnboundedSender<Mail>,
    mut mail: mpsc::UnboundedReceiver<Mail>,
) {
    let Wanted { key, revision, pod } = wanted;
    let status = Arc::new(pod.status.clone().unwrap_or_default());
    let seen = (revision, status.clone());
    let (reports, told) = watch::channel(Report { status: status.clone(), seen: seen.clone(), ended: false });
    let telling = tokio::spawn(report::tell(context.clone(), key.clone(), uid.clone(), told));
    let telling = tokio_util::task::AbortOnDropHandle::new(telling);
    // Who was here already stays.
    let is_new = status.start_time.is_none();
    let short = eviction::refusal(*context.pressures.borrow(), &pod).filter(|_| is_new);
    let ledger = context.guests.part(run::limits(pod.spec.as_ref().and_then(|spec| spec.resources.as_ref())));
    let state = PodState::new(pod, Timestamp::now());
    let first = match short {
        Some(message) => Happening::Evicted(message),
        None if state.has_ended() => Happening::Tick,
        None if !is_new => {
            context.allot(|allotments| allotments.keep(&uid, state.pod()));
            Happening::Tick
        }
        None => context
            .allot(|allotments| allotments.admit(&uid, state.pod()))
            .map_or_else(Happening::Rejected, |()| Happening::Tick),
    };
    info!(pod = %key, "arrived");
    let mut worker = Worker {
        slots: Vec::new(),
        ledger,
        placed: BTreeMap::new(),
        attachment: None,
        tokens: Arc::default(),
        tokens_due: None,
        tasks: JoinSet::new(),
        last: status,
        released: false,
        ended: false,
        context,
        key,
        uid,
        state,
        post,
        reports,
        seen,
    };
    worker.happen(first);
    while !worker.state.is_gone() {
        let wake = worker.wake_at().map(|at| {
            Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default().min(CLOCK_UNSEEN_MAX)
        });
        tokio::select! {
            Some(mail) = mail.recv() => worker.take(mail),
            Some(_) = worker.tasks.join_next() => {}
            () = async { tokio::time::sleep(wake.unwrap_or_default()).await }, if wake.is_some() => worker.wake(),
        }
    }
    info!(pod = %worker.key, "gone");
    let ended = worker.ended;
    drop(worker);
    if ended {
        // The last status and the delete are still to be heard.
        let _ = telling.await;
    }
}

impl Worker {
    fn take(&mut self, mail: Mail) {
        match mail {
            Mail::Wanted(wanted) => {
                let status = Arc::new(wanted.pod.status.clone().unwrap_or_default());
                self.last = one_of(merged(&self.last, &status), [&status, &self.last]);
                self.seen = (wanted.revision, status);
                let told = |pod: &Pod| (pod.metadata.labels.clone(), pod.metadata.annotations.clone());
                let other = told(self.state.pod()) != told(&wanted.pod);
                self.happen(Happening::Wanted(wanted.pod));
                if other {
                    self.update_volumes();
                }
            }
            Mail::Removed => self.happen(Happening::Removed),
            Mail::Happened(happening) => {
                let sized = matches!(happening, Happening::Allotted(_));
                self.happen(happening);
                if sized {
                    // Volumes may tell of it.
                    self.update_volumes();
                }
            }
            Mail::Prepared(place, workload) => {
                let nature = match workload.kind() {
                    host::WorkloadKind::Server(_) => Nature::Server,
                    host::WorkloadKind::Command(_) => Nature::Command,
                };
                self.slot(place).workload = Some(workload);
                self.happen(Happening::Prepared(place, nature));
            }
            Mail::Placed(placed, due) => {
                self.placed = placed;
                self.tokens_due = due;
                self.happen(Happening::Mounted);
                if eviction::has_limit(self.state.pod()) {
                    self.look_at_storage(STORAGE_PERIOD);
                }
            }
            Mail::Stored(used, took) => self.stored(&used, took),
            Mail::Count(reply) => drop(reply.send(self.used())),
            Mail::Visit(visit) => self.visited(visit),
            Mail::VolumesChanged => self.update_volumes(),
            Mail::Updated(Updated { failed, due }) => {
                self.tokens_due = due;
                for why in failed {
                    self.tell(why.told(), Timestamp::now());
                }
            }
        }
    }

    fn wake_at(&self) -> Option<Timestamp> {
        [self.state.wake_at(), self.tokens_due].into_iter().flatten().min()
    }

    fn wake(&mut self) {
        if self.tokens_due.is_some_and(|due| due <= Timestamp::now()) {
            self.tokens_due = None;
            self.update_volumes();
        }
        self.happen(Happening::Tick);
    }

    fn happen(&mut self, happening: Happening) {
        let now = Timestamp::now();
        if let Happening::Exited(place, run, exit) = &happening
            && let Some(live) = self.slot(*place).live.take_if(|live| live.run == *run)
            && let Some(words) = live.words.read(exit)
        {
            self.learn(Happening::LeftWords(*place, *run, words), now);
        }
        self.learn(happening, now);
        if self.state.has_ended() && !std::mem::replace(&mut self.released, true) {
            self.context.allot(|allotments| allotments.release(&self.uid));
        }
        let host = self.context.config.host_address();
        self.last = one_of(self.state.status(host, &self.last, now), [&self.last, &self.seen.1]);
        let report = Report { status: self.last.clone(), seen: self.seen.clone(), ended: self.ended };
        self.reports.send_if_modified(|told| {
            let differs = *told != report;
            *told = report;
            differs
        });
    }

    fn learn(&mut self, happening: Happening, now: Timestamp) {
        let (state, effects) = self.state.clone().on(happening, now);
        self.state = state;
        for effect in effects {
            self.carry_out(effect, now);
        }
    }

    fn carry_out(&mut self, effect: Effect, now: Timestamp) {
        match effect {
            Effect::ClaimAddress => self.claim_address(),
            Effect::Mount => self.mount(),
            Effect::Pull(place) => self.pull(place),
            Effect::Prepare(place) => self.prepare(place),
            Effect::Start(place, run) => self.start(place, run),
            Effect::Allot => self.allot(),
            Effect::Resize(place, run) => self.resize(place, run),
            Effect::Stop(place, run, grace) => self.stop(place, run, grace),
            Effect::Probe(place, run, kind) => self.probe(place, run, kind),
            Effect::Hook(place, run, hook, within) => self.hook(place, run, hook, within),
            Effect::Tell(told) => self.tell(told, now),
            Effect::Vacate => self.vacate(),
            Effect::Release => self.release(),
            Effect::Delete => self.ended = true,
        }
    }

    fn tell(&self, told: Told, at: Timestamp) {
        self.context.recorder.tell(self.note(told, at));
    }

    fn note(&self, told: Told, at: Timestamp) -> Note {
        let field = told.container.and_then(|place| {
            let list = match self.state.role(place)? {
                Role::Main => "containers",
                Role::Init | Role::Sidecar => "initContainers",
                Role::Ephemeral => "ephemeralContainers",
            };
            Some(format!("spec.{list}{{{}}}", self.state.container(place)?.name))
        });
        Note { pod: self.key.clone(), uid: self.uid.to_string(), field, told, times: 1, at }
    }

    /// Does something that takes time, and posts what came of it.
    fn spawn(&mut self, work: impl Future<Output = Mail> + Send + 'static) {
        let post = self.post.clone();
        self.tasks.spawn(async move {
            // Nobody to post to: the pod is gone.
            let _ = post.send(work.await);
        });
    }

    fn slot(&mut self, place: Place) -> &mut Slot {
        if self.slots.len() <= place {
            self.slots.resize_with(place + 1, Slot::default);
        }
        &mut self.slots[place]
    }

    fn pod(&self) -> Arc<Pod> {
        self.state.pod().clone()
    }

    /// Where the files of the pod are kept on this node.
    fn directory(&self) -> PathBuf {
        self.context.config.data_dir.join("pods").join(&*self.uid)
    }

    /// Where the pod's secrets lie.
    fn directory_in_memory(&self) -> PathBuf {
        let root = self.context.config.memory_dir.as_ref().unwrap_or(&self.context.config.data_dir);
        root.join("pods").join(&*self.uid)
    }

    fn is_on_host_network(&self) -> bool {
        self.state.pod().spec.as_ref().is_some_and(|spec| spec.host_network == Some(true))
    }

    /// The pod's place on the network, which its containers share.
    fn attach(&mut self, address: IpAddr) -> Arc<Attachment> {
        let (context, key, uid, host_network) = (&self.context, &self.key, &self.uid, self.is_on_host_network());
        let attach = || {
            let attachment = Arc::new(context.fabric.attach(Citizen {
                namespace: key.namespace().into(),
                name: key.name().into(),
                addresses: vec![address],
                host_network,
            }));
            context.note_attachment(uid, &attachment);
            attachment
        };
        self.attachment.get_or_insert_with(attach).clone()
    }

    fn claim_address(&mut self) {
        if self.is_on_host_network() {
            let address = self.context.config.host_address();
            return self.spawn(async move { Mail::Happened(Happening::Addressed(address)) });
        }
        let (context, key, uid) = (self.context.clone(), self.key.clone(), self.uid.clone());
        let preferred = self.seen.1.pod_ip.as_deref().and_then(|address| address.parse().ok());
        self.spawn(async move {
            let claimed = claim(&context, &key, &uid, preferred).await;
            Mail::Happened(claimed.map_or_else(Happening::NotAddressed, Happening::Addressed))
        });
    }

    /// Asks the node for what the pod wants now.
    fn allot(&self) {
        let wanted = self.state.wanted().clone();
        let happening = match self.context.allot(|allotments| allotments.resize(&self.uid, &wanted)) {
            Ok(()) => Happening::Allotted(wanted),
            Err(unfit) => Happening::NotAllotted(wanted, unfit),
        };
        let _ = self.post.send(Mail::Happened(happening));
    }

    fn pull(&mut self, place: Place) {
        let (context, pod) = (self.context.clone(), self.pod());
        let Some(container) = self.state.container(place).cloned() else { return };
        let note = self.note(
            Told { container: Some(place), severity: Severity::Normal, reason: "Pulling", message: String::new() },
            Timestamp::now(),
        );
        self.spawn(async move {
            Mail::Happened(match pulled(&context, &pod, &container, &note).await {
                Ok(pulled) => Happening::Pulled(place, pulled),
                Err(why) => Happening::NotPulled(place, why),
            })
        });
    }

    fn prepare(&mut self, place: Place) {
        let Some(container) = self.state.container(place) else { return };
        let context = self.context.clone();
        let joint = Joint::of(self.state.pod(), container, context.images.cache());
        let component = joint.as_ref().map(Joint::digest);
        let digests = joint.iter().flat_map(Joint::digests);
        let holds = digests.map(|digest| context.images.holds().hold(digest)).collect();
        let slot = self.slot(place);
        let same = slot.component == component;
        slot.component = component;
        slot.holds = holds;
        if let (true, Some(workload)) = (same && component.is_some(), self.slot(place).workload.clone()) {
            return self.spawn(async move { Mail::Prepared(place, workload) });
        }
        self.spawn(async move {
            let prepared = match joint {
                Some(joint) => joint.prepare(&context.host, context.images.cache()).await,
                None => Err(joint::GONE.to_owned()),
            };
            match prepared {
                Ok(workload) => Mail::Prepared(place, workload),
                Err(message) => Mail::Happened(Happening::NotPrepared(place, message)),
            }
        });
    }

    /// Looks in a while at what the pod keeps on the disk.
    fn look_at_storage(&mut self, wait: Duration) {
        let (context, pod) = (self.context.clone(), self.pod());
        self.spawn(async move {
            tokio::time::sleep(wait).await;
            let began = Instant::now();
            let looking = tokio::task::spawn_blocking(move || pressure::storage_of(&context, &pod));
            Mail::Stored(looking.await.unwrap_or_default(), began.elapsed())
        });
    }

    fn stored(&mut self, used: &StorageUsed, took: Duration) {
        if !self.state.is_active() {
            return;
        }
        match eviction::storage_excess(self.state.pod(), used) {
            Some(message) => self.happen(Happening::Evicted(message)),
            None => self.look_at_storage(STORAGE_PERIOD.max(took * STORAGE_LOOK_SHARE)),
        }
    }

    /// The files of the pod go, what it printed stays.
    fn vacate(&mut self) {
        let directories = [self.directory(), self.directory_in_memory()];
        self.context.quotas.forget(&directories[0]);
        let key = self.key.clone();
        tokio::task::spawn_blocking(move || {
            for directory in directories {
                if let Err(error) = std::fs::remove_dir_all(directory)
                    && error.kind() != std::io::ErrorKind::NotFound
                {
                    debug!(pod = %key, %error, "files of a pod were left behind");
                }
            }
        });
    }

    fn release(&mut self) {
        self.tasks.abort_all();
        self.slots.clear();
        self.attachment = None;
        self.context.return_addresses(&self.uid);
        let directories = [self.directory(), self.directory_in_memory()];
        self.context.quotas.forget(&directories[0]);
        let (logs, key, uid) = (self.context.logs.clone(), self.key.clone(), self.uid.clone());
        // Outlives the worker on purpose: it only removes what nobody names any more.
        tokio::task::spawn_blocking(move || {
            let remove = |directory: &PathBuf| match std::fs::remove_dir_all(directory) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                removed => removed,
            };
            let removed = directories.iter().map(remove).fold(Ok(()), std::io::Result::and);
            if let Err(error) = removed.and_then(|()| logs.remove(key.namespace(), key.name(), &uid)) {
                debug!(pod = %key, %error, "files of a pod were left behind");
            }
        });
    }
}

/// Makes sure that a container's images are here, those that are linked to its own first. The note is for events, once it says what is
/// pulled.
async fn pulled(context: &Context, pod: &Pod, container: &Container, note: &Note) -> Result<Pulled, NotPulled> {
    let credentials = Credentials::of(pod, &context.view());
    let ensure = async |name: &Option<String>, policy: &Option<String>| {
        let name = name.as_deref().unwrap_or_default();
        let telling = || {
            let told = Told { message: format!("Pulling image \"{name}\""), ..note.told.clone() };
            context.recorder.tell(Note { told, ..note.clone() });
        };
        let ensured = context.images.ensure(name, policy.as_deref(), &credentials, telling).await;
        let (image, took) = ensured.map_err(|error| NotPulled {
            image: name.to_owned(),
            reason: error.reason(),
            message: error.to_string(),
        })?;
        Ok((image.id, took.map(|took| (took, image.size))))
    };
    let mut linked = Vec::new();
    for link in joint::links(pod, container) {
        let (id, fetched) = ensure(&link.reference, &link.pull_policy).await?;
        linked.push(LinkedImage { reference: link.reference.clone().unwrap_or_default(), id, fetched });
    }
    let (image_id, fetched) = ensure(&container.image, &container.image_pull_policy).await?;
    Ok(Pulled { image_id, fetched, linked })
}

/// Picks an address and writes it into the pod's status: only then is it the pod's.
async fn claim(context: &Context, key: &Key, uid: &Uid, mut preferred: Option<IpAddr>) -> Result<IpAddr, String> {
    let mut avoid = BTreeSet::new();
    for _ in 0..CLAIMS_MAX {
        let address = context.pick_address(uid, preferred.take(), &avoid).map_err(|none| none.to_string())?;
        let ip = address.to_string();
        let patch = json!({"metadata": {"uid": uid}, "status": {"podIP": ip, "podIPs": [{"ip": ip}]}});
        match context.client.patch_status(key, PatchType::Merge, &patch).await {
            Ok(_) => return Ok(address),
            Err(error) => {
                if !error.is_conflict() {
                    return Err(error.to_string());
                }
                debug!(pod = %key, %address, "taken");
                avoid.insert(address);
            }
        }
    }
    Err(format!("no free address was found in {CLAIMS_MAX} tries"))
}

/// The status, as one of those that are there already if it is the same: most of what happens to a pod does not show in it.
fn one_of(status: PodStatus, known: [&Arc<PodStatus>; 2]) -> Arc<PodStatus> {
    known.into_iter().find(|known| ***known == status).cloned().unwrap_or_else(|| Arc::new(status))
}

/// The last report with what others have written since: a condition of ours stays as we see it.
fn merged(ours: &PodStatus, theirs: &PodStatus) -> PodStatus {
    const OURS: [&str; 7] = [
        "PodReadyToStartContainers",
        "Initialized",
        "Ready",
        "ContainersReady",
        LINKED,
        resize::PENDING,
        resize::IN_PROGRESS,
    ];
    let is_ours = |condition: &&PodCondition| OURS.contains(&condition.type_.as_str());
    let own = ours.conditions.iter().flatten().filter(is_ours);
    let foreign = theirs.conditions.iter().flatten().filter(|condition| !is_ours(condition));
    let conditions = own.chain(foreign).cloned().collect();
    PodStatus { conditions: Some(conditions), ..theirs.clone() }
}
