//! The pod's address, and its place on the network.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use api::Key;
use client::PatchType;
use network::{Attachment, Citizen};
use serde_json::json;
use tracing::debug;

use super::{Mail, Worker};
use crate::context::Context;
use crate::desired::Uid;
use crate::pod::Happening;

/// Addresses that others turn out to have are tried over so often at a time.
const CLAIMS_MAX: usize = 64;

impl Worker {
    pub(super) fn is_on_host_network(&self) -> bool {
        self.state.pod().spec.as_ref().is_some_and(|spec| spec.host_network == Some(true))
    }

    /// The pod's place on the network, which its containers share.
    pub(super) fn attach(&mut self, address: IpAddr) -> Arc<Attachment> {
        let (context, key, uid, host_network) = (&self.context, &self.key, &self.uid, self.is_on_host_network());
        let attach = || {
            let attachment = Arc::new(context.fabric.attach(Citizen {
                namespace: key.namespace().into(),
                name: key.name().into(),
                addresses: vec![address],
                host_network,
            }));
            context.note_attachment(uid, &attachment);
            attachment
        };
        self.attachment.get_or_insert_with(attach).clone()
    }

    pub(super) fn claim_address(&mut self) {
        if self.is_on_host_network() {
            let address = self.context.config.host_address();
            return self.spawn(async move { Mail::Happened(Happening::Addressed(address)) });
        }
        let (context, key, uid) = (self.context.clone(), self.key.clone(), self.uid.clone());
        let preferred = self.seen.1.pod_ip.as_deref().and_then(|address| address.parse().ok());
        self.spawn(async move {
            let claimed = claim(&context, &key, &uid, preferred).await;
            Mail::Happened(claimed.map_or_else(Happening::NotAddressed, Happening::Addressed))
        });
    }
}

/// Picks an address and writes it into the pod's status: only then is it the pod's. The one that the pod was bound with, or had
/// before, is there already.
async fn claim(context: &Context, key: &Key, uid: &Uid, mut preferred: Option<IpAddr>) -> Result<IpAddr, String> {
    let (mut avoid, told) = (BTreeSet::new(), preferred);
    for _ in 0..CLAIMS_MAX {
        let address = context.pick_address(uid, preferred.take(), &avoid).map_err(|none| none.to_string())?;
        // What its status says already is the pod's. Who is alone has nobody to say it to again.
        if told == Some(address) && (context.is_alone() || context.is_held_by(key, address)) {
            return Ok(address);
        }
        let ip = address.to_string();
        let patch = json!({"metadata": {"uid": uid}, "status": {"podIP": ip, "podIPs": [{"ip": ip}]}});
        match context.client.patch_status(key, PatchType::Merge, &patch).await {
            Ok(_) => return Ok(address),
            Err(error) => {
                if !error.is_conflict() {
                    return Err(error.to_string());
                }
                debug!(pod = %key, %address, "taken");
                avoid.insert(address);
            }
        }
    }
    Err(format!("no free address was found in {CLAIMS_MAX} tries"))
}
