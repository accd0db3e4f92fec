//! Roles in the namespaces of the system, for Kubernetes' parts that lock, sign and clean up there.

use k8s_openapi::api::rbac::v1::PolicyRule;
use serde_json::{Value, json};

use super::{events, named, on, user};

const READ: &str = "get list watch";

/// Namespace, name, what it allows, and to whom it is given.
type Given = (&'static str, &'static str, Vec<PolicyRule>, Vec<Value>);

pub(super) fn roles() -> Vec<Given> {
    let locks = || {
        vec![
            on("create get list update watch", "coordination.k8s.io", "leases"),
            on("create get list update watch", "coordination.k8s.io", "leasecandidates"),
        ]
    };
    vec![
        (
            "kube-public",
            "system:controller:bootstrap-signer",
            vec![on(READ, "core", "configmaps"), named("update", "core", "configmaps", "cluster-info"), events()],
            vec![account("bootstrap-signer")],
        ),
        (
            "kube-system",
            "system:controller:bootstrap-signer",
            vec![on(READ, "core", "secrets")],
            vec![account("bootstrap-signer")],
        ),
        (
            "kube-system",
            "system:controller:token-cleaner",
            vec![on("delete get list watch", "core", "secrets"), events()],
            vec![account("token-cleaner")],
        ),
        (
            "kube-system",
            "system::leader-locking-kube-controller-manager",
            locks(),
            vec![
                user("system:kube-controller-manager"),
                account("kube-controller-manager"),
                account("leader-election-controller"),
            ],
        ),
        (
            "kube-system",
            "system::leader-locking-kube-scheduler",
            locks(),
            vec![user("system:kube-scheduler"), account("kube-scheduler")],
        ),
        (
            "kube-system",
            "extension-apiserver-authentication-reader",
            vec![named(READ, "core", "configmaps", "extension-apiserver-authentication")],
            vec![],
        ),
    ]
}

fn account(name: &str) -> Value {
    json!({"kind": "ServiceAccount", "name": name, "namespace": "kube-system"})
}
