//! What security contexts may say. Little of it means anything to wasm; what is wrong is wrong all the same.

use k8s_openapi::api::core::v1::{PodSecurityContext, SeccompProfile, SecurityContext};

use crate::rules::Causes;

/// Users and groups are numbers of 31 bits.
const ID_MAX: i64 = i32::MAX as i64;

/// The context of a pod, at `path`.
pub(super) fn validate_pod(path: &str, context: &PodSecurityContext, causes: &mut Causes) {
    id(&format!("{path}.fsGroup"), context.fs_group, causes);
    id(&format!("{path}.runAsUser"), context.run_as_user, causes);
    id(&format!("{path}.runAsGroup"), context.run_as_group, causes);
    for (index, group) in context.supplemental_groups.iter().flatten().enumerate() {
        id(&format!("{path}.supplementalGroups[{index}]"), Some(*group), causes);
    }
    if let Some(policy) = &context.fs_group_change_policy {
        causes.one_of(format!("{path}.fsGroupChangePolicy"), policy, &["Always", "OnRootMismatch"]);
    }
    seccomp(&format!("{path}.seccompProfile"), context.seccomp_profile.as_ref(), causes);
}

/// The context of a container, at `path`.
pub(super) fn validate_container(path: &str, context: &SecurityContext, causes: &mut Causes) {
    id(&format!("{path}.runAsUser"), context.run_as_user, causes);
    id(&format!("{path}.runAsGroup"), context.run_as_group, causes);
    seccomp(&format!("{path}.seccompProfile"), context.seccomp_profile.as_ref(), causes);
    if context.allow_privilege_escalation == Some(false) && context.privileged == Some(true) {
        let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
        causes.invalid(path, context, detail);
    }
}

fn id(path: &str, id: Option<i64>, causes: &mut Causes) {
    if let Some(id) = id.filter(|id| !(0..=ID_MAX).contains(id)) {
        causes.invalid(path, id, &format!("must be between 0 and {ID_MAX}, inclusive"));
    }
}

fn seccomp(path: &str, profile: Option<&SeccompProfile>, causes: &mut Causes) {
    let Some(profile) = profile else { return };
    let file = profile.localhost_profile.as_deref().unwrap_or_default();
    let at = format!("{path}.localhostProfile");
    match profile.type_.as_str() {
        "" => causes.required(format!("{path}.type"), "type is required when seccompProfile is set"),
        "Localhost" if file.is_empty() => causes.required(at, "must be set when seccomp type is Localhost"),
        "Localhost" if file.starts_with('/') => causes.invalid(at, file, "must be a relative path"),
        "Localhost" if file.split('/').any(|step| step == "..") => causes.invalid(at, file, "must not contain '..'"),
        "Localhost" => {}
        "RuntimeDefault" | "Unconfined" if file.is_empty() => {}
        "RuntimeDefault" | "Unconfined" => {
            causes.invalid(at, file, "can only be set when seccomp type is Localhost");
        }
        other => {
            causes.unsupported(format!("{path}.type"), other, &["Localhost", "RuntimeDefault", "Unconfined"]);
        }
    }
}
