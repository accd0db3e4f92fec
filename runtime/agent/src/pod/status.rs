//! A pod's status as a kubelet reports it: a pure function of its state.

use std::net::IpAddr;

use api::pod_spec::resize;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState as State, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, HostIP, PodCondition, PodIP, PodSpec, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::container::{ContainerState, Ended, Phase, Role, Telling};
use super::{Place, PodState, Restarts, Stage, container, container_id};
use crate::desired::is_ephemeral;
use crate::quantity;

/// The phases of a pod.
const PENDING: &str = "Pending";
const RUNNING: &str = "Running";
const SUCCEEDED: &str = "Succeeded";
const FAILED: &str = "Failed";

/// The condition that tells which images are linked to those of containers.
pub(crate) const LINKED: &str = "coracle.dev/Linked";

impl PodState {
    /// The status as it should read now; what others wrote into the last one (`PodScheduled`, readiness gates) is kept.
    pub fn status(&self, host: IpAddr, last: &PodStatus, now: Timestamp) -> PodStatus {
        let phase = self.pod_phase();
        let mut status = last.clone();
        status.phase = Some(phase.to_owned());
        status.observed_generation = self.wanted.metadata.generation;
        status.reason = self.verdict.as_ref().map(|verdict| verdict.reason.to_string());
        status.message = self.verdict.as_ref().map(|verdict| verdict.message.to_string());
        status.start_time = Some(time(self.started_at));
        status.host_ip = Some(host.to_string());
        status.host_ips = Some(vec![HostIP { ip: host.to_string() }]);
        if let Some(address) = self.address {
            status.pod_ip = Some(address.to_string());
            status.pod_ips = Some(vec![PodIP { ip: address.to_string() }]);
        }
        status.qos_class = Some(self.pod.spec.as_ref().map_or("BestEffort", qos_class).to_owned());
        let statuses: Vec<(Role, ContainerStatus)> =
            (0..).zip(&self.containers).map(|(place, state)| self.container_status(place, state)).collect();
        let told = |roles: &[Role]| {
            let statuses = statuses.iter().filter(|(role, _)| roles.contains(role));
            let statuses: Vec<ContainerStatus> = statuses.map(|(_, status)| status.clone()).collect();
            (!statuses.is_empty()).then_some(statuses)
        };
        status.init_container_statuses = told(&[Role::Init, Role::Sidecar]);
        status.container_statuses = told(&[Role::Main]);
        status.ephemeral_container_statuses = told(&[Role::Ephemeral]);
        status.conditions = Some(self.conditions(phase, last.conditions.as_deref().unwrap_or_default(), now));
        status
    }

