//! Who is behind a service, as far as endpoints tell of them.

use std::collections::BTreeMap;

use api::{Object, kinds};
use k8s_openapi::api::core::v1::{ObjectReference, Pod, ServiceSpec};
use state::Snapshot;

use super::has_all;
use super::ports::{self, Port};
use crate::pods;

const ZONE: &str = "topology.kubernetes.io/zone";

/// An address behind a service: a pod's, or one that was written by hand.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Backend {
    pub(super) address: String,
    pub(super) ports: Vec<Port>,
    pub(super) ready: bool,
    pub(super) serving: bool,
    pub(super) terminating: bool,
    pub(super) hostname: Option<String>,
    pub(super) node: Option<String>,
    pub(super) zone: Option<String>,
    /// The zone whose clients should come here, where traffic is to stay near.
    pub(super) near: Option<String>,
    pub(super) target: Option<ObjectReference>,
}

// === impl Backend ===

impl Backend {
    /// What stays the same as long as it is the same one: the pod's uid, or else the address.
    pub(super) fn identity(&self) -> &str {
        let uid = self.target.as_ref().and_then(|target| target.uid.as_deref());
        uid.unwrap_or(&self.address)
    }

    /// The kind of address, as slices name it.
    pub(super) fn address_type(&self) -> &'static str {
        if self.address.contains(':') { "IPv6" } else { "IPv4" }
    }
}

/// The selected pods that have an address and have not ended, by address.
pub(super) fn backends(
    service: &Object,
    spec: &ServiceSpec,
    selector: &BTreeMap<String, String>,
    view: &Snapshot,
) -> Vec<Backend> {
    let selected =
        view.list_in(kinds::POD, service.key().namespace()).filter(|pod| has_all(&pod.meta().labels, selector));
    let mut backends: Vec<Backend> = selected.filter_map(|pod| backend(service, spec, pod, view)).collect();
    backends.sort_by(|a, b| (&a.address, a.identity()).cmp(&(&b.address, b.identity())));
    backends
}

fn backend(service: &Object, spec: &ServiceSpec, object: &Object, view: &Snapshot) -> Option<Backend> {
    let pod = object.decode::<Pod>().ok().filter(|pod| !pods::has_ended(pod))?;
    let address = pod.status.as_ref()?.pod_ip.clone().filter(|address| !address.is_empty())?;
    let serving = pods::is_ready(&pod);
    let terminating = object.meta().is_terminating();
    let node = pods::node(&pod).map(str::to_owned);
    let zone = node.as_ref().and_then(|node| view.get(&kinds::NODE.cluster_key(node)));
    let zone = zone.and_then(|node| node.meta().labels.get(ZONE)).cloned();
    let ready = spec.publish_not_ready_addresses == Some(true) || (serving && !terminating);
    let stays_near = ready && spec.traffic_distribution.as_deref() == Some("PreferClose");
    Some(Backend {
        ports: ports::resolve(spec, &pod),
        ready,
        serving,
        terminating,
        hostname: hostname(service, &pod),
        node,
        near: zone.clone().filter(|_| stays_near),
        zone,
        target: Some(ObjectReference {
            kind: Some("Pod".into()),
            namespace: Some(object.key().namespace().into()),
            name: Some(object.key().name().into()),
            uid: Some(object.meta().uid.to_string()),
            ..ObjectReference::default()
        }),
        address,
    })
}

/// A pod has a name of its own in the service that its subdomain names.
fn hostname(service: &Object, pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let subdomain = spec.subdomain.as_deref()?;
    spec.hostname.clone().filter(|name| !name.is_empty() && subdomain == service.key().name())
}
