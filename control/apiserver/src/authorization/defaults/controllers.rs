//! Roles for Kubernetes' controllers, by the service account that each of them has in `kube-system`.
//!
//! The controllers of this binary act on the store and need none; whoever runs one of Kubernetes' beside them, or wants to know
//! what it takes, finds them here. Those for what is not served (cloud routes, attached volumes, claims of devices) are left out.

use k8s_openapi::api::rbac::v1::PolicyRule;

use super::{events, named, on};

const READ: &str = "get list watch";

pub(super) fn roles() -> Vec<(&'static str, Vec<PolicyRule>)> {
    let mut roles = workloads();
    roles.extend(network());
    roles.extend(house());
    roles.extend(storage());
    roles
}

fn workloads() -> Vec<(&'static str, Vec<PolicyRule>)> {
    vec![
        (
            "cronjob-controller",
            vec![
                on("get list update watch", "batch", "cronjobs"),
                on("create delete get list patch update watch", "batch", "jobs"),
                on("update", "batch", "cronjobs/status"),
                on("update", "batch", "cronjobs/finalizers"),
                on("delete list", "core", "pods"),
                events(),
            ],
        ),
        (
            "daemon-set-controller",
            vec![
                on(READ, "apps extensions", "daemonsets"),
                on("update", "apps extensions", "daemonsets/status"),
                on("update", "apps extensions", "daemonsets/finalizers"),
                on("list watch", "core", "nodes"),
                on("create delete list patch watch", "core", "pods"),
                on("create", "core", "pods/binding"),
                on("create delete get list patch update watch", "apps", "controllerrevisions"),
                events(),
            ],
        ),
        (
            "deployment-controller",
            vec![
                on("get list update watch", "apps extensions", "deployments"),
                on("update", "apps extensions", "deployments/status"),
                on("update", "apps extensions", "deployments/finalizers"),
                on("create delete get list patch update watch", "apps extensions", "replicasets"),
                on("get list update watch", "core", "pods"),
                events(),
            ],
        ),
        (
            "disruption-controller",
            vec![
                on(READ, "apps extensions", "deployments"),
                on(READ, "apps extensions", "replicasets"),
                on(READ, "core", "replicationcontrollers"),
                on(READ, "policy", "poddisruptionbudgets"),
                on(READ, "apps", "statefulsets"),
                on("update", "policy", "poddisruptionbudgets/status"),
                on("patch update", "core", "pods/status"),
                on("get", "*", "*/scale"),
                events(),
            ],
        ),
        (
            "horizontal-pod-autoscaler",
            vec![
                on(READ, "autoscaling", "horizontalpodautoscalers"),
                on("update", "autoscaling", "horizontalpodautoscalers/status"),
                on("get update", "*", "*/scale"),
                on("list", "core", "pods"),
                on("list", "metrics.k8s.io", "pods"),
                on("get list", "custom.metrics.k8s.io", "*"),
                on("get list", "external.metrics.k8s.io", "*"),
                events(),
            ],
        ),
        (
            "job-controller",
            vec![
                on("get list patch update watch", "batch", "jobs"),
                on("update", "batch", "jobs/status"),
                on("update", "batch", "jobs/finalizers"),
                on("create delete list patch watch", "core", "pods"),
                events(),
            ],
        ),
        (
            "replicaset-controller",
            vec![
                on("get list update watch", "apps extensions", "replicasets"),
                on("update", "apps extensions", "replicasets/status"),
                on("update", "apps extensions", "replicasets/finalizers"),
                on("create delete list patch watch", "core", "pods"),
                events(),
            ],
        ),
        (
            "replication-controller",
            vec![
                on("get list update watch", "core", "replicationcontrollers"),
                on("update", "core", "replicationcontrollers/status"),
                on("update", "core", "replicationcontrollers/finalizers"),
                on("create delete list patch watch", "core", "pods"),
                events(),
            ],
        ),
        (
            "statefulset-controller",
            vec![
                on("list watch", "core", "pods"),
                on(READ, "apps", "statefulsets"),
                on("update", "apps", "statefulsets/status"),
                on("update", "apps", "statefulsets/finalizers"),
                on("create delete get patch update", "core", "pods"),
                on("create delete get list patch update watch", "apps", "controllerrevisions"),
                on("create get", "core", "persistentvolumeclaims"),
                on("delete update", "core", "persistentvolumeclaims"),
                events(),
            ],
        ),
        ("ttl-after-finished-controller", vec![on("delete get list watch", "batch", "jobs"), events()]),
    ]
}

