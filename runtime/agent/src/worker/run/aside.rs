//! What goes on beside a run: probes and hooks, whoever comes in from outside, and what it uses.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt as _;
use host::Spec;
use network::{Origin, Reach};

use super::Engine;
use crate::pod::{Happening, Hook, Outcome, Place, ProbeKind};
use crate::probing::{self, Aside, Asked};
use crate::usage::{self, ContainerUsage, PodUsage};
use crate::visit::{Inside, Visit};
use crate::worker::{Mail, Worker};

impl Worker {
    pub(in crate::worker) fn probe(&mut self, place: Place, run: u32, kind: ProbeKind) {
        let Some((asked, command)) = self.asked(place, run) else { return };
        let Some(probe) = kind.of(&asked.container).cloned() else { return };
        self.spawn(async move {
            let outcome: Outcome = probing::ask(&probe, &asked, command).await;
            Mail::Happened(Happening::Probed(place, run, kind, outcome))
        });
    }

    pub(in crate::worker) fn hook(&mut self, place: Place, run: u32, hook: Hook, within: Option<Duration>) {
        let Some((asked, command)) = self.asked(place, run) else { return };
        let Some(handler) = hook.of(&asked.container).cloned() else { return };
        self.spawn(async move {
            let outcome = probing::hook(&handler, &asked, within, command).await;
            Mail::Happened(Happening::Hooked(place, run, hook, outcome))
        });
    }

    /// What the pod's containers have used, those that run.
    pub(in crate::worker) fn used(&self) -> PodUsage {
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
    pub(in crate::worker) fn visited(&mut self, visit: Visit) {
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

/// The same, with nothing written anywhere.
pub(super) fn silent(spec: Spec) -> Spec {
    Spec { stdout: Arc::new(host::Discard), stderr: Arc::new(host::Discard), ..spec }
}
