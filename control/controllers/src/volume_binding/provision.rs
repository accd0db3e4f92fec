//! Making volumes: directories of a node, and folders of a store that every node reaches.
//!
//! The volume is written and bound to its claim in one transaction. Where the directory is only its node knows: the volume names
//! a driver and a handle, and carries the node's label and a finalizer that the node takes off when the directory is seen to.
//! Where the folder is the volume says itself; nothing is asked of the store before the first node mounts it.

use std::collections::BTreeMap;

use api::snapshots::{Origin, Saved};
use api::{Object, kinds, storage};
use k8s_openapi::api::core::v1::{
    Affinity, CSIPersistentVolumeSource, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm,
    PersistentVolume, PersistentVolumeClaim, PersistentVolumeSpec, Pod, PodSpec, VolumeNodeAffinity,
};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use scheduler::volumes::{Filling, topology_of};
use state::{Guard, Txn};

use super::{Case, HOST_NAME, bind, host_name};
use crate::created::created;
use crate::edit::{edited, replaced};
use crate::record::{Tale, Tone, told};

impl Case<'_> {
    /// A new volume on the node, or on the best there is, bound to the claim.
    pub(super) fn provisioned(self, class: &StorageClass, node: Option<&Object>) -> Txn {
        let made = self.node_for(class, node).and_then(|node| {
            let volume = created(kinds::PERSISTENT_VOLUME, &self.volume_on(class, &node), self.look)?;
            Ok((node, volume))
        });
        match made {
            Ok((node, volume)) => self.bound_new(storage::LOCAL_PATH, volume).guard(Guard::Alive(node.key().clone())),
            Err(why) => self.not_made(class, &why),
        }
    }

    /// A new volume on the node of what it is filled from, kept for the claim and not bound to it before the node has filled it.
    pub(super) fn provisioned_from(self, class: &StorageClass, filling: &Filling) -> Txn {
        let key = kinds::NODE.cluster_key(&filling.node);
        let node = self.view.get(&key);
        let node = node.ok_or_else(|| format!("node \"{}\", on which its data source lies, not found", filling.node));
        let made = node.and_then(|node| {
            let mut volume = self.volume_on(class, node);
            let noted = volume.metadata.annotations.get_or_insert_default();
            noted.insert(storage::FILLED_FROM.into(), filling.origin.to_string());
            if let Some(policy) = self.object.meta().annotations.get(storage::RESTORED_POLICY) {
                volume.spec.get_or_insert_default().persistent_volume_reclaim_policy = Some(policy.clone());
            }
            volume.metadata.finalizers.get_or_insert_default().push(storage::UNFILLED.into());
            created(kinds::PERSISTENT_VOLUME, &volume, self.look)
        });
        match made {
            Ok(volume) => {
                let (namespace, name) = (self.object.key().namespace(), self.object.key().name());
                let message = format!("External provisioner is provisioning volume for claim \"{namespace}/{name}\"");
                let tale =
                    Tale { by: storage::LOCAL_PATH, tone: Tone::Normal, reason: "Provisioning", message: &message };
                let txn = Txn::create(volume).guard(Guard::Alive(key)).and(self.unchanged());
                let txn = filling.guards.iter().fold(txn, |txn, guard| txn.guard(guard.clone()));
                txn.and(told(self.view, self.look, self.object, &tale))
            }
            Err(why) => self.not_made(class, &why),
        }
    }

    /// A new volume on the node, or on the best there is, that is filled with what a backup held.
    pub(super) fn brought_back(self, class: &StorageClass, node: Option<&Object>, saved: Saved) -> Txn {
        match self.node_for(class, node) {
            Ok(node) => {
                let node = node.key().name().to_owned();
                let filling = Filling { node, origin: Origin::Backup(saved), guards: Vec::new() };
                self.provisioned_from(class, &filling)
            }
            Err(why) => self.not_made(class, &why),
        }
    }

    fn node_for(self, class: &StorageClass, node: Option<&Object>) -> Result<Object, String> {
        node.map_or_else(|| self.any_node(class), |node| Ok(node.clone()))
    }

    /// Whether the claim is as it was looked at.
    fn unchanged(self) -> Txn {
        Txn::default().guard(Guard::Unchanged(self.object.key().clone(), self.object.revision()))
    }

    pub(super) fn tell_made(self, name: &str) -> Txn {
        let message = format!("Successfully provisioned volume {name}");
        let tale =
            Tale { by: storage::LOCAL_PATH, tone: Tone::Normal, reason: "ProvisioningSucceeded", message: &message };
        told(self.view, self.look, self.object, &tale)
    }

    /// A new volume that every node reaches, bound to the claim.
    pub(super) fn provisioned_anywhere(self, class: &StorageClass) -> Txn {
        let (key, none) = (self.object.key(), BTreeMap::new());
        let parameters = class.parameters.as_ref().unwrap_or(&none);
        let source = storage::s3::source(parameters, &self.volume_name(), key.namespace(), key.name());
        let made = source.and_then(|source| created(kinds::PERSISTENT_VOLUME, &self.volume(class, source), self.look));
        match made {
            Ok(volume) => self.bound_new(storage::S3, volume),
            Err(why) => self.not_made(class, &why),
        }
    }

    /// The node that the scheduler would give to a pod that asks for nothing.
    fn any_node(self, class: &StorageClass) -> Result<Object, String> {
        let terms = topology_of(class);
        let required = (!terms.is_empty()).then_some(NodeSelector { node_selector_terms: terms });
        let affinity =
            NodeAffinity { required_during_scheduling_ignored_during_execution: required, ..NodeAffinity::default() };
        let affinity = Some(Affinity { node_affinity: Some(affinity), ..Affinity::default() });
        let anybody = Pod { spec: Some(PodSpec { affinity, ..PodSpec::default() }), ..Pod::default() };
        let name = scheduler::place(self.view, &anybody, self.look.seed).map_err(|no| no.to_string())?;
        let node = self.view.get(&kinds::NODE.cluster_key(name.as_str()));
        node.cloned().ok_or_else(|| format!("node \"{name}\" not found"))
    }

    fn volume_name(self) -> String {
        format!("pvc-{}", self.object.meta().uid)
    }

    fn volume_on(self, class: &StorageClass, node: &Object) -> PersistentVolume {
        let source = CSIPersistentVolumeSource {
            driver: storage::LOCAL_PATH.into(),
            volume_handle: self.volume_name(),
            ..CSIPersistentVolumeSource::default()
        };
        let here = NodeSelectorRequirement {
            key: HOST_NAME.into(),
            operator: "In".into(),
            values: Some(vec![host_name(node)]),
        };
        let here = NodeSelectorTerm { match_expressions: Some(vec![here]), match_fields: None };
        let here = VolumeNodeAffinity { required: Some(NodeSelector { node_selector_terms: vec![here] }) };
        let mut volume = self.volume(class, source);
        volume.metadata.labels = Some(BTreeMap::from([(storage::NODE_LABEL.into(), node.key().name().into())]));
        volume.spec.get_or_insert_default().node_affinity = Some(here);
        volume
    }

    fn volume(self, class: &StorageClass, source: CSIPersistentVolumeSource) -> PersistentVolume {
        let asked = self.claim.spec.clone().unwrap_or_default();
        let requests = asked.resources.and_then(|resources| resources.requests).unwrap_or_default();
        PersistentVolume {
            metadata: ObjectMeta {
                annotations: Some(BTreeMap::from([(storage::PROVISIONED_BY.into(), source.driver.clone())])),
                finalizers: Some(vec![source.driver.clone()]),
                name: Some(self.volume_name()),
                ..ObjectMeta::default()
            },
            spec: Some(PersistentVolumeSpec {
                access_modes: asked.access_modes,
                capacity: Some(requests.into_iter().filter(|(resource, _)| resource == "storage").collect()),
                claim_ref: Some(bind::reference(self.object)),
                csi: Some(source),
                persistent_volume_reclaim_policy: class.reclaim_policy.clone(),
                storage_class_name: class.metadata.name.clone(),
                volume_mode: asked.volume_mode,
                ..PersistentVolumeSpec::default()
            }),
            status: None,
        }
    }

    fn bound_new(self, maker: &'static str, volume: Object) -> Txn {
        let bound = edited::<PersistentVolume>(&volume, |volume| {
            let status = volume.status.get_or_insert_default();
            status.phase = Some("Bound".into());
            status.last_phase_transition_time = Some(self.look.time());
        });
        let volume = bound.unwrap_or(volume);
        let Ok(typed) = volume.decode::<PersistentVolume>() else { return Txn::default() };
        let name = volume.key().name().to_owned();
        let claim = replaced::<PersistentVolumeClaim>(self.object, |claim| {
            let noted = claim.metadata.annotations.get_or_insert_default();
            noted.extend(storage::STORAGE_PROVISIONER.map(|name| (name.to_owned(), maker.to_owned())));
            bind::settled(claim, &name, &typed);
        });
        let message = format!("Successfully provisioned volume {name}");
        let tale = Tale { by: maker, tone: Tone::Normal, reason: "ProvisioningSucceeded", message: &message };
        Txn::create(volume).and(claim).and(told(self.view, self.look, self.object, &tale))
    }
}
