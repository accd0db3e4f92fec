//! One pod on this node: a pure state machine.
//!
//! [`PodState::on`] takes what happened and the time, and returns the next state with the effects that somebody has to carry
//! out. A happening only changes facts; [`PodState::advance`] then does whatever these facts and the time allow, so that
//! there is one place that starts, restarts and stops, however it came about.
//!
//! What holds, whatever happens in whatever order (tested with generated histories):
//! - a container has at most one run at a time, and each run has a number of its own, larger than those before;
//! - nothing starts once the pod is leaving, and a pod that is leaving ends as soon as its runs have;
//! - late answers about earlier runs change nothing.

mod advance;
mod backoff;
mod container;
mod effect;
mod hook;
mod inherit;
mod probe;
mod resize;
mod status;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use crate::desired::is_ephemeral;
use backoff::later;
use container::{ContainerState, Phase, Telling};
use probe::{ProbeState, Turn};
use resize::Resize;

pub use container::{Ended, Exit, Nature, Role, Why};
pub use effect::{
    Blocked, Effect, Happening, LinkedImage, NotMounted, NotPulled, Place, Pulled, Rejected, Severity, Told,
};
pub use hook::Hook;
pub use probe::{Outcome, ProbeKind};
pub use resize::Unfit;
pub(crate) use status::{LINKED, qos_class};

/// A pod on this node.
#[derive(Clone, Debug, PartialEq)]
pub struct PodState {
    /// The pod with what its containers are promised.
    pod: Arc<Pod>,
    /// The pod as the cluster wants it.
    wanted: Arc<Pod>,
    resize: Resize,
    stage: Stage,
    address: Option<IpAddr>,
    started_at: Timestamp,
    /// Init containers first, in order, then the others.
    containers: Vec<ContainerState>,
    verdict: Option<Verdict>,
    trouble: Option<Trouble>,
    /// How often its volumes could not be mounted, or let go of, for somebody else's sake.
    failures: u32,
}

/// How far along a pod is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    /// It has not been looked at.
    New,
    /// It waits for its address and its volumes.
    Arriving { address: Step, volumes: Step },
    /// Its containers run, or would.
    Up,
    /// It is deleted: not ready any more, but still answering whoever has not heard.
    Leaving { until: Timestamp },
    /// Its containers are being stopped.
    Stopping,
    /// All its containers have ended for good; what they wrote is brought where it belongs.
    Unmounting { volumes: Step },
    /// All its containers have ended for good.
    Over,
    /// Nothing of it is on this node.
    Gone,
}

/// One of the things a pod needs before its containers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Awaited,
    Failed { retry_at: Timestamp },
    Done,
}

/// What a pod that rests says: all that do share it.
static NOTHING: LazyLock<Arc<Pod>> = LazyLock::new(Arc::default);

/// Why a pod failed as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Verdict {
    reason: Cow<'static, str>,
    message: Cow<'static, str>,
}

/// The reason of a verdict over a pod that the node sent off.
const EVICTED: &str = "Evicted";

/// What keeps a pod from its containers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Trouble {
    reason: &'static str,
    message: String,
}

/// How long a pod still answers after it stopped being ready: whoever balances over endpoints hears of it within this.
const LINGER: SignedDuration = SignedDuration::from_millis(500);

/// What fails for want of an object in the cluster is tried again after this; the object may come.
const RETRY: SignedDuration = SignedDuration::from_secs(5);

/// What fails for somebody else's sake is tried again after twice as long each time, up to this: as Kubernetes has it.
const RETRY_MAX: SignedDuration = SignedDuration::from_mins(2);

/// A failed pull is shown as such for so long before it is shown as a wait.
const ERROR_SHOWN: SignedDuration = SignedDuration::from_secs(3);

/// What a pod is given to end when it does not say.
const GRACE_SECONDS_DEFAULT: i64 = 30;

// === impl PodState ===

impl PodState {
    /// A pod that has come to this node. Where its status tells of earlier runs (this agent was restarted), they count.
    pub fn new(pod: Arc<Pod>, now: Timestamp) -> Self {
        let promised = resize::as_told(&pod);
        let mut state = Self {
            containers: containers(&pod),
            started_at: now,
            stage: Stage::New,
            address: None,
            verdict: None,
            trouble: None,
            failures: 0,
            resize: if Arc::ptr_eq(&promised, &pod) { Resize::Settled } else { Resize::Due },
            pod: promised,
            wanted: pod,
        };
        state.inherit(now);
        state
    }

