//! The hooks of a container: `postStart`, which holds up the containers after it, and `preStop`, which its end waits for.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, LifecycleHandler};

use super::backoff::later;
use super::container::{Phase, Why};
use super::effect::{Effect, Place, Severity};
use super::probe::Outcome;
use super::{PodState, tell};

/// Which hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Carried out as soon as the container runs.
    PostStart,
    /// Carried out before the container is asked to stop; it uses up the same grace.
    PreStop,
}

/// What a container is given to end however long its `preStop` hook took, as with a kubelet.
const GRACE_MIN: Duration = Duration::from_secs(2);

impl Hook {
    /// The hook in a container's spec.
    pub(crate) fn of(self, container: &Container) -> Option<&LifecycleHandler> {
        let lifecycle = container.lifecycle.as_ref()?;
        match self {
            Self::PostStart => lifecycle.post_start.as_ref(),
            Self::PreStop => lifecycle.pre_stop.as_ref(),
        }
    }
}

// === impl PodState ===

impl PodState {
    /// Ends a container that runs: its `preStop` hook first, if it has one and time for it.
    pub(super) fn end(
        &mut self,
        place: Place,
        why: Why,
        message: &str,
        grace: Duration,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let has_hook = self.container(place).is_some_and(|container| Hook::PreStop.of(container).is_some());
        let Some(state) = self.containers.get_mut(place) else { return };
        let Phase::Running { began } = state.phase else { return };
        let run = state.run();
        tell(effects, Some(place), Severity::Normal, "Killing", message);
        if has_hook && !grace.is_zero() {
            let until = later(now, SignedDuration::try_from(grace).unwrap_or(SignedDuration::MAX));
            state.phase = Phase::Parting { began, why, until };
            effects.push(Effect::Hook(place, run, Hook::PreStop, Some(grace)));
        } else {
            state.phase = Phase::Stopping { began, why };
            effects.push(Effect::Stop(place, run, grace));
        }
    }

    /// Takes how a hook went.
    pub(super) fn hooked(
        &mut self,
        place: Place,
        run: u32,
        hook: Hook,
        outcome: &Outcome,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let grace = self.grace();
        let Some(state) = self.containers.get_mut(place) else { return };
        if !state.is_live() || state.run() != run {
            return;
        }
        let failed = |reason: &'static str, title: &str, effects: &mut Vec<Effect>| {
            if let Outcome::Failed(message) = outcome {
                tell(effects, Some(place), Severity::Warning, reason, &format!("{title} failed: {message}"));
            }
        };
        match (hook, &state.phase) {
            (Hook::PostStart, phase) if state.awaits_hook => {
                let runs_on = matches!(phase, Phase::Running { .. });
                failed("FailedPostStartHook", "PostStartHook", effects);
                if *outcome == Outcome::Passed {
                    state.awaits_hook = false;
                } else if runs_on {
                    self.end(place, Why::Hook, "FailedPostStartHook", grace, now, effects);
                }
            }
            (Hook::PreStop, Phase::Parting { until, .. }) => {
                let until = *until;
                failed("FailedPreStopHook", "PreStopHook", effects);
                self.part(place, until, now, effects);
            }
            _ => {}
        }
    }

    /// Asks a container whose `preStop` hook is over, or has had its time, to stop.
    pub(super) fn part(&mut self, place: Place, until: Timestamp, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(state) = self.containers.get_mut(place) else { return };
        let Phase::Parting { began, why, .. } = state.phase else { return };
        let left = Duration::try_from(until.duration_since(now)).unwrap_or(Duration::ZERO);
        effects.push(Effect::Stop(place, state.run(), left.max(GRACE_MIN)));
        state.phase = Phase::Stopping { began, why };
    }

    /// Asks those to stop whose `preStop` hook has had its time.
    pub(super) fn part_in_time(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        for place in 0..self.containers.len() {
            if let Phase::Parting { until, .. } = self.containers[place].phase
                && until <= now
            {
                self.part(place, until, now, effects);
            }
        }
    }

    /// When a `preStop` hook has had its time.
    pub(super) fn part_at(&self) -> Option<Timestamp> {
        let parting = self.containers.iter().filter_map(|state| match state.phase {
            Phase::Parting { until, .. } => Some(until),
            _ => None,
        });
        parting.min()
    }
}
