//! What is told of a node's life: that it came, and that it is ready (again).
//!
//! Each follows from a moment the node itself carries, so that it is told once, whoever looks and however often.

use api::Object;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Node;
use state::{Snapshot, Txn};

use super::{COMPONENT, health};
use crate::Look;
use crate::record::{Tale, Tone, told, told_since};

/// News is no news after so long; events are kept longer, so that nothing is told twice.
const NEWS: SignedDuration = SignedDuration::from_mins(10);

/// What has not been told yet of a node.
pub(super) fn untold(object: &Object, node: &Node, view: &Snapshot, look: Look<'_>) -> Vec<Txn> {
    let name = object.key().name();
    let ready = health::ready(node).filter(|ready| ready.status == "True");
    let moments = [
        (
            object.meta().creation_timestamp,
            "RegisteredNode",
            format!("Node {name} event: Registered Node {name} in Controller"),
        ),
        (
            ready.and_then(|ready| Some(ready.last_transition_time.as_ref()?.0)),
            "NodeReady",
            format!("Node {name} status is now: NodeReady"),
        ),
    ];
    let told = moments.into_iter().filter_map(|(moment, reason, message)| {
        let moment = moment.filter(|moment| *moment + NEWS > look.now)?;
        tell(object, view, look, moment, &Tale { by: COMPONENT, tone: Tone::Normal, reason, message: &message })
    });
    told.collect()
}

fn tell(object: &Object, view: &Snapshot, look: Look<'_>, moment: Timestamp, tale: &Tale<'_>) -> Option<Txn> {
    // The node's clock may be ahead of ours.
    let moment = moment.min(look.time().0);
    (!told_since(view, object, tale, moment)).then(|| told(view, look, object, tale))
}