    /// The next state, and what is to be done.
    #[must_use = "the effects are the point"]
    pub fn on(mut self, happening: Happening, now: Timestamp) -> (Self, Vec<Effect>) {
        let mut effects = Vec::new();
        if self.stage != Stage::Gone {
            self.learn(happening, now, &mut effects);
            self.advance(now, &mut effects);
        }
        (self, effects)
    }

    /// The pod as the cluster last told it, with what its containers are promised.
    pub fn pod(&self) -> &Arc<Pod> {
        &self.pod
    }

    /// Whether it is up and nothing is to become of it: then it may rest.
    pub fn can_rest(&self) -> bool {
        self.stage == Stage::Up && Arc::ptr_eq(&self.pod, &self.wanted) && !self.is_deleted()
    }

    /// Lets go of what the pod says until it is [roused](Self::rouse); nothing may happen to it before.
    pub fn rest(&mut self) -> bool {
        let can_rest = self.can_rest();
        if can_rest {
            (self.pod, self.wanted) = (NOTHING.clone(), NOTHING.clone());
        }
        can_rest
    }

    /// Knows again what the pod says, which has not changed.
    pub fn rouse(&mut self, pod: Arc<Pod>) {
        (self.pod, self.wanted) = (pod.clone(), pod);
    }

    /// Its address, once it has one.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Whether nothing of it is left on this node.
    pub fn is_gone(&self) -> bool {
        self.stage == Stage::Gone
    }

