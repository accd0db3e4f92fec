//! What the facts and the time allow: the only place that starts, restarts and stops.

use std::borrow::Cow;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ResourceRequirements;

use super::backoff::later;
use super::container::{ContainerState, Phase, Role, Telling, Why};
use super::effect::{Effect, Place, Severity};
use super::hook::Hook;
use super::resize::Change;
use super::{LINGER, Nature, PodState, Stage, Step, Verdict, container, image_of, tell};

/// Why a pod with `activeDeadlineSeconds` failed, in Kubernetes' words.
const DEADLINE: Verdict =
    Verdict { reason: Cow::Borrowed("DeadlineExceeded"), message: Cow::Borrowed(DEADLINE_MESSAGE) };
const DEADLINE_MESSAGE: &str = "Pod was active on the node longer than the specified deadline";

impl PodState {
    /// Goes as far as it can.
    pub(super) fn advance(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        self.part_in_time(now, effects);
        self.ask_for_size(effects);
        loop {
            let before = self.stage;
            match self.stage {
                Stage::New | Stage::Arriving { .. } | Stage::Up if self.is_deleted() => self.leave(now),
                Stage::New => {
                    effects.extend([Effect::ClaimAddress, Effect::Mount]);
                    self.stage = Stage::Arriving { address: Step::Awaited, volumes: Step::Awaited };
                }
                Stage::Arriving { .. } => self.arrive(now, effects),
                Stage::Up => self.run(now, effects),
                Stage::Leaving { until } if until <= now => self.stage = Stage::Stopping,
                Stage::Stopping => self.stop(now, effects),
                Stage::Unmounting { volumes: Step::Done } => self.end_for_good(effects),
                Stage::Unmounting { volumes: Step::Failed { retry_at } } if retry_at <= now => {
                    effects.push(Effect::Unmount);
                    self.stage = Stage::Unmounting { volumes: Step::Awaited };
                }
                Stage::Over if self.is_deleted() => {
                    effects.extend([Effect::Release, Effect::Delete]);
                    self.stage = Stage::Gone;
                }
                Stage::Leaving { .. } | Stage::Unmounting { .. } | Stage::Over | Stage::Gone => {}
            }
            if self.stage == before {
                return;
            }
        }
    }

    /// When time alone will change something.
    pub fn wake_at(&self) -> Option<Timestamp> {
        self.wake_stage_at().into_iter().chain(self.part_at()).min()
    }

    fn wake_stage_at(&self) -> Option<Timestamp> {
        let retry_at = |step| match step {
            Step::Failed { retry_at } => Some(retry_at),
            Step::Awaited | Step::Done => None,
        };
        match self.stage {
            Stage::New | Stage::Stopping | Stage::Over | Stage::Gone => None,
            Stage::Leaving { until } => Some(until),
            Stage::Arriving { address, volumes } => [retry_at(address), retry_at(volumes)].into_iter().flatten().min(),
            Stage::Unmounting { volumes } => retry_at(volumes),
            Stage::Up => self.containers.iter().filter_map(wake_container_at).chain(self.deadline()).min(),
        }
    }

    fn arrive(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let Stage::Arriving { address, volumes } = &mut self.stage else { return };
        if *address == Step::Done && *volumes == Step::Done {
            self.trouble = None;
            self.stage = Stage::Up;
            return;
        }
        for (step, effect) in [(address, Effect::ClaimAddress), (volumes, Effect::Mount)] {
            if matches!(step, Step::Failed { retry_at } if *retry_at <= now) {
                *step = Step::Awaited;
                effects.push(effect);
            }
        }
    }