fn network() -> Vec<(&'static str, Vec<PolicyRule>)> {
    vec![
        (
            "endpoint-controller",
            vec![
                on(READ, "core", "pods services"),
                on("create delete get list update", "core", "endpoints"),
                on("create", "core", "endpoints/restricted"),
                events(),
            ],
        ),
        (
            "endpointslice-controller",
            vec![
                on(READ, "core", "nodes pods services"),
                on("update", "core", "services/finalizers"),
                on("create delete get list update", "discovery.k8s.io", "endpointslices"),
                events(),
            ],
        ),
        (
            "endpointslicemirroring-controller",
            vec![
                on(READ, "core", "endpoints services"),
                on("update", "core", "services/finalizers"),
                on("update", "core", "endpoints/finalizers"),
                on("create delete get list update", "discovery.k8s.io", "endpointslices"),
                events(),
            ],
        ),
        (
            "service-controller",
            vec![
                on(READ, "core", "services"),
                on("patch update", "core", "services/status"),
                on("list watch", "core", "nodes"),
                events(),
            ],
        ),
    ]
}

fn house() -> Vec<(&'static str, Vec<PolicyRule>)> {
    vec![
        (
            "certificate-controller",
            vec![
                on("delete get list watch", "certificates.k8s.io", "certificatesigningrequests"),
                on(
                    "update",
                    "certificates.k8s.io",
                    "certificatesigningrequests/approval certificatesigningrequests/status",
                ),
                named("approve", "certificates.k8s.io", "signers", "kubernetes.io/kube-apiserver-client-kubelet"),
                named(
                    "sign",
                    "certificates.k8s.io",
                    "signers",
                    "kubernetes.io/kube-apiserver-client kubernetes.io/kube-apiserver-client-kubelet \
                     kubernetes.io/kubelet-serving kubernetes.io/legacy-unknown",
                ),
                on("create", "authorization.k8s.io", "subjectaccessreviews"),
                events(),
            ],
        ),
        (
            "clusterrole-aggregation-controller",
            vec![on("escalate get list patch update watch", "rbac.authorization.k8s.io", "clusterroles")],
        ),
        ("generic-garbage-collector", vec![on("delete get list patch update watch", "*", "*"), events()]),
        (
            "namespace-controller",
            vec![
                on("delete get list watch", "core", "namespaces"),
                on("update", "core", "namespaces/finalize namespaces/status"),
                on("delete deletecollection get list watch", "*", "*"),
            ],
        ),
        (
            "node-controller",
            vec![
                on("delete get list patch update", "core", "nodes"),
                on("patch update", "core", "nodes/status"),
                on("patch update", "core", "pods/status"),
                on("delete list", "core", "pods"),
                on("get", "core", "pods"),
                events(),
            ],
        ),
        (
            "pod-garbage-collector",
            vec![
                on("delete list watch", "core", "pods"),
                on("get list", "core", "nodes"),
                on("patch", "core", "pods/status"),
            ],
        ),
        (
            "resourcequota-controller",
            vec![on("list watch", "*", "*"), on("update", "core", "resourcequotas/status"), events()],
        ),
        ("root-ca-cert-publisher", vec![on("create update", "core", "configmaps"), events()]),
        ("service-account-controller", vec![on("create", "core", "serviceaccounts"), events()]),
        ("ttl-controller", vec![on("list patch update watch", "core", "nodes"), events()]),
        (
            "validatingadmissionpolicy-status-controller",
            vec![
                on(READ, "admissionregistration.k8s.io", "validatingadmissionpolicies"),
                on("get patch update", "admissionregistration.k8s.io", "validatingadmissionpolicies/status"),
                events(),
            ],
        ),
    ]
}

fn storage() -> Vec<(&'static str, Vec<PolicyRule>)> {
    vec![
        (
            "ephemeral-volume-controller",
            vec![
                on(READ, "core", "pods"),
                on("update", "core", "pods/finalizers"),
                on("create get list watch", "core", "persistentvolumeclaims"),
                events(),
            ],
        ),
        (
            "persistent-volume-binder",
            vec![
                on("create delete get list update watch", "core", "persistentvolumes"),
                on("update", "core", "persistentvolumes/status"),
                on("get list update watch", "core", "persistentvolumeclaims"),
                on("update", "core", "persistentvolumeclaims/status"),
                on("create delete get list watch", "core", "pods"),
                on(READ, "storage.k8s.io", "storageclasses"),
                on("list watch", "core", "nodes"),
                events(),
                on("watch", "core", "events"),
                on("get", "core", "services"),
            ],
        ),
        ("pv-protection-controller", vec![on("get list update watch", "core", "persistentvolumes"), events()]),
        (
            "pvc-protection-controller",
            vec![on("get list update watch", "core", "persistentvolumeclaims"), on(READ, "core", "pods"), events()],
        ),
    ]
}
