//! Roles for people and programs that use a cluster, and for those who only look.

use k8s_openapi::api::rbac::v1::PolicyRule;
use serde_json::Value;

use super::{Role, at, group, on, role};
use crate::identity::{AUTHENTICATED, MASTERS, UNAUTHENTICATED};

const READ: &str = "get list watch";
const WRITE: &str = "create delete deletecollection patch update";
const READ_AND_WRITE: &str = "create delete deletecollection get list patch update watch";

pub(super) fn roles() -> Vec<Role> {
    vec![
        role("cluster-admin", [on("*", "*", "*"), at("*", "*")]),
        Role::aggregated("admin"),
        Role::aggregated("edit").part_of(&["admin"]),
        Role::aggregated("view").part_of(&["edit"]),
        role("system:aggregate-to-admin", admin()).part_of(&["admin"]),
        role("system:aggregate-to-edit", edit()).part_of(&["edit"]),
        role("system:aggregate-to-view", view()).part_of(&["view"]),
        role(
            "system:discovery",
            [at("get", "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/")],
        ),
        role(
            "system:basic-user",
            [
                on("create", "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews"),
                on("create", "authentication.k8s.io", "selfsubjectreviews"),
            ],
        ),
        role("system:public-info-viewer", [at("get", "/healthz /livez /readyz /version /version/")]),
        role(
            "system:monitoring",
            [at("get", "/healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*")],
        ),
        role(
            "system:service-account-issuer-discovery",
            [at(
                "get",
                "/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/",
            )],
        ),
        // The registry is this cluster's own, and so are the roles for it.
        role("coracle:image-puller", [on("get list", "coracle.dev", "images")]),
        role("coracle:image-pusher", [on("create get list", "coracle.dev", "images")]),
        // Who may write what a namespace holds may write what its components keep; who may look sees that there are buckets.
        role("coracle:aggregate-to-edit", [on(READ_AND_WRITE, "coracle.dev", "bucketentries buckets")])
            .part_of(&["edit"]),
        role("coracle:aggregate-to-view", [on(READ, "coracle.dev", "buckets")]).part_of(&["view"]),
        role(super::SNAPSHOTS, [on(READ_AND_WRITE, "snapshot.storage.k8s.io", "volumesnapshots")]).part_of(&["edit"]),
        role("coracle:snapshots-aggregate-to-view", [on(READ, "snapshot.storage.k8s.io", "volumesnapshots")])
            .part_of(&["view"]),
    ]
}

pub(super) fn bindings() -> Vec<(&'static str, Vec<Value>)> {
    vec![
        ("cluster-admin", vec![group(MASTERS)]),
        ("system:discovery", vec![group(AUTHENTICATED)]),
        ("system:basic-user", vec![group(AUTHENTICATED)]),
        ("system:public-info-viewer", vec![group(AUTHENTICATED), group(UNAUTHENTICATED)]),
        ("system:monitoring", vec![group("system:monitoring")]),
        ("system:service-account-issuer-discovery", vec![group("system:serviceaccounts")]),
    ]
}

fn admin() -> Vec<PolicyRule> {
    vec![
        on("create", "authorization.k8s.io", "localsubjectaccessreviews"),
        on(READ_AND_WRITE, "rbac.authorization.k8s.io", "rolebindings roles"),
    ]
}

fn edit() -> Vec<PolicyRule> {
    vec![
        on(READ, "core", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"),
        on("impersonate", "core", "serviceaccounts"),
        on(WRITE, "core", "pods pods/attach pods/exec pods/portforward pods/proxy"),
        on("create", "core", "pods/eviction"),
        on(
            WRITE,
            "core",
            "configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets \
             serviceaccounts services services/proxy",
        ),
        on("create", "core", "serviceaccounts/token"),
        on(
            WRITE,
            "apps",
            "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets \
             statefulsets/scale",
        ),
        on(WRITE, "autoscaling", "horizontalpodautoscalers"),
        on(WRITE, "batch", "cronjobs jobs"),
        on(
            WRITE,
            "extensions",
            "daemonsets deployments deployments/rollback deployments/scale ingresses networkpolicies replicasets \
             replicasets/scale replicationcontrollers/scale",
        ),
        on(WRITE, "policy", "poddisruptionbudgets"),
        on(WRITE, "networking.k8s.io", "ingresses networkpolicies"),
        on(READ_AND_WRITE, "coordination.k8s.io", "leases"),
    ]
}

fn view() -> Vec<PolicyRule> {
    vec![
        on(
            READ,
            "core",
            "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers \
             replicationcontrollers/scale serviceaccounts services services/status",
        ),
        on(
            READ,
            "core",
            "bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status \
             resourcequotas resourcequotas/status",
        ),
        // In a namespace that means this namespace: how one learns of those one may see something in.
        on(READ, "core", "namespaces"),
        on(READ, "discovery.k8s.io", "endpointslices"),
        on(
            READ,
            "apps",
            "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status \
             replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status",
        ),
        on(READ, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
        on(READ, "batch", "cronjobs cronjobs/status jobs jobs/status"),
        on(
            READ,
            "extensions",
            "daemonsets daemonsets/status deployments deployments/scale deployments/status ingresses ingresses/status \
             networkpolicies replicasets replicasets/scale replicasets/status replicationcontrollers/scale",
        ),
        on(READ, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
        on(READ, "networking.k8s.io", "ingresses ingresses/status networkpolicies"),
    ]
}
