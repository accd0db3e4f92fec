//! What is accepted and stored although it means nothing to a wasm component, or less than its author thinks: one sentence each.

use std::collections::{HashMap, HashSet};

use k8s_openapi::api::core::v1::{Container, PodSpec};

/// A sentence for everything in the spec, at `path`, that has no effect here.
pub fn warnings(path: &str, spec: &PodSpec) -> Vec<String> {
    let mut found = Warnings(Vec::new());
    for (field, set) in [
        ("hostPID", spec.host_pid),
        ("hostIPC", spec.host_ipc),
        ("shareProcessNamespace", spec.share_process_namespace),
    ] {
        if set == Some(true) {
            found.add(&format!("{path}.{field}"), "wasm components have no processes to share");
        }
    }
    if spec.runtime_class_name.is_some() {
        found.add(&format!("{path}.runtimeClassName"), "every pod runs as wasm components");
    }
    if let Some(context) = &spec.security_context {
        let path = format!("{path}.securityContext");
        let user = [
            context.run_as_user.is_some(),
            context.run_as_group.is_some(),
            context.fs_group.is_some(),
            context.supplemental_groups.is_some(),
        ];
        if user.contains(&true) {
            found.add(&path, "wasm components have no users or groups");
        }
        found.kernel(&path, "seccompProfile", context.seccomp_profile.is_some());
        found.kernel(&path, "appArmorProfile", context.app_armor_profile.is_some());
        found.kernel(&path, "seLinuxOptions", context.se_linux_options.is_some());
        found.kernel(&path, "sysctls", context.sysctls.is_some());
    }
    for (index, container) in spec.containers.iter().enumerate() {
        found.container(&format!("{path}.containers[{index}]"), container);
    }
    for (index, container) in spec.init_containers.iter().flatten().enumerate() {
        found.container(&format!("{path}.initContainers[{index}]"), container);
    }
    found.0
}

struct Warnings(Vec<String>);

// === impl Warnings ===

impl Warnings {
    fn add(&mut self, path: &str, why: &str) {
        self.0.push(format!("{path}: has no effect here: {why}"));
    }

    /// What is there twice, and merges in ways nobody expects.
    fn repeated(&mut self, path: &str, container: &Container) {
        let mut names = HashSet::new();
        for (index, variable) in container.env.iter().flatten().enumerate() {
            if !names.insert(&variable.name) {
                let name = &variable.name;
                self.0.push(format!(
                    "{path}.env[{index}]: hides previous definition of {name:?}, which may be dropped when using apply"
                ));
            }
        }
        let mut ports = HashMap::new();
        for (index, port) in container.ports.iter().flatten().enumerate() {
            if let Some(first) = ports.insert((port.container_port, &port.protocol), index) {
                self.0.push(format!("{path}.ports[{index}]: duplicate port definition with {path}.ports[{first}]"));
            }
        }
    }

    fn kernel(&mut self, path: &str, field: &str, set: bool) {
        if set {
            self.add(&format!("{path}.{field}"), "wasm components make no system calls");
        }
    }

    fn container(&mut self, path: &str, container: &Container) {
        self.repeated(path, container);
        if container.volume_devices.is_some() {
            self.add(&format!("{path}.volumeDevices"), "wasm components have no block devices");
        }
        let Some(context) = &container.security_context else { return };
        let path = format!("{path}.securityContext");
        if context.privileged == Some(true) {
            self.add(&format!("{path}.privileged"), "wasm components cannot have privileges on the node");
        }
        if context.capabilities.as_ref().is_some_and(|capabilities| capabilities.add.is_some()) {
            self.add(&format!("{path}.capabilities"), "wasm components cannot have Linux capabilities");
        }
        if context.run_as_user.is_some() || context.run_as_group.is_some() {
            self.add(&path, "wasm components have no users or groups");
        }
        self.kernel(&path, "seccompProfile", context.seccomp_profile.is_some());
        self.kernel(&path, "appArmorProfile", context.app_armor_profile.is_some());
        self.kernel(&path, "seLinuxOptions", context.se_linux_options.is_some());
        self.kernel(&path, "procMount", context.proc_mount.is_some());
    }
}
