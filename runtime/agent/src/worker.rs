//! The loop of one pod: what happened goes into its [`PodState`], what comes out is carried out.
//!
//! Nothing is decided here. Whatever takes time is a task that posts what came of it; the tasks, the runs and the
//! addresses they hold end with the worker.

mod address;
mod disk;
mod images;
mod mount;
mod ports;
mod run;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::pod_spec::resize;
use api::{Key, Object, Revision};
use futures::StreamExt as _;
use futures::channel::mpsc;
use host::{Ledger, Workload};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodCondition, PodStatus};
use network::Attachment;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::context::Context;
use crate::desired::{Uid, Wanted, desired};
use crate::eviction::{self, StorageUsed};
use crate::image::Hold;
use crate::pod::{Effect, Happening, LINKED, Nature, Place, PodState, Role, Told};
use crate::recorder::Note;
use crate::report::{Report, Telling};
use crate::usage::PodUsage;
use crate::visit::Visit;
use crate::volumes::{Placed, Tokens};
use disk::STORAGE_PERIOD;
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

/// How a worker is reached. A post box that is empty keeps no room for what may come: most are, most of the time.
pub(crate) type Post = mpsc::UnboundedSender<Mail>;

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
    post: Post,
    /// Ends what is under way when the worker ends.
    tasks: JoinSet<()>,
    telling: Telling,
    last: Arc<PodStatus>,
    seen: (Revision, Arc<PodStatus>),
    /// The pod as the cluster last told it.
    object: Object,
    rest: Rest,
    /// Whether its room on the node is for others.
    released: bool,
    ended: bool,
}

/// Whether a worker has let go of what its pod says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// It knows what the pod says.
    Awake,
    /// It does, and cannot let go of it.
    Restless,
    /// It has let go of it. Nothing is to be done before this.
    Asleep { until: Option<Timestamp> },
}

/// So long nothing happens to a pod until its worker rests; and who would be woken sooner does not.
const REST_AFTER: Duration = Duration::from_secs(10);
const REST_MIN: SignedDuration = SignedDuration::from_mins(1);

/// What there is of one container.
#[derive(Default)]
struct Slot {
    component: Option<host::Digest>,
    /// Its images are not let go while the container has them.
    holds: Vec<Hold>,
    workload: Option<Workload>,
    live: Option<Live>,
}

/// What is to be done at a time is late by no more than this where the clock was set, or the machine slept, meanwhile: then a token
/// would end before its successor is asked for.
const CLOCK_UNSEEN_MAX: Duration = Duration::from_secs(30);

/// Looks after a pod from its arrival until nothing of it is left.
pub(crate) async fn work(
    context: Arc<Context>,
    wanted: Wanted,
    uid: Uid,
    post: Post,
    mut mail: mpsc::UnboundedReceiver<Mail>,
) {
    let Wanted { object, pod } = wanted;
    let key = object.key().clone();
    let status = Arc::new(pod.status.clone().unwrap_or_default());
    let seen = (object.revision(), status.clone());
    let telling = Telling::new(context.clone(), key.clone(), uid.clone(), seen.clone());
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
        telling,
        object,
        seen,
        rest: Rest::Awake,
    };
    worker.happen(first);
    while !worker.state.is_gone() {
        let wake = worker.wake_at().map(|at| {
            Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default().min(CLOCK_UNSEEN_MAX)
        });
        let quiet = worker.quiet_for();
        tokio::select! {
            Some(mail) = mail.next() => {
                worker.rouse();
                worker.take(mail);
            }
            Some(_) = worker.tasks.join_next() => {}
            () = worker.telling.go_on() => {}
            () = async { tokio::time::sleep(wake.unwrap_or_default()).await }, if wake.is_some() => worker.wake(),
            () = async { tokio::time::sleep(quiet.unwrap_or_default()).await }, if quiet.is_some() => worker.rest(),
        }
    }
    info!(pod = %worker.key, "gone");
    worker.tasks.shutdown().await;
    worker.context.remotes.leave(&worker.uid);
    if let Some(telling) = worker.part() {
        // The last status and the delete are still to be heard.
        telling.finish().await;
    }
}

