//! A bound claim that asks for more gets it, where its class allows that and the volume is one of ours.

use std::collections::BTreeMap;

use api::quantity::Quantity;
use api::{Object, storage};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use state::Txn;

use super::{Case, bind};
use crate::edit::{edited, replaced};
use crate::record::{Tale, Tone, told};

impl Case<'_> {
    /// The claim and its volume with as much as is asked for; none if that is how it is, or how it has to stay.
    pub(super) fn grown(self, object: &Object, volume: &PersistentVolume) -> Option<Txn> {
        let wanted = storage::wanted(self.claim);
        let maker = object.meta().annotations.get(storage::PROVISIONED_BY).and_then(|by| storage::ours(by))?;
        let may_grow = || self.class().is_some_and(|class| class.allow_volume_expansion == Some(true));
        if wanted <= storage::capacity(volume) || object.meta().is_terminating() || !may_grow() {
            return None;
        }
        let asked = || BTreeMap::from([("storage".to_owned(), written(wanted))]);
        let larger = edited::<PersistentVolume>(object, |volume| {
            volume.spec.get_or_insert_default().capacity = Some(asked());
        })?;
        let typed = larger.decode::<PersistentVolume>().ok()?;
        let claim = replaced::<PersistentVolumeClaim>(self.object, |claim| {
            let status = claim.status.get_or_insert_default();
            bind::holds(status, &typed);
            status.allocated_resources = Some(asked());
            // It is a number that the node holds the volume to: there is nothing to wait for.
            status.conditions = None;
        });
        let message = "Resize volume succeeded";
        let tale = Tale { by: maker, tone: Tone::Normal, reason: "VolumeResizeSuccessful", message };
        Some(Txn::replace(object, larger).and(claim).and(told(self.view, self.look, self.object, &tale)))
    }
}

fn written(quantity: Quantity) -> k8s_openapi::apimachinery::pkg::api::resource::Quantity {
    k8s_openapi::apimachinery::pkg::api::resource::Quantity(quantity.to_string())
}
