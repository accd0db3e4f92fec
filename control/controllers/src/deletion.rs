//! Deleting as the API deletes: gracefully where the kind asks for it, and not before the finalizers ran.

use api::{Object, kinds};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use state::Txn;

use crate::conditions::{Says, pod_says};
use crate::edit::{edited, edited_tree};
use crate::look::whole_seconds;
use crate::{Look, pods};

/// Deletes the dependents before the object.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
/// Sets the dependents free before the object goes.
pub(crate) const ORPHAN: &str = "orphan";

/// What becomes of the objects that the deleted one owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Propagation {
    /// They follow.
    Background,
    /// They go first.
    Foreground,
}

/// What a client's delete would do to the object now; empty if it has been done.
pub(crate) fn delete(object: &Object, propagation: Propagation, now: Timestamp) -> Txn {
    let foreground =
        propagation == Propagation::Foreground && !object.meta().finalizers.iter().any(|it| it == FOREGROUND);
    if object.meta().is_terminating() {
        return Txn::default();
    }
    let grace = grace_seconds(object);
    if grace == 0 && object.meta().finalizers.is_empty() && !foreground {
        return Txn::delete(object);
    }
    let at = whole_seconds(now + SignedDuration::from_secs(grace));
    let after = edited_tree(object, |value| {
        let metadata = &mut value["metadata"];
        metadata["deletionTimestamp"] = at.to_string().into();
        metadata["deletionGracePeriodSeconds"] = grace.into();
        if let Some(generation) = metadata.get("generation").and_then(Value::as_i64) {
            metadata["generation"] = (generation + 1).into();
        }
        if foreground {
            let mut finalizers = object.meta().finalizers.clone();
            finalizers.push(FOREGROUND.into());
            metadata["finalizers"] = json!(finalizers);
        }
    });
    after.map_or_else(Txn::default, |after| Txn::replace(object, after))
}

/// Deletes a pod for a reason that is not its own. The reason and the deletion are the same fact, and one write.
pub(crate) fn disrupt(pod: &Object, reason: &str, message: &str, look: Look<'_>) -> Txn {
    let told_why = edited::<Pod>(pod, |pod| {
        let says = Says { kind: "DisruptionTarget", status: "True", reason, message };
        pod_says(&mut pod.status.get_or_insert_default().conditions, says, &look.time());
    });
    let told_why = told_why.map_or_else(|| pod.clone(), |after| after.at(pod.revision()));
    delete(&told_why, Propagation::Background, look.now)
}

/// Takes the object away at once, whatever grace it has left; finalizers still hold it.
pub(crate) fn remove(object: &Object, now: Timestamp) -> Txn {
    if object.meta().finalizers.is_empty() {
        return Txn::delete(object);
    }
    let after = edited_tree(object, |value| {
        if !object.meta().is_terminating() {
            value["metadata"]["deletionTimestamp"] = whole_seconds(now).to_string().into();
        }
        value["metadata"]["deletionGracePeriodSeconds"] = 0.into();
    });
    after.map_or_else(Txn::default, |after| Txn::replace(object, after))
}

/// Puts a finalizer on.
pub(crate) fn with_finalizer(object: &Object, finalizer: &str) -> Txn {
    let after = edited_tree(object, |value| {
        let mut finalizers = object.meta().finalizers.clone();
        finalizers.push(finalizer.into());
        value["metadata"]["finalizers"] = json!(finalizers);
    });
    after.map_or_else(Txn::default, |after| Txn::replace(object, after))
}

/// Takes a finalizer off. A terminating object whose last finalizer goes, and whose grace is over, goes with it.
pub(crate) fn without_finalizer(object: &Object, finalizer: &str) -> Txn {
    let mut finalizers = object.meta().finalizers.clone();
    finalizers.retain(|one| one != finalizer);
    if finalizers.is_empty() && object.meta().is_terminating() && !awaits_its_node(object) {
        return Txn::delete(object);
    }
    let after = edited_tree(object, |value| take_finalizer(value, finalizer));
    after.map_or_else(Txn::default, |after| Txn::replace(object, after))
}

/// Takes a finalizer off a tree, and the list with the last.
pub(crate) fn take_finalizer(value: &mut Value, finalizer: &str) {
    let Some(metadata) = value["metadata"].as_object_mut() else { return };
    let Some(finalizers) = metadata.get_mut("finalizers").and_then(Value::as_array_mut) else { return };
    finalizers.retain(|one| one != finalizer);
    if finalizers.is_empty() {
        metadata.remove("finalizers");
    }
}

fn awaits_its_node(object: &Object) -> bool {
    object.decode::<Pod>().is_ok_and(|pod| {
        object.key().kind() == kinds::POD && pod.metadata.deletion_grace_period_seconds.is_some_and(|grace| grace > 0)
    })
}

/// Pods that run somewhere get the time they ask for; everything else goes at once.
fn grace_seconds(object: &Object) -> i64 {
    if object.key().kind() != kinds::POD {
        return 0;
    }
    let Ok(pod) = object.decode::<Pod>() else { return 0 };
    if pods::node(&pod).is_none() || pods::has_ended(&pod) {
        return 0;
    }
    pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(30)
}