impl Worker {
    /// Lets go of all it has; what is left is to tell the end, if there is one to be told.
    fn part(self) -> Option<Telling> {
        self.ended.then_some(self.telling)
    }

    fn take(&mut self, mail: Mail) {
        match mail {
            Mail::Wanted(wanted) => {
                let status = one_of(wanted.pod.status.clone().unwrap_or_default(), [&self.last, &self.seen.1]);
                self.last = one_of(merged(&self.last, &status), [&status, &self.last]);
                self.seen = (wanted.object.revision(), status);
                self.object = wanted.object;
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
        if let Rest::Asleep { until } = self.rest {
            return until;
        }
        [self.state.wake_at(), self.tokens_due].into_iter().flatten().min()
    }

    fn wake(&mut self) {
        // The clock alone was looked at.
        if self.wake_at().is_none_or(|due| due > Timestamp::now()) {
            return;
        }
        self.rouse();
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
        self.tell_neighbours();
        let report = Report { status: self.last.clone(), seen: self.seen.clone(), ended: self.ended };
        self.telling.say(report);
    }

    /// What is on this node need not wait until the cluster has heard whether the pod is ready. Who is to end serves as the cluster says.
    fn tell_neighbours(&self) {
        let Some(attachment) = &self.attachment else { return };
        if self.state.pod().metadata.deletion_timestamp.is_none() {
            let mut conditions = self.last.conditions.iter().flatten();
            attachment.tell_ready(conditions.any(|one| one.type_ == "Ready" && one.status == "True"));
        }
    }

    /// How long nothing may happen until it rests, if it may.
    fn quiet_for(&mut self) -> Option<Duration> {
        let soon = self.wake_at().is_some_and(|due| due.duration_since(Timestamp::now()) < REST_MIN);
        let may_rest = !soon && self.telling.is_done() && self.tasks.is_empty() && self.state.can_rest();
        match self.rest {
            Rest::Awake if may_rest => Some(REST_AFTER),
            _ => None,
        }
    }

    /// Lets go of what the pod says, which the cluster's own object says as well: a pod that is up and left alone has no use for it.
    fn rest(&mut self) {
        let is_as_told = self.seen.0 == self.object.revision() && Arc::ptr_eq(&self.last, &self.seen.1);
        let until = self.wake_at();
        if !is_as_told || !self.state.rest() {
            self.rest = Rest::Restless;
            return;
        }
        self.know(Arc::default());
        self.object.let_go();
        self.rest = Rest::Asleep { until };
    }

    /// Knows again what the pod says.
    fn rouse(&mut self) {
        let was = std::mem::replace(&mut self.rest, Rest::Awake);
        if !matches!(was, Rest::Asleep { .. }) {
            return;
        }
        match desired(&self.object) {
            Ok(Wanted { pod, .. }) => {
                self.know(Arc::new(pod.status.clone().unwrap_or_default()));
                self.state.rouse(pod);
            }
            Err(error) => warn!(%error, "a pod was understood once and is not any more"),
        }
    }

    /// The status that is as the cluster has it.
    fn know(&mut self, status: Arc<PodStatus>) {
        (self.last, self.seen.1) = (status.clone(), status.clone());
        self.telling.exchange(Report { status, seen: self.seen.clone(), ended: self.ended });
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
            Effect::Unmount => self.unmount(),
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
            let _ = post.unbounded_send(work.await);
        });
    }

    fn slot(&mut self, place: Place) -> &mut Slot {
        if self.slots.len() <= place {
            self.slots.reserve_exact(place + 1 - self.slots.len());
            self.slots.resize_with(place + 1, Slot::default);
        }
        &mut self.slots[place]
    }

    fn pod(&self) -> Arc<Pod> {
        self.state.pod().clone()
    }

    /// Asks the node for what the pod wants now.
    fn allot(&self) {
        let wanted = self.state.wanted().clone();
        let happening = match self.context.allot(|allotments| allotments.resize(&self.uid, &wanted)) {
            Ok(()) => Happening::Allotted(wanted),
            Err(unfit) => Happening::NotAllotted(wanted, unfit),
        };
        let _ = self.post.unbounded_send(Mail::Happened(happening));
    }
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