    /// Whether nothing of it runs any more, nor will.
    pub fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Over | Stage::Gone)
    }

    /// Whether it runs here, or is about to.
    pub fn is_active(&self) -> bool {
        matches!(self.stage, Stage::New | Stage::Arriving { .. } | Stage::Up)
    }

    fn is_evicted(&self) -> bool {
        self.verdict.as_ref().is_some_and(|verdict| verdict.reason == EVICTED)
    }

    /// The container at a place, as its spec describes it.
    pub fn container(&self, place: Place) -> Option<&Container> {
        container(&self.pod, place)
    }

    /// The role of the container at a place.
    pub fn role(&self, place: Place) -> Option<Role> {
        self.containers.get(place).map(|container| container.role)
    }

    fn learn(&mut self, happening: Happening, now: Timestamp, effects: &mut Vec<Effect>) {
        match happening {
            Happening::Tick => {}
            Happening::Wanted(pod) => {
                self.want(pod);
                self.grow();
            }
            Happening::Allotted(granted) => self.allotted(&granted),
            Happening::NotAllotted(asked, why) => self.not_allotted(&asked, why),
            Happening::Removed => {
                self.stage = Stage::Gone;
                effects.push(Effect::Release);
            }
            Happening::Addressed(address) => {
                self.address = Some(address);
                self.arrived(|address, _| *address = Step::Done);
            }
            Happening::NotAddressed(message) => {
                tell(effects, None, Severity::Warning, "FailedCreatePodSandBox", &message);
                self.trouble = Some(Trouble { reason: "ContainerCreating", message });
                self.arrived(|address, _| *address = Step::Failed { retry_at: later(now, RETRY) });
            }
            Happening::Mounted => {
                self.failures = 0;
                self.arrived(|_, volumes| *volumes = Step::Done);
            }
            Happening::Unmounted => self.unmounting(Step::Done),
            Happening::NotUnmounted(why) => {
                effects.push(Effect::Tell(why.told_at_end()));
                let retry_at = self.retry_at(&why, now);
                self.unmounting(Step::Failed { retry_at });
            }
            Happening::NotMounted(why) => self.not_mounted(&why, now, effects),
            Happening::Pulled(place, pulled) => self.pulled(place, pulled, effects),
            Happening::NotPulled(place, why) => self.not_pulled(place, why, now, effects),
            Happening::Prepared(place, nature) => self.prepared(place, nature),
            Happening::NotPrepared(place, message) => {
                if self.phase(place) == Some(&Phase::Preparing) {
                    let state = &mut self.containers[place];
                    state.phase = Phase::Pulling;
                    let image = state.image.clone();
                    self.not_pulled(place, NotPulled { image, reason: "ErrImagePull", message }, now, effects);
                }
            }
            Happening::Started(place, run) => self.started(place, run, now, effects),
            Happening::NotStarted(place, why) => self.not_started(place, why, now, effects),
            Happening::LeftWords(place, run, words) => {
                let state = self.containers.get_mut(place).filter(|state| state.is_live() && state.run() == run);
                if let Some(state) = state {
                    state.words = Some(words);
                }
            }
            Happening::Exited(place, run, exit) => self.exited(place, run, exit, now, effects),
            Happening::Evicted(message) => self.send_off(Rejected { reason: EVICTED, message }, effects),
            Happening::Rejected(why) => self.send_off(why, effects),
            Happening::Probed(place, run, kind, outcome) => self.probed(place, run, kind, &outcome, now, effects),
            Happening::Hooked(place, run, hook, outcome) => self.hooked(place, run, hook, &outcome, now, effects),
        }
    }

    /// The node sends it off, or does not take it.
    fn send_off(&mut self, why: Rejected, effects: &mut Vec<Effect>) {
        if self.is_active() {
            let Rejected { reason, message } = why;
            tell(effects, None, Severity::Warning, reason, &message);
            self.verdict = Some(Verdict { reason: reason.into(), message: message.into() });
            self.stage = Stage::Stopping;
        }
    }

    /// Takes up containers that have come since.
    fn grow(&mut self) {
        let known = self.containers.len();
        self.containers.extend(containers(&self.pod).into_iter().skip(known));
    }

    fn arrived(&mut self, learn: impl FnOnce(&mut Step, &mut Step)) {
        if let Stage::Arriving { address, volumes } = &mut self.stage {
            learn(address, volumes);
        }
    }

    fn not_mounted(&mut self, why: &NotMounted, now: Timestamp, effects: &mut Vec<Effect>) {
        let told = why.told();
        let reason = if why.unsupported { "CreateContainerConfigError" } else { "ContainerCreating" };
        self.trouble = Some(Trouble { reason, message: told.message.clone() });
        effects.push(Effect::Tell(told));
        let retry_at = self.retry_at(why, now);
        self.arrived(|_, volumes| *volumes = Step::Failed { retry_at });
    }

    fn unmounting(&mut self, step: Step) {
        if let Stage::Unmounting { volumes } = &mut self.stage {
            *volumes = step;
        }
    }

    fn retry_at(&mut self, why: &NotMounted, now: Timestamp) -> Timestamp {
        self.failures = if why.is_elsewhere { self.failures.saturating_add(1) } else { 0 };
        let wait = RETRY.saturating_mul(1 << self.failures.saturating_sub(1).min(8)).min(RETRY_MAX);
        later(now, wait)
    }

    /// Whether it has volumes that are not its own.
    fn has_claims(&self) -> bool {
        api::storage::claim_names(&self.pod).next().is_some()
    }

    fn pulled(&mut self, place: Place, pulled: Pulled, effects: &mut Vec<Effect>) {
        let Some(state) = self.containers.get_mut(place).filter(|state| state.phase == Phase::Pulling) else { return };
        for LinkedImage { reference, fetched, .. } in &pulled.linked {
            tell(effects, Some(place), Severity::Normal, "Pulled", &told_of_pull(reference, *fetched));
        }
        tell(effects, Some(place), Severity::Normal, "Pulled", &told_of_pull(&state.image, pulled.fetched));
        state.image_id = Some(pulled.image_id);
        state.linked = pulled.linked;
        state.phase = Phase::Preparing;
        effects.push(Effect::Prepare(place));
    }

    fn not_pulled(&mut self, place: Place, why: NotPulled, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(state) = self.containers.get_mut(place).filter(|state| state.phase == Phase::Pulling) else { return };
        let NotPulled { image, reason, message } = why;
        let until = state.pulls.after_failure(now);
        let (telling, message) = match reason {
            "ErrImagePull" => {
                let message = format!("failed to pull image \"{image}\": {message}");
                let told = format!("Failed to pull image \"{image}\": {message}");
                tell(effects, Some(place), Severity::Warning, "Failed", &told);
                (Telling::Error { until: later(now, ERROR_SHOWN) }, message)
            }
            _ => {
                tell(effects, Some(place), Severity::Warning, event_of(reason), &message);
                (Telling::Settled, message)
            }
        };
        tell(effects, Some(place), Severity::Warning, "Failed", &format!("Error: {reason}"));
        state.phase = Phase::NoImage { image, until, reason, message, telling };
    }

    fn prepared(&mut self, place: Place, nature: Nature) {
        if let Some(state) = self.containers.get_mut(place).filter(|state| state.phase == Phase::Preparing) {
            state.nature = nature;
            state.pulls.forget();
            state.phase = Phase::Prepared;
        }
    }

    fn started(&mut self, place: Place, run: u32, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(spec) = container(&self.pod, place) else { return };
        let Some(state) = self.containers.get_mut(place) else { return };
        if state.phase != Phase::Starting || state.runs != run {
            return;
        }
        state.runs += 1;
        state.blocked = None;
        state.probes = ProbeState::of(spec, now);
        state.phase = Phase::Running { began: now };
        state.awaits_hook = Hook::PostStart.of(spec).is_some();
        tell(effects, Some(place), Severity::Normal, "Created", &format!("Created container: {}", state.name));
        tell(effects, Some(place), Severity::Normal, "Started", &format!("Started container {}", state.name));
        if state.awaits_hook {
            effects.push(Effect::Hook(place, run, Hook::PostStart, None));
        }
    }

    fn not_started(&mut self, place: Place, why: Blocked, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(state) = self.containers.get_mut(place).filter(|state| state.phase == Phase::Starting) else { return };
        tell(effects, Some(place), Severity::Warning, "Failed", &format!("Error: {}", why.message));
        state.phase = Phase::Blocked { until: later(now, RETRY) };
        state.blocked = Some(why);
    }

    fn exited(&mut self, place: Place, run: u32, exit: Exit, now: Timestamp, effects: &mut Vec<Effect>) {
        let policy = self.restarts(place);
        let leaving = self.is_leaving();
        let Some(state) = self.containers.get_mut(place) else { return };
        let (began, why) = match state.phase {
            Phase::Running { began } => (began, None),
            Phase::Parting { began, why, .. } | Phase::Stopping { began, why } => (began, Some(why)),
            _ => return,
        };
        if state.run() != run {
            return;
        }
        let mut ended = Ended::of(exit, why, state.nature, began, now);
        ended.id = Some(container_id(&self.pod, &state.name, run));
        ended.message = state.words.take().or(ended.message);
        let again = match policy {
            Restarts::Always => true,
            Restarts::OnFailure => ended.code != 0,
            Restarts::Never => matches!(why, Some(Why::Changed | Why::Resized)),
        };
        state.record(ended);
        state.phase = match why {
            _ if leaving || !again => Phase::Over,
            Some(Why::Changed | Why::Resized) => Phase::Resting { until: now },
            _ => Phase::Resting { until: state.restarts.after_run(began, now) },
        };
        if matches!(state.phase, Phase::Resting { until } if until > now) {
            let message =
                format!("Back-off restarting failed container {} in pod {}", state.name, full_name(&self.pod));
            tell(effects, Some(place), Severity::Warning, "BackOff", &message);
        }
    }

    fn probed(
        &mut self,
        place: Place,
        run: u32,
        kind: ProbeKind,
        outcome: &Outcome,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let grace = self.probe_grace(place, kind);
        let Some(state) = self.containers.get_mut(place) else { return };
        if !matches!(state.phase, Phase::Running { .. }) || state.run() != run {
            return;
        }
        let Some(probe) = state.probes.iter_mut().find(|probe| probe.kind == kind) else { return };
        let turn = probe.answered(outcome);
        if let Outcome::Failed(message) = outcome {
            let message = format!("{} probe failed: {message}", kind.title());
            tell(effects, Some(place), Severity::Warning, "Unhealthy", &message);
        }
        if turn == Turn::Failing && kind != ProbeKind::Readiness {
            let word = kind.title().to_lowercase();
            let message = format!("Container {} failed {word} probe, will be restarted", state.name);
            self.end(place, Why::Unhealthy, &message, grace, now, effects);
        }
    }

    fn phase(&self, place: Place) -> Option<&Phase> {
        self.containers.get(place).map(|state| &state.phase)
    }

    fn is_leaving(&self) -> bool {
        matches!(
            self.stage,
            Stage::Leaving { .. } | Stage::Stopping | Stage::Unmounting { .. } | Stage::Over | Stage::Gone
        )
    }

    fn is_deleted(&self) -> bool {
        self.pod.metadata.deletion_timestamp.is_some()
    }

    /// What the pod's containers are given to end.
    fn grace(&self) -> std::time::Duration {
        let spec = self.pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
        let grace = self.pod.metadata.deletion_grace_period_seconds.or(spec).unwrap_or(GRACE_SECONDS_DEFAULT);
        std::time::Duration::from_secs(u64::try_from(grace).unwrap_or(0))
    }

    fn probe_grace(&self, place: Place, kind: ProbeKind) -> std::time::Duration {
        let own = self.container(place).and_then(|spec| kind.of(spec)?.termination_grace_period_seconds);
        own.and_then(|own| u64::try_from(own).ok()).map_or_else(|| self.grace(), std::time::Duration::from_secs)
    }

    /// When a container that ended is run again.
    fn restarts(&self, place: Place) -> Restarts {
        let policy = self.pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
        match (self.containers.get(place).map(|state| state.role), policy) {
            (Some(Role::Sidecar), _) => Restarts::Always,
            (Some(Role::Ephemeral), _) => Restarts::Never,
            (_, Some("Never")) => Restarts::Never,
            (_, Some("OnFailure")) | (Some(Role::Init), _) => Restarts::OnFailure,
            _ => Restarts::Always,
        }
    }
}