    /// `Pending`, `Running`, `Succeeded` or `Failed`. An end is not told before what the pod wrote is where it belongs: others may
    /// have its claims from then on.
    fn pod_phase(&self) -> &'static str {
        match self.pod_phase_by_containers() {
            SUCCEEDED | FAILED if self.has_claims() && !self.is_over() => RUNNING,
            phase => phase,
        }
    }

    fn pod_phase_by_containers(&self) -> &'static str {
        if self.verdict.is_some() {
            return FAILED;
        }
        if self.has_failed_to_initialise() {
            return FAILED;
        }
        let initialising = self.containers.iter().any(|state| match state.role {
            Role::Init => !state.succeeded() && !self.is_over(),
            Role::Sidecar => state.runs == 0 && !self.is_over(),
            Role::Main | Role::Ephemeral => false,
        });
        let main = || self.of_role(Role::Main);
        let never_ran = main().any(|state| state.ended.is_none() && !state.is_live());
        if initialising || never_ran {
            return if self.is_over() { FAILED } else { PENDING };
        }
        let all_over = main().all(ContainerState::is_over);
        match (all_over, main().all(ContainerState::succeeded)) {
            (true, true) => SUCCEEDED,
            (true, false) => FAILED,
            (false, _) => RUNNING,
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over | Stage::Gone)
    }

    fn container_status(&self, place: Place, state: &ContainerState) -> (Role, ContainerStatus) {
        let terminated = |ended: &Ended| State { terminated: Some(ended_status(ended)), ..State::default() };
        let now = self.container_now(state);
        let last = if now.terminated.is_some() { &state.ended_before } else { &state.ended };
        let live = state.is_live();
        let ready = match state.role {
            Role::Init => state.succeeded(),
            Role::Main | Role::Sidecar => state.is_ready() && !self.is_leaving(),
            Role::Ephemeral => false,
        };
        let id = match (&now.terminated, live) {
            (_, true) => Some(container_id(&self.pod, &state.name, state.run())),
            (Some(ended), false) => ended.container_id.clone(),
            (None, false) => state.ended.as_ref().and_then(|ended| ended.id.clone()),
        };
        let promised = container(&self.pod, place).and_then(|spec| spec.resources.clone()).unwrap_or_default();
        let allocated = promised.requests.clone().filter(|_| state.role != Role::Ephemeral);
        let holds = state.applied.clone().filter(|_| live).unwrap_or(promised);
        let status = ContainerStatus {
            allocated_resources: allocated,
            resources: (state.role != Role::Ephemeral).then_some(holds),
            name: state.name.clone(),
            image: state.image.clone(),
            image_id: state.image_id.clone().unwrap_or_default(),
            container_id: id,
            ready,
            started: Some(state.is_started()),
            restart_count: i32::try_from(state.restart_count()).unwrap_or(i32::MAX),
            last_state: Some(last.as_ref().map_or_else(State::default, terminated)),
            state: Some(now),
            ..ContainerStatus::default()
        };
        (state.role, status)
    }

    fn container_now(&self, state: &ContainerState) -> State {
        let waiting = |reason: &str, message: Option<String>| State {
            waiting: Some(ContainerStateWaiting { reason: Some(reason.to_owned()), message }),
            ..State::default()
        };
        // While it is tried again, too: what keeps it has not changed until it runs.
        let is_tried = matches!(state.phase, Phase::Blocked { .. } | Phase::Starting);
        if let Some(why) = state.blocked.as_ref().filter(|_| is_tried) {
            return waiting(why.reason, Some(why.message.clone()));
        }
        match &state.phase {
            Phase::Running { began } | Phase::Parting { began, .. } | Phase::Stopping { began, .. } => {
                State { running: Some(ContainerStateRunning { started_at: Some(time(*began)) }), ..State::default() }
            }
            Phase::NoImage { telling: Telling::Backoff, image, reason, message, .. } => {
                let message = format!("Back-off pulling image \"{image}\": {reason}: {message}");
                waiting("ImagePullBackOff", Some(message))
            }
            Phase::NoImage { reason, message, .. } => waiting(reason, Some(message.clone())),
            Phase::Resting { until } if *until > self.ended_at(state) => {
                let wait = until.duration_since(self.ended_at(state)).as_secs();
                let (name, pod) = (&state.name, super::full_name(&self.pod));
                let wait = if wait % 60 == 0 { format!("{}m0s", wait / 60) } else { wait_words(wait) };
                let message = format!("back-off {wait} restarting failed container={name} pod={pod}");
                waiting("CrashLoopBackOff", Some(message))
            }
            _ => match (&state.ended, &self.trouble) {
                (Some(ended), _) => State { terminated: Some(ended_status(ended)), ..State::default() },
                (None, Some(trouble)) => waiting(trouble.reason, Some(trouble.message.clone())),
                (None, None) if state.phase == Phase::Idle && self.has_init() => waiting("PodInitializing", None),
                (None, None) if state.phase == Phase::Over && self.has_init() => waiting("PodInitializing", None),
                (None, None) => waiting("ContainerCreating", None),
            },
        }
    }

    fn has_init(&self) -> bool {
        self.containers.iter().any(|state| matches!(state.role, Role::Init | Role::Sidecar))
    }

    fn ended_at(&self, state: &ContainerState) -> Timestamp {
        state.ended.as_ref().and_then(|ended| ended.ended).unwrap_or(self.started_at)
    }

    fn conditions(&self, phase: &str, last: &[PodCondition], now: Timestamp) -> Vec<PodCondition> {
        let containers_ready = self.containers_ready(phase);
        let ready = match containers_ready.clone() {
            Fact { holds: true, .. } => self.gates_ready(last),
            not_ready => not_ready,
        };
        let sandbox = Fact::plain(self.address.is_some() && !self.is_over());
        let mut facts = vec![
            ("PodReadyToStartContainers", sandbox),
            ("Initialized", self.initialised(phase)),
            ("Ready", ready),
            ("ContainersReady", containers_ready),
        ];
        if let Some(verdict) = self.verdict.as_ref().filter(|_| self.is_evicted()) {
            let message = Some(verdict.message.to_string());
            facts.push(("DisruptionTarget", Fact { holds: true, reason: Some("TerminationByKubelet"), message }));
        }
        facts.extend(self.linked().map(|message| (LINKED, Fact { holds: true, reason: None, message: Some(message) })));
        if let Some(why) = self.unfit().filter(|_| self.is_active()) {
            let message = Some(why.message.clone());
            facts.push((resize::PENDING, Fact { holds: true, reason: Some(why.reason), message }));
        }
        if self.is_resizing() {
            facts.push((resize::IN_PROGRESS, Fact::plain(true)));
        }
        let mut conditions: Vec<PodCondition> =
            facts.iter().map(|(kind, fact)| fact.condition(kind, last, now)).collect();
        let is_known = |kind: &str| facts.iter().any(|(known, _)| *known == kind);
        let is_over = |kind: &str| matches!(kind, resize::PENDING | resize::IN_PROGRESS);
        conditions.extend(last.iter().filter(|known| !is_known(&known.type_) && !is_over(&known.type_)).cloned());
        conditions
    }

    /// What the images that are linked to those of containers mean; a container's status has a place for its own alone.
    fn linked(&self) -> Option<String> {
        let containers = self.containers.iter().filter(|state| !state.linked.is_empty()).map(|state| {
            let images: Vec<String> =
                state.linked.iter().map(|linked| format!("{} is {}", linked.reference, linked.id)).collect();
            format!("container {}: {}", state.name, images.join(", "))
        });
        let containers: Vec<String> = containers.collect();
        (!containers.is_empty()).then(|| containers.join("; "))
    }

    fn initialised(&self, phase: &str) -> Fact {
        let incomplete: Vec<&str> = self
            .containers
            .iter()
            .filter(|state| match state.role {
                Role::Init => !state.succeeded(),
                Role::Sidecar => !state.is_started() && !state.is_over(),
                Role::Main | Role::Ephemeral => false,
            })
            .map(|state| state.name.as_str())
            .collect();
        match incomplete.as_slice() {
            [] if phase == SUCCEEDED => Fact { holds: true, reason: Some("PodCompleted"), message: None },
            [] => Fact::plain(true),
            names => Fact::failing(
                "ContainersNotInitialized",
                format!("containers with incomplete status: {}", listed(names)),
            ),
        }
    }

    fn containers_ready(&self, phase: &str) -> Fact {
        match phase {
            SUCCEEDED => return Fact { holds: false, reason: Some("PodCompleted"), message: None },
            FAILED => return Fact { holds: false, reason: Some("PodFailed"), message: None },
            _ => {}
        }
        let unready = self.containers.iter().filter(|state| matches!(state.role, Role::Main | Role::Sidecar));
        let unready: Vec<&str> =
            unready.filter(|state| !state.is_ready() || self.is_leaving()).map(|state| state.name.as_str()).collect();
        match unready.as_slice() {
            [] => Fact::plain(true),
            names => Fact::failing("ContainersNotReady", format!("containers with unready status: {}", listed(names))),
        }
    }

    fn gates_ready(&self, last: &[PodCondition]) -> Fact {
        let gates = self.pod.spec.as_ref().and_then(|spec| spec.readiness_gates.as_deref()).unwrap_or_default();
        let messages: Vec<String> = gates
            .iter()
            .filter_map(|gate| {
                let kind = &gate.condition_type;
                match last.iter().find(|known| known.type_ == *kind) {
                    None => Some(format!("corresponding condition of pod readiness gate \"{kind}\" does not exist.")),
                    Some(known) if known.status == "True" => None,
                    Some(known) => Some(format!(
                        "the status of pod readiness gate \"{kind}\" is not \"True\", but {}",
                        known.status
                    )),
                }
            })
            .collect();
        if messages.is_empty() {
            Fact::plain(true)
        } else {
            Fact::failing("ReadinessGatesNotReady", messages.join(", "))
        }
    }

    /// Whether a container that ended is always run again; then its pod is never over by itself.
    pub fn is_endless(&self) -> bool {
        (0..self.containers.len()).any(|place| self.restarts(place) == Restarts::Always)
    }
}

