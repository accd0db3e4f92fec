//! A heartbeat or a lock.

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use serde_json::Value;

use super::{AGE, NAME, text};
use crate::rules::Causes;
use crate::{Column, Names, Resource, Scope, cells};

/// The kind.
#[derive(Debug)]
pub struct Leases;

impl Resource for Leases {
    type Object = Lease;

    const NAMES: &'static Names = &Names {
        group: "coordination.k8s.io",
        version: "v1",
        kind: "Lease",
        plural: "leases",
        singular: "lease",
        short: &[],
        categories: &[],
        scope: Scope::Namespaced,
    };
    const UPDATES_BLINDLY: bool = false;
    const COLUMNS: &'static [Column] = &[NAME, text("Holder", "Who holds it."), AGE];

    fn validate(lease: &Lease, causes: &mut Causes) {
        let Some(spec) = &lease.spec else { return };
        if let Some(seconds) = spec.lease_duration_seconds.filter(|seconds| *seconds <= 0) {
            causes.invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0");
        }
        if let Some(count) = spec.lease_transitions {
            causes.not_negative("spec.leaseTransitions", count);
        }
    }

    fn cells(lease: &Lease, now: Timestamp) -> Vec<Value> {
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
        vec![cells::name(&lease.metadata), holder.into(), cells::age(&lease.metadata, now)]
    }
}