/// A restart policy, as it applies to one container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Restarts {
    Always,
    OnFailure,
    Never,
}

fn containers(pod: &Pod) -> Vec<ContainerState> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let init = spec.init_containers.iter().flatten().map(|container| {
        let sidecar = container.restart_policy.as_deref() == Some("Always");
        (container, if sidecar { Role::Sidecar } else { Role::Init })
    });
    let main = spec.containers.iter().map(|container| {
        let role = if is_ephemeral(spec, &container.name) { Role::Ephemeral } else { Role::Main };
        (container, role)
    });
    init.chain(main).map(|(container, role)| ContainerState::new(&container.name, image_of(container), role)).collect()
}

/// The container at a place of a pod.
pub(crate) fn container(pod: &Pod, place: Place) -> Option<&Container> {
    let PodSpec { init_containers, containers, .. } = pod.spec.as_ref()?;
    init_containers.iter().flatten().chain(containers).nth(place)
}

/// The name of one run of a container.
pub(crate) fn container_id(pod: &Pod, container: &str, run: u32) -> String {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    format!("coracle://{uid}/{container}/{run}")
}

/// A pod as a kubelet calls it in its events: `name_namespace(uid)`.
pub(crate) fn full_name(pod: &Pod) -> String {
    let word = |word: &Option<String>| word.clone().unwrap_or_default();
    let metadata = &pod.metadata;
    format!("{}_{}({})", word(&metadata.name), word(&metadata.namespace), word(&metadata.uid))
}

fn told_of_pull(image: &str, fetched: Option<(std::time::Duration, u64)>) -> String {
    let Some((took, bytes)) = fetched else { return format!("Container image \"{image}\" already present on machine") };
    let took = seconds(took);
    format!("Successfully pulled image \"{image}\" in {took} ({took} including waiting). Image size: {bytes} bytes.")
}

fn image_of(container: &Container) -> &str {
    container.image.as_deref().unwrap_or_default()
}

fn event_of(reason: &str) -> &'static str {
    match reason {
        "InvalidImageName" => "InspectFailed",
        "ErrImageNeverPull" => "ErrImageNeverPull",
        _ => "Failed",
    }
}

fn tell(effects: &mut Vec<Effect>, container: Option<Place>, severity: Severity, reason: &'static str, message: &str) {
    effects.push(Effect::Tell(Told { container, severity, reason, message: message.to_owned() }));
}

/// A duration as Kubernetes writes it: `12ms`, `1.234s`.
fn seconds(took: std::time::Duration) -> String {
    match took.as_millis() {
        0 => format!("{}µs", took.as_micros()),
        millis @ 1..1_000 => format!("{millis}ms"),
        _ => format!("{:.3}s", took.as_secs_f64()),
    }
}
