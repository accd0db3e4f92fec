//! When to probe a container, and what the answers so far mean. Asking is for others.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Probe};

use super::backoff::later;

/// What a probe decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProbeKind {
    /// Whether the container has come up; the other probes wait for it.
    Startup,
    /// Whether it must be restarted.
    Liveness,
    /// Whether it may be given requests.
    Readiness,
}

/// What one question brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The container is well.
    Passed,
    /// It is not, and why.
    Failed(String),
}

/// What an answer changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing.
    Same,
    /// Enough successes in a row.
    Passing,
    /// Enough failures in a row.
    Failing,
}

/// One probe of one run of a container.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ProbeState {
    pub(crate) kind: ProbeKind,
    period: SignedDuration,
    successes_needed: u32,
    failures_needed: u32,
    successes: u32,
    failures: u32,
    next_at: Timestamp,
    asked: bool,
    pub(crate) passing: bool,
}

// === impl ProbeState ===

impl ProbeState {
    /// The probes of a container whose run began at `began`; a readiness probe fails until it passes.
    pub(crate) fn of(container: &Container, began: Timestamp) -> Vec<Self> {
        let probes = [
            (ProbeKind::Startup, &container.startup_probe),
            (ProbeKind::Liveness, &container.liveness_probe),
            (ProbeKind::Readiness, &container.readiness_probe),
        ];
        probes.into_iter().filter_map(|(kind, probe)| Some(Self::new(kind, probe.as_ref()?, began))).collect()
    }

    fn new(kind: ProbeKind, probe: &Probe, began: Timestamp) -> Self {
        let positive = |value: Option<i32>, default: u32| match value.map(u32::try_from) {
            Some(Ok(value @ 1..)) => value,
            _ => default,
        };
        let delay = probe.initial_delay_seconds.unwrap_or(0).max(0);
        Self {
            kind,
            period: SignedDuration::from_secs(positive(probe.period_seconds, 10).into()),
            successes_needed: positive(probe.success_threshold, 1),
            failures_needed: positive(probe.failure_threshold, 3),
            successes: 0,
            failures: 0,
            next_at: later(began, SignedDuration::from_secs(delay.into())),
            asked: false,
            passing: kind == ProbeKind::Liveness,
        }
    }

    /// Whether the question is due; asking is noted, and not repeated before the answer.
    pub(crate) fn ask(&mut self, now: Timestamp) -> bool {
        let due = !self.asked && self.next_at <= now && !(self.kind == ProbeKind::Startup && self.passing);
        if due {
            self.asked = true;
            self.next_at = later(now, self.period);
        }
        due
    }

    /// When the next question is due, unless an answer is awaited or nothing is left to ask.
    pub(crate) fn next_at(&self) -> Option<Timestamp> {
        let settled = self.kind == ProbeKind::Startup && self.passing;
        (!self.asked && !settled).then_some(self.next_at)
    }

    /// Takes an answer.
    pub(crate) fn answered(&mut self, outcome: &Outcome) -> Turn {
        self.asked = false;
        match outcome {
            Outcome::Passed => {
                self.failures = 0;
                self.successes = self.successes.saturating_add(1);
                if self.successes < self.successes_needed || self.passing {
                    return Turn::Same;
                }
                self.passing = true;
                Turn::Passing
            }
            Outcome::Failed(_) => {
                self.successes = 0;
                self.failures = self.failures.saturating_add(1);
                if self.failures < self.failures_needed {
                    return Turn::Same;
                }
                self.failures = 0;
                self.passing = false;
                Turn::Failing
            }
        }
    }
}

impl ProbeKind {
    /// The word that begins the event of a failure.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }

    /// The probe in a container's spec.
    pub(crate) fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            Self::Startup => container.startup_probe.as_ref(),
            Self::Liveness => container.liveness_probe.as_ref(),
            Self::Readiness => container.readiness_probe.as_ref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(kind: ProbeKind, json: &str) -> ProbeState {
        let probe: Probe = serde_json::from_str(json).expect("a probe");
        ProbeState::new(kind, &probe, Timestamp::UNIX_EPOCH)
    }

    fn check(kind: ProbeKind, settings: &str, answers: &str, turns: &[Turn]) {
        let mut probe = probe(kind, settings);
        let answers = answers.chars().map(|answer| match answer {
            '+' => Outcome::Passed,
            _ => Outcome::Failed(String::new()),
        });
        let found: Vec<Turn> = answers.map(|answer| probe.answered(&answer)).collect();
        assert_eq!(found, turns);
    }

    #[test]
    fn thresholds_count_answers_in_a_row() {
        use Turn::{Failing, Passing, Same};
        check(ProbeKind::Readiness, "{}", "+--+---", &[Passing, Same, Same, Same, Same, Same, Failing]);
        check(ProbeKind::Readiness, r#"{"successThreshold":2}"#, "+-++", &[Same, Same, Same, Passing]);
        check(ProbeKind::Liveness, r#"{"failureThreshold":1}"#, "+-", &[Same, Failing]);
    }

    #[test]
    fn a_question_waits_for_the_delay_and_the_answer() {
        let mut probe = probe(ProbeKind::Liveness, r#"{"initialDelaySeconds":5,"periodSeconds":2}"#);
        let at = |seconds| later(Timestamp::UNIX_EPOCH, SignedDuration::from_secs(seconds));
        assert!(!probe.ask(at(4)));
        assert_eq!(probe.next_at(), Some(at(5)));
        assert!(probe.ask(at(5)));
        assert!(!probe.ask(at(9)));
        assert_eq!(probe.next_at(), None);
        probe.answered(&Outcome::Passed);
        assert!(probe.ask(at(9)));
    }
}
