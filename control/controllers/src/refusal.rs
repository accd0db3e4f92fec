//! What a set does when a pod that it wants is refused: it says so, and tries again in a while, for nothing tells when it would
//! be accepted.

use api::Object;
use jiff::SignedDuration;
use state::{Snapshot, Txn};

use crate::record::{Tale, Tone, told, told_since};
use crate::{Look, Plan};

/// When it is tried again.
pub(crate) const AGAIN: SignedDuration = SignedDuration::from_secs(15);
/// It is not told more often than this.
const TOLD_AGAIN: SignedDuration = SignedDuration::from_mins(5);

/// Tells of a refusal of what `owner` wants made.
pub(crate) fn refused(by: &'static str, owner: &Object, message: &str, view: &Snapshot, look: Look<'_>) -> Plan {
    let tale = Tale { by, tone: Tone::Warning, reason: "FailedCreate", message };
    let known = told_since(view, owner, &tale, look.now - TOLD_AGAIN);
    let tale = if known { Txn::default() } else { told(view, look, owner, &tale) };
    Plan::of(tale).again_at(Some(look.now + AGAIN))
}
