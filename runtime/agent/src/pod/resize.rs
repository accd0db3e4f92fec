//! How much the containers of a pod may have, while that changes.
//!
//! What the cluster wants is not what holds: the node has to promise it first, and then each container is given it, as it runs or by
//! being started again, as it says itself. Everything but the question what is wanted goes by what is promised: [`PodState::pod`]
//! is the pod with that in it.

use std::sync::Arc;

use api::pod_spec::resize::{self, RESIZABLE};
use api::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};

use super::effect::{Effect, Place};
use super::{PodState, container};

/// How far a pod is with getting what it wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Resize {
    /// It has been promised what it wants.
    Settled,
    /// The node is to be asked.
    Due,
    /// The node has been asked.
    Asked,
    /// The node does not promise it.
    Pending(Unfit),
}

/// Why a pod is not promised what it wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// `Deferred` or `Infeasible`.
    pub reason: &'static str,
    /// Why, for a person.
    pub message: String,
}

/// What is to be done about a container that has something else than was promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It is given it as it runs.
    Live,
    /// It is started again.
    Restart,
}

impl PodState {
    /// The pod as the cluster wants it.
    pub fn wanted(&self) -> &Arc<Pod> {
        &self.wanted
    }

    /// Takes up what the cluster wants; what was promised stays until something else is.
    pub(super) fn want(&mut self, pod: Arc<Pod>) {
        let is_resized = !is_same_pod(&self.wanted, &pod);
        self.pod = sized_as(&pod, &self.pod);
        self.wanted = pod;
        if is_resized {
            self.resize = Resize::Due;
        }
    }

    /// Asks the node, if there is something to ask for.
    pub(super) fn ask_for_size(&mut self, effects: &mut Vec<Effect>) {
        if self.resize == Resize::Due && self.is_active() {
            self.resize = Resize::Asked;
            effects.push(Effect::Allot);
        }
    }

    /// The node has promised this.
    pub(super) fn allotted(&mut self, granted: &Pod) {
        self.pod = sized_as(&self.wanted, granted);
        if is_same_pod(&self.pod, &self.wanted) {
            self.resize = Resize::Settled;
        }
    }

    /// The node does not promise this.
    pub(super) fn not_allotted(&mut self, asked: &Pod, why: Unfit) {
        if is_same_pod(asked, &self.wanted) {
            self.resize = Resize::Pending(why);
        }
    }

    /// Why the pod is not promised what it wants, if it is not.
    pub(super) fn unfit(&self) -> Option<&Unfit> {
        match &self.resize {
            Resize::Pending(why) => Some(why),
            Resize::Settled | Resize::Due | Resize::Asked => None,
        }
    }

    /// Whether a container has yet to get what it was promised.
    pub(super) fn is_resizing(&self) -> bool {
        self.is_active() && (0..self.containers.len()).any(|place| self.change(place).is_some())
    }

    /// What is to be done about the container at a place, which has run.
    pub(super) fn change(&self, place: Place) -> Option<Change> {
        let state = self.containers.get(place).filter(|state| !state.is_over())?;
        change(container(&self.pod, place)?, state.applied.as_ref()?)
    }
}

/// The pod with what its status tells that its containers have: a node that begins anew promises them no less.
pub(super) fn as_told(pod: &Arc<Pod>) -> Arc<Pod> {
    let Some(spec) = &pod.spec else { return pod.clone() };
    let told = |container: &Container| resize::status_of(pod, &container.name)?.resources.clone();
    sized(pod, spec, told)
}

/// A pod whose containers have what those of another one have.
fn sized_as(pod: &Arc<Pod>, other: &Pod) -> Arc<Pod> {
    let Some(spec) = &pod.spec else { return pod.clone() };
    let of_other = |container: &Container| found(other, &container.name)?.resources.clone();
    sized(pod, spec, of_other)
}

fn sized(pod: &Arc<Pod>, spec: &PodSpec, sizes: impl Fn(&Container) -> Option<ResourceRequirements>) -> Arc<Pod> {
    let other = |container: &Container| {
        let none = ResourceRequirements::default();
        sizes(container).filter(|sizes| !is_same(sizes, container.resources.as_ref().unwrap_or(&none)))
    };
    if all(spec).all(|container| other(container).is_none()) {
        return pod.clone();
    }
    let mut pod = Pod::clone(pod);
    let spec = pod.spec.get_or_insert_default();
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        if let Some(sizes) = other(container) {
            container.resources = Some(sizes);
        }
    }
    Arc::new(pod)
}

fn all(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.init_containers.iter().flatten().chain(&spec.containers)
}

fn found<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    all(pod.spec.as_ref()?).find(|container| container.name == name)
}

/// Whether two pods want the same for the containers that both have.
fn is_same_pod(one: &Pod, other: &Pod) -> bool {
    let none = ResourceRequirements::default();
    let sizes = |container: &Container| container.resources.clone().unwrap_or_else(|| none.clone());
    one.spec
        .iter()
        .flat_map(all)
        .all(|container| found(other, &container.name).is_none_or(|other| is_same(&sizes(container), &sizes(other))))
}

fn is_same(one: &ResourceRequirements, other: &ResourceRequirements) -> bool {
    RESIZABLE.iter().all(|name| amounts(one, name) == amounts(other, name))
}

/// What is asked for of something, and the limit.
fn amounts(sizes: &ResourceRequirements, name: &str) -> [Option<Quantity>; 2] {
    [&sizes.requests, &sizes.limits].map(|amounts| amounts.as_ref()?.get(name).map(Quantity::of))
}

fn change(container: &Container, applied: &ResourceRequirements) -> Option<Change> {
    let none = ResourceRequirements::default();
    let wanted = container.resources.as_ref().unwrap_or(&none);
    let changed: Vec<&str> =
        RESIZABLE.into_iter().filter(|name| amounts(wanted, name) != amounts(applied, name)).collect();
    match changed.as_slice() {
        [] => None,
        changed if changed.iter().any(|name| resize::restarts(container, name)) => Some(Change::Restart),
        _ => Some(Change::Live),
    }
}