    fn run(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            self.verdict = Some(DEADLINE);
            tell(effects, None, Severity::Normal, "DeadlineExceeded", DEADLINE_MESSAGE);
            self.stage = Stage::Stopping;
            return;
        }
        for place in 0..self.containers.len() {
            self.run_container(place, now, effects);
        }
        if self.has_failed_to_initialise() || self.of_role(Role::Main).all(ContainerState::is_over) {
            self.stage = Stage::Stopping;
        }
    }

    fn run_container(&mut self, place: Place, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(image) = container(&self.pod, place).map(image_of) else { return };
        let may_begin = (0..place).all(|before| self.lets_next_start(before));
        let grace = self.grace();
        let resize = self.change(place);
        let sizes = container(&self.pod, place).and_then(|spec| spec.resources.clone()).unwrap_or_default();
        let state = &mut self.containers[place];
        let changed = state.image != image;
        match &mut state.phase {
            Phase::Idle if !may_begin => {}
            Phase::Idle => pull(state, image, place, effects),
            Phase::Resting { until } if *until <= now => pull(state, image, place, effects),
            Phase::NoImage { .. } | Phase::Blocked { .. } | Phase::Prepared if changed => {
                state.pulls.forget();
                pull(state, image, place, effects);
            }
            Phase::NoImage { until, .. } if *until <= now => pull(state, image, place, effects),
            Phase::NoImage { telling, image, .. } => {
                if matches!(telling, Telling::Error { until } if *until <= now) {
                    *telling = Telling::Backoff;
                    let message = format!("Back-off pulling image \"{image}\"");
                    tell(effects, Some(place), Severity::Normal, "BackOff", &message);
                    tell(effects, Some(place), Severity::Warning, "Failed", "Error: ImagePullBackOff");
                }
            }
            Phase::Prepared => start(state, sizes, place, effects),
            Phase::Blocked { until, .. } if *until <= now => start(state, sizes, place, effects),
            Phase::Running { .. } if changed => {
                let message = format!("Container {} definition changed, will be restarted", state.name);
                self.end(place, Why::Changed, &message, grace, now, effects);
            }
            Phase::Running { .. } if resize == Some(Change::Restart) => {
                let message = format!("Container {} resize requires restart", state.name);
                self.end(place, Why::Resized, &message, grace, now, effects);
            }
            Phase::Running { .. } => {
                if resize == Some(Change::Live) {
                    state.applied = Some(sizes);
                    effects.push(Effect::Resize(place, state.run()));
                }
                ask(state, place, now, effects);
            }
            _ => {}
        }
    }

    /// Deleted: first nobody new is sent here, then what is here ends.
    fn leave(&mut self, now: Timestamp) {
        let listens = |place: Place| {
            let ports = container(&self.pod, place).and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
            self.containers[place].nature == Nature::Server || !ports.is_empty()
        };
        let answers = (0..self.containers.len()).any(|place| self.containers[place].is_live() && listens(place));
        let linger = if answers { LINGER } else { SignedDuration::ZERO };
        let left = SignedDuration::try_from(self.grace_left(now)).unwrap_or(SignedDuration::ZERO);
        self.stage = Stage::Leaving { until: later(now, linger.min(left)) };
    }

    /// Whether the containers after this one may start, as far as it goes.
    fn lets_next_start(&self, place: Place) -> bool {
        let state = &self.containers[place];
        if state.role != Role::Main {
            return state.lets_next_start();
        }
        // Main containers start side by side, except that each waits for the hooks of those before it. One that cannot
        // start holds up nobody.
        let has_hook = container(&self.pod, place).is_some_and(|spec| Hook::PostStart.of(spec).is_some());
        let is_coming =
            matches!(state.phase, Phase::Idle | Phase::Pulling | Phase::Preparing | Phase::Prepared | Phase::Starting);
        !has_hook || !(state.awaits_hook || (is_coming && state.runs == 0))
    }

    /// Stops the main containers, then the side-cars.
    fn stop(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        // What is sent off is needed at once.
        let grace = if self.is_evicted() { Duration::ZERO } else { self.grace_left(now) };
        let mains_over = self.of_role(Role::Main).all(ContainerState::is_over);
        for place in 0..self.containers.len() {
            let state = &mut self.containers[place];
            match state.phase {
                Phase::Running { .. } if state.role == Role::Sidecar && !mains_over => {}
                Phase::Running { .. } => {
                    let message = format!("Stopping container {}", state.name);
                    self.end(place, Why::Pod, &message, grace, now, effects);
                }
                Phase::Starting | Phase::Parting { .. } | Phase::Stopping { .. } | Phase::Over => {}
                _ => state.phase = Phase::Over,
            }
        }
        if self.containers.iter().all(ContainerState::is_over) {
            if self.has_claims() {
                effects.push(Effect::Unmount);
                self.stage = Stage::Unmounting { volumes: Step::Awaited };
            } else {
                self.end_for_good(effects);
            }
        } else if !mains_over && self.of_role(Role::Main).all(ContainerState::is_over) {
            self.stop(now, effects);
        }
    }

    fn end_for_good(&mut self, effects: &mut Vec<Effect>) {
        self.stage = Stage::Over;
        if self.is_evicted() {
            effects.push(Effect::Vacate);
        }
    }

    /// What is left of the time the pod is given to end.
    fn grace_left(&self, now: Timestamp) -> Duration {
        let grace = self.grace();
        match &self.pod.metadata.deletion_timestamp {
            None => grace,
            Some(by) => Duration::try_from(by.0.duration_since(now)).unwrap_or(Duration::ZERO).min(grace),
        }
    }

    /// When the pod has been active for too long.
    fn deadline(&self) -> Option<Timestamp> {
        let seconds = self.pod.spec.as_ref()?.active_deadline_seconds?;
        Some(later(self.started_at, SignedDuration::from_secs(seconds)))
    }

    pub(super) fn has_failed_to_initialise(&self) -> bool {
        self.of_role(Role::Init).any(|state| state.is_over() && !state.succeeded())
    }

    pub(super) fn of_role(&self, role: Role) -> impl Iterator<Item = &ContainerState> {
        self.containers.iter().filter(move |state| state.role == role)
    }
}

fn start(state: &mut ContainerState, sizes: ResourceRequirements, place: Place, effects: &mut Vec<Effect>) {
    state.applied = Some(sizes);
    state.phase = Phase::Starting;
    effects.push(Effect::Start(place, state.runs));
}

fn pull(state: &mut ContainerState, image: &str, place: Place, effects: &mut Vec<Effect>) {
    image.clone_into(&mut state.image);
    state.phase = Phase::Pulling;
    effects.push(Effect::Pull(place));
}

/// Asks what is due; the others wait for the startup probe.
fn ask(state: &mut ContainerState, place: Place, now: Timestamp, effects: &mut Vec<Effect>) {
    let (run, started) = (state.run(), state.is_started());
    for probe in &mut state.probes {
        let waits = probe.kind != super::ProbeKind::Startup && !started;
        if !waits && probe.ask(now) {
            effects.push(Effect::Probe(place, run, probe.kind));
        }
    }
}

fn wake_container_at(state: &ContainerState) -> Option<Timestamp> {
    match &state.phase {
        Phase::NoImage { until, telling: Telling::Error { until: shown }, .. } => Some(*until.min(shown)),
        Phase::NoImage { until, .. } | Phase::Blocked { until, .. } | Phase::Resting { until } => Some(*until),
        Phase::Running { .. } => {
            let started = state.is_started();
            let due = state.probes.iter().filter(|probe| started || probe.kind == super::ProbeKind::Startup);
            due.filter_map(super::probe::ProbeState::next_at).min()
        }
        _ => None,
    }
}
