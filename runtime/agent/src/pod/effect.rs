//! What happens to a pod, and what is to be done about it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;

use super::container::{Exit, Nature};
use super::hook::Hook;
use super::probe::{Outcome, ProbeKind};
use super::resize::Unfit;

/// A container by its place: init containers first, in the order of the spec.
pub type Place = usize;

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Happening {
    /// The cluster says this about the pod now.
    Wanted(Arc<Pod>),
    /// The pod is gone from the cluster, or was never to be.
    Removed,
    /// Time has passed.
    Tick,
    /// The pod has an address.
    Addressed(IpAddr),
    /// It could not be given one.
    NotAddressed(String),
    /// Its volumes are there.
    Mounted,
    /// They could not be made.
    NotMounted(NotMounted),
    /// What it wrote to them is where it belongs.
    Unmounted,
    /// It is not yet.
    NotUnmounted(NotMounted),
    /// A container's image is here.
    Pulled(Place, Pulled),
    /// It could not be fetched.
    NotPulled(Place, NotPulled),
    /// The component can be run.
    Prepared(Place, Nature),
    /// It cannot.
    NotPrepared(Place, String),
    /// A run has begun.
    Started(Place, u32),
    /// A run could not be put together.
    NotStarted(Place, Blocked),
    /// A run that is about to be told as ended has left these words.
    LeftWords(Place, u32, String),
    /// A run has ended.
    Exited(Place, u32, Exit),
    /// The node is short of something, or the pod keeps more than it may: it goes, for this reason.
    Evicted(String),
    /// The node does not take the pod.
    Rejected(Rejected),
    /// The node promises the containers what they have in this pod.
    Allotted(Arc<Pod>),
    /// It does not promise that.
    NotAllotted(Arc<Pod>, Unfit),
    /// A probe of a run has an answer.
    Probed(Place, u32, ProbeKind, Outcome),
    /// A hook of a run has come to its end.
    Hooked(Place, u32, Hook, Outcome),
}

/// Why a node does not take a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// One word.
    pub reason: &'static str,
    /// Why, for a person.
    pub message: String,
}

/// An image that is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// `repository@sha256:…`.
    pub image_id: String,
    /// How long it took and how large it is; none when it was here already.
    pub fetched: Option<(Duration, u64)>,
    /// What is linked to it.
    pub linked: Vec<LinkedImage>,
}

/// An image that is here to be linked to a container's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedImage {
    /// Its name.
    pub reference: String,
    /// What the name means: `repository@sha256:…`.
    pub id: String,
    /// As with the container's own.
    pub fetched: Option<(Duration, u64)>,
}

/// Why there is no image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotPulled {
    /// The image, which need not be the container's own.
    pub image: String,
    /// `ErrImagePull`, `InvalidImageName` or `ErrImageNeverPull`.
    pub reason: &'static str,
    /// Why, for a person.
    pub message: String,
}

/// Why there are no volumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotMounted {
    /// The volume.
    pub volume: String,
    /// Why, for a person.
    pub message: String,
    /// Whether it is of a kind that this node does not have.
    pub unsupported: bool,
    /// Whether somebody else is to do something about it, who is asked less often the longer it lasts.
    pub is_elsewhere: bool,
}

impl NotMounted {
    /// The event that tells of it.
    pub(crate) fn told(&self) -> Told {
        let message = format!("MountVolume.SetUp failed for volume \"{}\" : {}", self.volume, self.message);
        Told { container: None, severity: Severity::Warning, reason: "FailedMount", message }
    }

    /// The same of a volume that is to be let go of.
    pub(crate) fn told_at_end(&self) -> Told {
        let message = format!("UnmountVolume.TearDown failed for volume \"{}\" : {}", self.volume, self.message);
        Told { container: None, severity: Severity::Warning, reason: "FailedUnmount", message }
    }
}

/// Why a run could not be put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// `CreateContainerConfigError` or `CreateContainerError`.
    pub reason: &'static str,
    /// Why, for a person.
    pub message: String,
}

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Claim an address; answered by `Addressed` or `NotAddressed`.
    ClaimAddress,
    /// Make the volumes; answered by `Mounted` or `NotMounted`.
    Mount,
    /// Bring what the pod wrote where it belongs; answered by `Unmounted` or `NotUnmounted`.
    Unmount,
    /// Fetch the image; answered by `Pulled` or `NotPulled`.
    Pull(Place),
    /// Prepare the component; answered by `Prepared` or `NotPrepared`.
    Prepare(Place),
    /// Begin this run; answered by `Started` or `NotStarted`, later by `Exited`.
    Start(Place, u32),
    /// End this run within the grace; answered by `Exited`.
    Stop(Place, u32, Duration),
    /// Ask the node for what the pod wants; answered by `Allotted` or `NotAllotted`, maybe by one after the other.
    Allot,
    /// Give this run what the container has been promised.
    Resize(Place, u32),
    /// Ask a probe of this run; answered by `Probed`.
    Probe(Place, u32, ProbeKind),
    /// Carry out this hook of this run within the time given, if any; answered by `Hooked`.
    Hook(Place, u32, Hook, Option<Duration>),
    /// Write an event.
    Tell(Told),
    /// Nobody needs its volumes any more: make room.
    Vacate,
    /// Let go of everything the pod has on this node.
    Release,
    /// The pod has ended on this node: delete it from the cluster for good.
    Delete,
}

/// An event, as `kubectl describe` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The container it is about, if it is about one.
    pub container: Option<Place>,
    /// Whether something is wrong.
    pub severity: Severity,
    /// One word.
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
}

/// The type of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// All is well.
    Normal,
    /// Somebody should look.
    Warning,
}