/// A condition before it has a time.
#[derive(Clone)]
struct Fact {
    holds: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

impl Fact {
    fn plain(holds: bool) -> Self {
        Self { holds, reason: None, message: None }
    }

    fn failing(reason: &'static str, message: String) -> Self {
        Self { holds: false, reason: Some(reason), message: Some(message) }
    }

    /// The condition; its time is that of the last change between true and false.
    fn condition(&self, kind: &str, last: &[PodCondition], now: Timestamp) -> PodCondition {
        let status = if self.holds { "True" } else { "False" };
        let known = last.iter().find(|known| known.type_ == kind && known.status == status);
        PodCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: self.reason.map(str::to_owned),
            message: self.message.clone(),
            last_transition_time: known
                .and_then(|known| known.last_transition_time.clone())
                .or_else(|| Some(time(now))),
            ..PodCondition::default()
        }
    }
}

/// A time in whole seconds, as Kubernetes writes it.
fn time(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

fn listed(names: &[&str]) -> String {
    format!("[{}]", names.join(" "))
}

fn wait_words(seconds: i64) -> String {
    if seconds < 60 { format!("{seconds}s") } else { format!("{}m{}s", seconds / 60, seconds % 60) }
}

fn ended_status(ended: &Ended) -> ContainerStateTerminated {
    ContainerStateTerminated {
        exit_code: ended.code,
        reason: Some(ended.reason.clone()),
        message: ended.message.clone(),
        started_at: ended.began.map(time),
        finished_at: ended.ended.map(time),
        container_id: ended.id.clone(),
        signal: None,
    }
}

/// `Guaranteed`, `Burstable` or `BestEffort`, by what the containers ask for and may take.
pub(crate) fn qos_class(spec: &PodSpec) -> &'static str {
    let main = || spec.containers.iter().filter(|container| !is_ephemeral(spec, &container.name));
    let containers = || spec.init_containers.iter().flatten().chain(main());
    let amount = |container: &Container, limits: bool, name: &str| {
        let resources = container.resources.as_ref()?;
        let list = if limits { &resources.limits } else { &resources.requests };
        list.as_ref()?.get(name).and_then(quantity::millis).filter(|amount| *amount > 0)
    };
    let names = ["cpu", "memory"];
    let asks_nothing = |container: &Container| {
        names.iter().all(|name| amount(container, true, name).is_none() && amount(container, false, name).is_none())
    };
    let has_all = |container: &Container| {
        names.iter().all(|name| {
            let limit = amount(container, true, name);
            limit.is_some() && amount(container, false, name).is_none_or(|request| Some(request) == limit)
        })
    };
    if containers().all(asks_nothing) {
        "BestEffort"
    } else if containers().all(has_all) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}
