//! One container of a pod, from its first pull to its last end.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ResourceRequirements;

use super::backoff::Backoff;
use super::effect::{Blocked, LinkedImage};
use super::probe::{ProbeKind, ProbeState};

/// The part a container plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Runs to its end before the next one starts.
    Init,
    /// Starts in line with the init containers and stays until the others have ended.
    Sidecar,
    /// What the pod is for.
    Main,
    /// Somebody's tool to look at the others with: it may come at any time, runs once, and nothing depends on it.
    Ephemeral,
}

/// Where a container is. Only `Starting`, `Running` and `Stopping` have, or may have, something that runs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Phase {
    /// Its turn has not come.
    Idle,
    /// Its image is being fetched.
    Pulling,
    /// There is no image to run; another try is due.
    NoImage { image: String, until: Timestamp, reason: &'static str, message: String, telling: Telling },
    /// The component is being compiled, mapped and linked.
    Preparing,
    /// It can be run.
    Prepared,
    /// A run has been asked for.
    Starting,
    /// A run could not be put together; another try is due.
    Blocked { until: Timestamp },
    /// It runs.
    Running { began: Timestamp },
    /// It runs, and is to be asked to stop as soon as its `preStop` hook has ended, or when the time is up.
    Parting { began: Timestamp, why: Why, until: Timestamp },
    /// It runs, and has been asked to stop.
    Stopping { began: Timestamp, why: Why },
    /// It keeps ending; the next run is due.
    Resting { until: Timestamp },
    /// It has ended, or never began, and will not run again.
    Over,
}

/// Whether a failed pull has been told as a back-off yet: first comes the error itself, so that it is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Telling {
    /// The error, until then.
    Error { until: Timestamp },
    /// That there is a wait.
    Backoff,
    /// The reason stays what it is.
    Settled,
}

/// Why a running container is being stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The pod goes.
    Pod,
    /// A probe says that it is not well.
    Unhealthy,
    /// Its image changed.
    Changed,
    /// It is to have more or less, and wants to be started again for that.
    Resized,
    /// Its `postStart` hook failed.
    Hook,
}

/// How a run ended, as its status tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The exit code.
    pub code: i32,
    /// `Completed`, `Error`, `OOMKilled`, …
    pub reason: String,
    /// More words, such as the trap.
    pub message: Option<String>,
    /// When the run began.
    pub began: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Which run it was.
    pub id: Option<String>,
}

/// What runs ended with, in the host's terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself.
    Code(i32),
    /// By a trap.
    Trapped(String),
    /// Because its memory limit refused it more.
    OutOfMemory,
    /// Because it was asked to.
    Stopped,
    /// Before it began.
    NotStarted(String),
}

/// What a component is, once it is prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// It answers requests and never ends by itself.
    Server,
    /// It runs and ends.
    Command,
}

/// Everything known about one container.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ContainerState {
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) role: Role,
    pub(crate) phase: Phase,
    /// How many runs have begun, those before this agent included.
    pub(crate) runs: u32,
    /// What was pulled: `repository@sha256:…`.
    pub(crate) image_id: Option<String>,
    /// What was linked to it then.
    pub(crate) linked: Vec<LinkedImage>,
    pub(crate) nature: Nature,
    /// How the last run that has ended did so, and the one before it.
    pub(crate) ended: Option<Ended>,
    pub(crate) ended_before: Option<Ended>,
    /// What the run that lives has left to tell.
    pub(crate) words: Option<String>,
    /// What the last run that was begun has, or had.
    pub(crate) applied: Option<ResourceRequirements>,
    /// Why the next run could not be put together when that was tried last.
    pub(crate) blocked: Option<Blocked>,
    pub(crate) probes: Vec<ProbeState>,
    /// Its `postStart` hook has not ended.
    pub(crate) awaits_hook: bool,
    pub(crate) restarts: Backoff,
    pub(crate) pulls: Backoff,
}

/// The code of a program that a signal ended: 128 and the signal's number, as shells and kubelets count.
const ABORTED: i32 = 134;
const KILLED: i32 = 137;
const TERMINATED: i32 = 143;

/// What a kubelet gives a run that could not begin.
const START_ERROR: i32 = 128;

// === impl ContainerState ===

impl ContainerState {
    pub(crate) fn new(name: &str, image: &str, role: Role) -> Self {
        Self {
            name: name.to_owned(),
            image: image.to_owned(),
            role,
            phase: Phase::Idle,
            runs: 0,
            image_id: None,
            linked: Vec::new(),
            nature: Nature::Command,
            ended: None,
            ended_before: None,
            words: None,
            applied: None,
            blocked: None,
            probes: Vec::new(),
            awaits_hook: false,
            restarts: Backoff::default(),
            pulls: Backoff::default(),
        }
    }

    /// The number of the run that is, or the one to come.
    pub(crate) fn run(&self) -> u32 {
        if self.is_live() { self.runs.saturating_sub(1) } else { self.runs }
    }

    /// How often it has been started again.
    pub(crate) fn restart_count(&self) -> u32 {
        self.runs.saturating_sub(1)
    }

    /// Whether something of it runs.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Running { .. } | Phase::Parting { .. } | Phase::Stopping { .. })
    }

    /// Whether it is over for good.
    pub(crate) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Whether it has come up: it runs, and its `postStart` hook and its startup probe, if any, have passed.
    pub(crate) fn is_started(&self) -> bool {
        matches!(self.phase, Phase::Running { .. }) && !self.awaits_hook && self.passing(ProbeKind::Startup)
    }

    /// Whether it may be given requests.
    pub(crate) fn is_ready(&self) -> bool {
        self.is_started() && self.passing(ProbeKind::Readiness)
    }

    /// Whether its last run ended well.
    pub(crate) fn succeeded(&self) -> bool {
        self.is_over() && self.ended.as_ref().is_some_and(|ended| ended.code == 0)
    }

    /// Whether the next init container may start.
    pub(crate) fn lets_next_start(&self) -> bool {
        match self.role {
            Role::Init => self.succeeded(),
            Role::Sidecar => self.is_started(),
            Role::Main => false,
            Role::Ephemeral => true,
        }
    }

    fn passing(&self, kind: ProbeKind) -> bool {
        self.probes.iter().all(|probe| probe.kind != kind || probe.passing)
    }

    /// Takes down how a run ended.
    pub(crate) fn record(&mut self, ended: Ended) {
        self.ended_before = self.ended.replace(ended);
        self.probes.clear();
        self.awaits_hook = false;
    }
}

// === impl Ended ===

impl Ended {
    /// What an exit means in a status.
    pub(crate) fn of(exit: Exit, why: Option<Why>, nature: Nature, began: Timestamp, ended: Timestamp) -> Self {
        let (code, reason, message) = match (exit, why, nature) {
            (Exit::Code(0), _, _) => (0, "Completed", None),
            (Exit::Code(code), _, _) => (code, "Error", None),
            (Exit::Trapped(message), _, _) => (ABORTED, "Error", Some(message)),
            (Exit::OutOfMemory, _, _) => (KILLED, "OOMKilled", None),
            (Exit::NotStarted(message), _, _) => (START_ERROR, "StartError", Some(message)),
            (Exit::Stopped, Some(Why::Unhealthy | Why::Hook), _) => (KILLED, "Error", None),
            (Exit::Stopped, _, Nature::Server) => (0, "Completed", None),
            (Exit::Stopped, _, Nature::Command) => (TERMINATED, "Error", None),
        };
        Self { code, reason: reason.to_owned(), message, began: Some(began), ended: Some(ended), id: None }
    }
}
