//! Roles for the parts of a cluster, for those who bring their own: nodes, schedulers, metrics, certificates.
//!
//! The parts of this binary ask nobody but as nodes; `system:node` is bound to nobody, since the node authorizer says it better.

use serde_json::{Value, json};

use super::{Role, events, named, on, role, user};

const READ: &str = "get list watch";
const SIGNERS: &str = "certificates.k8s.io";

pub(super) fn roles() -> Vec<Role> {
    let mut roles = vec![
        role(
            "system:auth-delegator",
            [
                on("create", "authentication.k8s.io", "tokenreviews"),
                on("create", "authorization.k8s.io", "subjectaccessreviews"),
            ],
        ),
        role("system:kube-aggregator", [on(READ, "core", "endpoints services")]),
        role("system:kube-dns", [on("list watch", "core", "endpoints services")]),
        role(
            "system:heapster",
            [on(READ, "core", "events namespaces nodes pods"), on(READ, "extensions", "deployments")],
        ),
        role(
            "system:kubelet-api-admin",
            [
                on(READ, "core", "nodes"),
                on("proxy", "core", "nodes"),
                on("*", "core", "nodes/log nodes/metrics nodes/proxy nodes/stats"),
            ],
        ),
        role(
            "system:node-bootstrapper",
            [on("create get list watch", "certificates.k8s.io", "certificatesigningrequests")],
        ),
        role(
            "system:node-problem-detector",
            [on("get", "core", "nodes"), on("patch", "core", "nodes/status"), events()],
        ),
        role(
            "system:node-proxier",
            [
                on("list watch", "core", "endpoints services"),
                on(READ, "core", "nodes"),
                events(),
                on("list watch", "discovery.k8s.io", "endpointslices"),
            ],
        ),
        role(
            "system:persistent-volume-provisioner",
            [
                on("create delete get list watch", "core", "persistentvolumes"),
                on("get list update watch", "core", "persistentvolumeclaims"),
                on(READ, "storage.k8s.io", "storageclasses"),
                on("watch", "core", "events"),
                events(),
            ],
        ),
        role(
            "system:volume-scheduler",
            [
                on("get list patch update watch", "core", "persistentvolumes"),
                on(READ, "storage.k8s.io", "storageclasses"),
                on("get list patch update watch", "core", "persistentvolumeclaims"),
            ],
        ),
        node(),
        scheduler(),
        controller_manager(),
    ];
    roles.extend([
        role(
            "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
            [on("create", SIGNERS, "certificatesigningrequests/nodeclient")],
        ),
        role(
            "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
            [on("create", SIGNERS, "certificatesigningrequests/selfnodeclient")],
        ),
        role(
            "system:certificates.k8s.io:kube-apiserver-client-approver",
            [named("approve", SIGNERS, "signers", "kubernetes.io/kube-apiserver-client")],
        ),
        role(
            "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver",
            [named("approve", SIGNERS, "signers", "kubernetes.io/kube-apiserver-client-kubelet")],
        ),
        role(
            "system:certificates.k8s.io:kubelet-serving-approver",
            [named("approve", SIGNERS, "signers", "kubernetes.io/kubelet-serving")],
        ),
        role(
            "system:certificates.k8s.io:legacy-unknown-approver",
            [named("approve", SIGNERS, "signers", "kubernetes.io/legacy-unknown")],
        ),
    ]);
    roles
}

pub(super) fn bindings() -> Vec<(&'static str, Vec<Value>)> {
    let dns = json!({"kind": "ServiceAccount", "name": "kube-dns", "namespace": "kube-system"});
    vec![
        ("system:kube-controller-manager", vec![user("system:kube-controller-manager")]),
        ("system:kube-dns", vec![dns]),
        ("system:kube-scheduler", vec![user("system:kube-scheduler")]),
        ("system:node", vec![]),
        ("system:node-proxier", vec![user("system:kube-proxy")]),
        ("system:volume-scheduler", vec![user("system:kube-scheduler")]),
    ]
}

fn node() -> Role {
    role(
        "system:node",
        [
            on("create", "authentication.k8s.io", "tokenreviews"),
            on("create", "authorization.k8s.io", "localsubjectaccessreviews subjectaccessreviews"),
            on(READ, "core", "services"),
            on("create get list watch", "core", "nodes"),
            on("patch update", "core", "nodes/status"),
            on("patch update", "core", "nodes"),
            on("create patch update", "core", "events"),
            on(READ, "core", "pods"),
            on("create delete", "core", "pods"),
            on("patch update", "core", "pods/status"),
            on("create", "core", "pods/eviction"),
            on(READ, "core", "configmaps secrets"),
            on("get", "core", "persistentvolumeclaims persistentvolumes"),
            on("get", "core", "endpoints"),
            on("create get list watch", "certificates.k8s.io", "certificatesigningrequests"),
            on("create delete get patch update", "coordination.k8s.io", "leases"),
            on("get", "storage.k8s.io", "volumeattachments"),
            on("create", "core", "serviceaccounts/token"),
            on("get patch update", "core", "persistentvolumeclaims/status"),
            on(READ, "storage.k8s.io", "csidrivers"),
            on("create delete get patch update", "storage.k8s.io", "csinodes"),
            on(READ, "node.k8s.io", "runtimeclasses"),
        ],
    )
}

fn scheduler() -> Role {
    role(
        "system:kube-scheduler",
        [
            events(),
            on("create", "coordination.k8s.io", "leases"),
            named("get update", "coordination.k8s.io", "leases", "kube-scheduler"),
            on(READ, "core", "nodes"),
            on("delete get list watch", "core", "pods"),
            on("create", "core", "bindings pods/binding"),
            on("patch update", "core", "pods/status"),
            on(READ, "core", "replicationcontrollers services"),
            on(READ, "apps extensions", "replicasets"),
            on(READ, "apps", "statefulsets"),
            on(READ, "policy", "poddisruptionbudgets"),
            on(READ, "core", "persistentvolumeclaims persistentvolumes"),
            on("create", "authentication.k8s.io", "tokenreviews"),
            on("create", "authorization.k8s.io", "subjectaccessreviews"),
            on(READ, "storage.k8s.io", "csinodes"),
            on(READ, "core", "namespaces"),
            on(READ, "storage.k8s.io", "csidrivers"),
            on(READ, "storage.k8s.io", "csistoragecapacities"),
        ],
    )
}

fn controller_manager() -> Role {
    role(
        "system:kube-controller-manager",
        [
            events(),
            on("create", "coordination.k8s.io", "leases"),
            named("get update", "coordination.k8s.io", "leases", "kube-controller-manager"),
            on("create", "core", "secrets serviceaccounts"),
            on("delete", "core", "secrets"),
            on("get", "core", "configmaps namespaces secrets serviceaccounts"),
            on("update", "core", "secrets serviceaccounts"),
            on("create", "authentication.k8s.io", "tokenreviews"),
            on("create", "authorization.k8s.io", "subjectaccessreviews"),
            on("list watch", "*", "*"),
            on("create", "core", "serviceaccounts/token"),
        ],
    )
}
