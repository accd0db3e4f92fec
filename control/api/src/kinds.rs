//! The group and kind of everything the cluster itself reads.

use crate::GroupKind;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $group:literal, $kind:literal;)*) => {
        $($(#[$doc])* pub const $name: GroupKind = GroupKind::new($group, $kind);)*
    };
}

kinds! {
    /// A namespace.
    NAMESPACE = "", "Namespace";
    /// A machine that runs pods.
    NODE = "", "Node";
    /// A group of containers with one address.
    POD = "", "Pod";
    /// A stable name and address for pods.
    SERVICE = "", "Service";
    /// The addresses behind a service, in one object.
    ENDPOINTS = "", "Endpoints";
    /// Configuration.
    CONFIG_MAP = "", "ConfigMap";
    /// Configuration that is not for everyone's eyes.
    SECRET = "", "Secret";
    /// An identity for pods.
    SERVICE_ACCOUNT = "", "ServiceAccount";
    /// Storage that somebody wants.
    PERSISTENT_VOLUME_CLAIM = "", "PersistentVolumeClaim";
    /// Storage that there is.
    PERSISTENT_VOLUME = "", "PersistentVolume";
    /// Replicas of a pod, as they were before ReplicaSets.
    REPLICATION_CONTROLLER = "", "ReplicationController";
    /// How much a namespace may have.
    RESOURCE_QUOTA = "", "ResourceQuota";
    /// How much each thing in a namespace may have.
    LIMIT_RANGE = "", "LimitRange";
    /// What pods could be made of.
    POD_TEMPLATE = "", "PodTemplate";
    /// Something that happened to an object.
    EVENT = "", "Event";
    /// Replicas of a pod, rolled out.
    DEPLOYMENT = "apps", "Deployment";
    /// Replicas of a pod.
    REPLICA_SET = "apps", "ReplicaSet";
    /// Replicas of a pod that have names and storage of their own.
    STATEFUL_SET = "apps", "StatefulSet";
    /// One pod on every node.
    DAEMON_SET = "apps", "DaemonSet";
    /// What a workload was like.
    CONTROLLER_REVISION = "apps", "ControllerRevision";
    /// Pods that run until enough of them have succeeded.
    JOB = "batch", "Job";
    /// Jobs that recur.
    CRON_JOB = "batch", "CronJob";
    /// How many replicas there should be.
    HORIZONTAL_POD_AUTOSCALER = "autoscaling", "HorizontalPodAutoscaler";
    /// How many pods may be missing at one time.
    POD_DISRUPTION_BUDGET = "policy", "PodDisruptionBudget";
    /// Somebody wants a certificate.
    CERTIFICATE_SIGNING_REQUEST = "certificates.k8s.io", "CertificateSigningRequest";
    /// A heartbeat or a lock.
    LEASE = "coordination.k8s.io", "Lease";
    /// The addresses behind a service, in slices.
    ENDPOINT_SLICE = "discovery.k8s.io", "EndpointSlice";
    /// HTTP from outside.
    INGRESS = "networking.k8s.io", "Ingress";
    /// Who serves an ingress.
    INGRESS_CLASS = "networking.k8s.io", "IngressClass";
    /// Who may reach whom on the pod network.
    NETWORK_POLICY = "networking.k8s.io", "NetworkPolicy";
    /// Who runs a pod.
    RUNTIME_CLASS = "node.k8s.io", "RuntimeClass";
    /// What may be done in a namespace.
    ROLE = "rbac.authorization.k8s.io", "Role";
    /// What may be done everywhere.
    CLUSTER_ROLE = "rbac.authorization.k8s.io", "ClusterRole";
    /// What a kind is that the cluster is taught.
    CUSTOM_RESOURCE_DEFINITION = "apiextensions.k8s.io", "CustomResourceDefinition";
    /// Who may do in a namespace what a role allows.
    ROLE_BINDING = "rbac.authorization.k8s.io", "RoleBinding";
    /// Who may do everywhere what a role allows.
    CLUSTER_ROLE_BINDING = "rbac.authorization.k8s.io", "ClusterRoleBinding";
    /// How much pods matter beside others.
    PRIORITY_CLASS = "scheduling.k8s.io", "PriorityClass";
    /// Programs that may change what is to be stored.
    MUTATING_WEBHOOKS = "admissionregistration.k8s.io", "MutatingWebhookConfiguration";
    /// Programs that may refuse what is to be stored.
    VALIDATING_WEBHOOKS = "admissionregistration.k8s.io", "ValidatingWebhookConfiguration";
    /// What must be true of what is stored.
    VALIDATING_POLICY = "admissionregistration.k8s.io", "ValidatingAdmissionPolicy";
    /// Where a policy applies.
    VALIDATING_POLICY_BINDING = "admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding";
    /// A kind of storage, and who makes it.
    STORAGE_CLASS = "storage.k8s.io", "StorageClass";
    /// What somebody wants to keep of a claim, or has.
    VOLUME_SNAPSHOT = "snapshot.storage.k8s.io", "VolumeSnapshot";
    /// How snapshots of volumes are made.
    VOLUME_SNAPSHOT_CLASS = "snapshot.storage.k8s.io", "VolumeSnapshotClass";
    /// What is kept of a volume.
    VOLUME_SNAPSHOT_CONTENT = "snapshot.storage.k8s.io", "VolumeSnapshotContent";
    /// Where components keep values by keys.
    BUCKET = "coracle.dev", "Bucket";
    /// One value in a bucket.
    BUCKET_ENTRY = "coracle.dev", "BucketEntry";
}
