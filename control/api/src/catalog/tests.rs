use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::testing::*;
use super::*;
use crate::{Admission, FieldValidation, Object, Operation, Revision, kinds, schema};

fn deployment() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "hello"}, "spec": {"selector": {"matchLabels": {"app": "hello"}},
        "template": {"metadata": {"labels": {"app": "hello"}}, "spec": {"containers": [{"name": "main", "image": "hello:v1", "ports": [{"containerPort": 80}]}]}}}})
}

fn pod() -> Value {
    json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "main", "image": "hello"}]}})
}

fn with_volumes(volumes: Value) -> Value {
    let mut pod = pod();
    pod["spec"]["volumes"] = volumes;
    pod
}

fn service() -> Value {
    json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "hello"}, "ports": [{"port": 80, "targetPort": "http"}]}})
}

#[test]
fn every_kind_is_found_by_name_and_by_resource() {
    for kind in all() {
        let names = kind.names();
        let stored = by_kind(kind.group_kind()).expect("every kind has a version that is stored").names();
        assert!(stored == names || (stored.plural, stored.kind) == (names.plural, names.kind));
        assert_eq!(by_resource(names.group, names.version, names.plural).map(Kind::names), Some(names));
    }
    assert!(by_kind(kinds::DEPLOYMENT).is_some() && by_resource("apps", "v1beta1", "deployments").is_none());
}

#[test]
fn the_table_of_fields_and_the_types_agree() {
    let mut generator = schemars::generate::SchemaSettings::openapi3().into_generator();
    for kind in all() {
        let _ = kind.schema(&mut generator);
    }
    let mut differences = Vec::new();
    for (name, definition) in generator.take_definitions(true) {
        let Some(members) = definition.get("properties").and_then(Value::as_object) else { continue };
        let Some(message) = name.strip_prefix("io.k8s.").and_then(schema::message) else {
            differences.push(format!("{name} is not in the table"));
            continue;
        };
        let typed: BTreeSet<&str> =
            members.keys().map(String::as_str).filter(|name| !matches!(*name, "apiVersion" | "kind")).collect();
        let listed: BTreeSet<&str> =
            message.members().map(|field| field.name).filter(|name| !matches!(*name, "apiVersion" | "kind")).collect();
        differences.extend(typed.symmetric_difference(&listed).map(|field| format!("{name}.{field}")));
    }
    assert_eq!(differences, Vec::<String>::new());
}

#[test]
fn a_deployment_is_completed() {
    let object = created(kinds::DEPLOYMENT, deployment());
    assert_eq!(
        tree(&object),
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "hello", "namespace": "shop", "uid": "u-1", "generation": 1, "creationTimestamp": "2026-11-21T05:13:14Z", "resourceVersion": "5"},
            "spec": {"replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600, "selector": {"matchLabels": {"app": "hello"}},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
                "template": {"metadata": {"labels": {"app": "hello"}}, "spec": {
                    "containers": [{"name": "main", "image": "hello:v1", "imagePullPolicy": "IfNotPresent", "ports": [{"containerPort": 80, "protocol": "TCP"}],
                        "resources": {}, "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}],
                    "dnsPolicy": "ClusterFirst", "enableServiceLinks": true, "restartPolicy": "Always", "schedulerName": "default-scheduler",
                    "securityContext": {}, "terminationGracePeriodSeconds": 30}}}})
    );
}

#[test]
fn a_pod_and_a_service_are_completed() {
    let pod = tree(&created(kinds::POD, pod()));
    assert_eq!(pod["status"], json!({"phase": "Pending", "qosClass": "BestEffort"}));
    for (field, value) in [
        ("serviceAccountName", json!("default")),
        ("priority", json!(0)),
        ("preemptionPolicy", json!("PreemptLowerPriority")),
    ] {
        assert_eq!(pod["spec"][field], value);
    }
    assert_eq!(pod["spec"]["containers"][0]["imagePullPolicy"], "Always");
    let volume = |reference: &str| json!([{"name": "v", "image": {"reference": reference}}]);
    for (reference, policy) in [("prices", "Always"), ("prices:v1", "IfNotPresent")] {
        let pod = tree(&created(kinds::POD, with_volumes(volume(reference))));
        assert_eq!(pod["spec"]["volumes"][0]["image"], json!({"reference": reference, "pullPolicy": policy}));
    }
    assert_eq!(
        tree(&created(kinds::SERVICE, service()))["spec"],
        json!({"type": "ClusterIP", "selector": {"app": "hello"}, "ports": [{"port": 80, "protocol": "TCP", "targetPort": "http"}], "sessionAffinity": "None",
            "internalTrafficPolicy": "Cluster", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"})
    );
}

#[test]
fn admission_again_changes_nothing() {
    for (kind, value) in [(kinds::DEPLOYMENT, deployment()), (kinds::POD, pod()), (kinds::SERVICE, service())] {
        let object = created(kind, value);
        let again = update(&object, tree(&object)).expect("valid").object;
        assert_eq!(again.body(), object.body(), "{kind}");
    }
}

#[test]
fn equal_templates_stay_equal_whatever_clients_echo() {
    let object = created(kinds::DEPLOYMENT, deployment());
    let echoed = with(
        &object,
        &[
            ("/spec/template/metadata/creationTimestamp", Value::Null),
            ("/spec/template/spec/containers/0/resources", json!({})),
            ("/spec/minReadySeconds", json!(0)),
        ],
    );
    assert_eq!(update(&object, echoed).expect("valid").object.body(), object.body());
}

#[test]
fn the_generation_counts_what_is_wanted_and_the_status_is_not_the_clients() {
    let object = created(
        kinds::DEPLOYMENT,
        with(
            &created(kinds::DEPLOYMENT, deployment()),
            &[("/status", json!({"replicas": 7})), ("/metadata/resourceVersion", Value::Null)],
        ),
    );
    assert_eq!(tree(&object).get("status"), None);
    let labelled = update(&object, with(&object, &[("/metadata/labels", json!({"a": "b"}))])).expect("valid").object;
    assert_eq!(labelled.meta().generation, 1);
    let scaled = update(&object, with(&object, &[("/spec/replicas", json!(3)), ("/metadata/uid", json!(""))]))
        .expect("valid")
        .object;
    assert_eq!((scaled.meta().generation, &*scaled.meta().uid), (2, "u-1"));

    let kind = by_kind(kinds::DEPLOYMENT).expect("in the catalog");
    let told = with(&object, &[("/status", json!({"replicas": 1})), ("/spec/replicas", json!(9))]);
    let told = kind.admit(told, &admission(Operation::UpdateStatus { old: &object }, "shop")).expect("valid").object;
    assert_eq!((&tree(&told)["status"], &tree(&told)["spec"]["replicas"]), (&json!({"replicas": 1}), &json!(1)));
    let kept = update(&told, with(&told, &[("/status", json!({"replicas": 5}))])).expect("valid").object;
    assert_eq!(tree(&kept)["status"], json!({"replicas": 1}));
}

#[test]
fn fields_that_do_not_exist_are_refused_or_told() {
    let mut value = deployment();
    value["spec"]["replicaz"] = 2.into();
    let refused = "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: unknown field \"spec.replicaz\"";
    let strict = create(kinds::DEPLOYMENT, value.clone()).expect_err("refused");
    assert_eq!((strict.code(), strict.message.as_str()), (400, refused));
    let blamed = crate::blame_patch(strict, "{}", "");
    assert_eq!(
        (blamed.code(), blamed.message.as_str()),
        (422, " \"\" is invalid: patch: Invalid value: \"{}\": strict decoding error: unknown field \"spec.replicaz\"")
    );

    let operation = Operation::Create { uid: "u", seed: 0 };
    let duplicates = ["spec.paused".to_owned()];
    let warn = Admission { validation: FieldValidation::Warn, duplicates: &duplicates, ..admission(operation, "shop") };
    let admitted = by_kind(kinds::DEPLOYMENT).expect("in the catalog").admit(value, &warn).expect("valid");
    assert_eq!(admitted.warnings, ["duplicate field \"spec.paused\"", "unknown field \"spec.replicaz\""]);
    assert_eq!(tree(&admitted.object)["spec"].get("replicaz"), None);

    let mut value = deployment();
    value["spec"]["replicas"] = "two".into();
    assert_eq!(
        message(create(kinds::DEPLOYMENT, value)),
        "Deployment in version \"v1\" cannot be handled as a Deployment: json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"
    );
}

#[test]
fn what_breaks_a_rule_is_told_in_kubernetes_words() {
    let refused = |kind: GroupKind, mut value: Value, path: &str, wrong: Value| {
        let (parent, name) = path.rsplit_once('/').expect("a pointer");
        value.pointer_mut(parent).expect("there")[name] = wrong;
        message(create(kind, value))
    };
    let check = |found: String, expect: &str| assert_eq!(found, expect);
    check(
        refused(kinds::DEPLOYMENT, deployment(), "/spec/template/metadata/labels", json!({"app": "other"})),
        "Deployment.apps \"hello\" is invalid: spec.template.metadata.labels: Invalid value: map[string]string{\"app\":\"other\"}: `selector` does not match template `labels`",
    );
    check(
        refused(kinds::DEPLOYMENT, deployment(), "/spec/selector", Value::Null),
        "Deployment.apps \"hello\" is invalid: [spec.selector: Required value, spec.template.metadata.labels: Invalid value: map[string]string{\"app\":\"hello\"}: `selector` does not match template `labels`]",
    );
    check(
        refused(kinds::DEPLOYMENT, deployment(), "/spec/template/spec/containers/0/image", Value::Null),
        "Deployment.apps \"hello\" is invalid: spec.template.spec.containers[0].image: Required value",
    );
    check(
        refused(kinds::DEPLOYMENT, deployment(), "/spec/replicas", json!(-1)),
        "Deployment.apps \"hello\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0",
    );
    check(
        refused(kinds::DEPLOYMENT, deployment(), "/spec/template/spec/restartPolicy", json!("Never")),
        "Deployment.apps \"hello\" is invalid: spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
    );
    check(
        refused(
            kinds::DEPLOYMENT,
            deployment(),
            "/spec/template/spec/containers/0/volumeMounts",
            json!([{"name": "v", "mountPath": "/v"}]),
        ),
        "Deployment.apps \"hello\" is invalid: spec.template.spec.containers[0].volumeMounts[0].name: Not found: \"v\"",
    );
    check(
        refused(kinds::SERVICE, service(), "/spec/ports/0/port", json!(70000)),
        "Service \"web\" is invalid: spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive",
    );
    check(
        refused(kinds::SERVICE, service(), "/spec/type", json!("Cluster")),
        "Service \"web\" is invalid: spec.type: Unsupported value: \"Cluster\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"",
    );
    check(
        refused(kinds::POD, with_volumes(json!([{"name": "v"}])), "/spec/volumes/0/image", json!({})),
        "Pod \"p\" is invalid: spec.volumes[0].image.reference: Required value",
    );
    check(
        refused(
            kinds::POD,
            with_volumes(json!([{"name": "v"}])),
            "/spec/volumes/0/image",
            json!({"reference": "a", "pullPolicy": "Now"}),
        ),
        "Pod \"p\" is invalid: spec.volumes[0].image.pullPolicy: Unsupported value: \"Now\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
    );
    check(
        refused(kinds::POD, pod(), "/metadata/name", json!("Web")),
        "Pod \"Web\" is invalid: metadata.name: Invalid value: \"Web\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
    );
    check(
        refused(kinds::POD, pod(), "/metadata/name", Value::Null),
        "Pod \"\" is invalid: metadata.name: Required value: name or generateName is required",
    );
    check(
        refused(kinds::POD, pod(), "/metadata/namespace", json!("other")),
        "the namespace of the provided object does not match the namespace sent on the request",
    );
    check(
        refused(kinds::POD, pod(), "/metadata/resourceVersion", json!("1")),
        "resourceVersion should not be set on objects to be created",
    );
    check(
        message(create(kinds::POD, json!({"apiVersion": "v2"}))),
        "Pod in version \"v2\" cannot be handled as a Pod: no kind \"Pod\" is registered for version \"v2\" in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
    );
    check(
        message(create(
            kinds::INGRESS,
            json!({"metadata": {"name": "i"}, "spec": {"rules": [{"http": {"paths": [{"path": "x", "pathType": "Prefix", "backend": {}}]}}]}}),
        )),
        "Ingress.networking.k8s.io \"i\" is invalid: [spec.rules[0].http.paths[0].path: Invalid value: \"x\": must be an absolute path, spec.rules[0].http.paths[0].backend: Required value: resource or service backend is required]",
    );
}

#[test]
fn what_may_not_change_does_not() {
    let object = created(kinds::DEPLOYMENT, deployment());
    let labels = json!({"app": "new"});
    let moved =
        with(&object, &[("/spec/selector/matchLabels", labels.clone()), ("/spec/template/metadata/labels", labels)]);
    assert_eq!(
        message(update(&object, moved)),
        "Deployment.apps \"hello\" is invalid: spec.selector: Invalid value: v1.LabelSelector{MatchLabels:map[string]string{\"app\":\"new\"}, MatchExpressions:[]v1.LabelSelectorRequirement(nil)}: field is immutable"
    );
    let other = update(&object, with(&object, &[("/metadata/uid", json!("u-2"))])).expect_err("another object");
    assert_eq!(other.code(), 409);

    let pod = created(kinds::POD, pod());
    assert!(update(&pod, with(&pod, &[("/spec/containers/0/image", json!("hello:v2"))])).is_ok());
    let refused = message(update(&pod, with(&pod, &[("/spec/containers/0/args", json!(["x"]))])));
    assert!(refused.starts_with("Pod \"p\" is invalid: spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`"), "{refused}");

    let secret =
        created(kinds::SECRET, json!({"metadata": {"name": "s"}, "stringData": {"k": "value"}, "immutable": true}));
    assert_eq!((&tree(&secret)["data"], &tree(&secret)["type"]), (&json!({"k": "dmFsdWU="}), &json!("Opaque")));
    assert_eq!(
        message(update(&secret, with(&secret, &[("/data/k", json!(""))]))),
        "Secret \"s\" is invalid: data: Forbidden: field is immutable when `immutable` is set"
    );

    let mut going = tree(&pod);
    going["metadata"]["deletionTimestamp"] = "2026-11-21T05:13:44Z".into();
    let going = Object::from_value(kinds::POD, &going).expect("an object");
    assert_eq!(
        message(update(&going, with(&going, &[("/metadata/finalizers", json!(["a.b/c"]))]))),
        "Pod \"p\" is invalid: metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"a.b/c\"}"
    );
}

#[test]
fn a_service_keeps_what_it_was_given() {
    let mut stored = tree(&created(kinds::SERVICE, service()));
    stored["spec"]["type"] = "NodePort".into();
    stored["spec"]["externalTrafficPolicy"] = "Cluster".into();
    stored["spec"]["clusterIP"] = "10.43.0.7".into();
    stored["spec"]["clusterIPs"] = json!(["10.43.0.7"]);
    stored["spec"]["ports"][0]["nodePort"] = 30001.into();
    let stored = Object::from_value(kinds::SERVICE, &stored).expect("an object").at(Revision(6));
    let mut sent = service();
    sent["spec"]["type"] = "NodePort".into();
    let kept = tree(&update(&stored, sent).expect("valid").object);
    assert_eq!(
        (&kept["spec"]["clusterIP"], &kept["spec"]["ports"][0]["nodePort"]),
        (&json!("10.43.0.7"), &json!(30001))
    );
    let inner = tree(&update(&stored, with(&stored, &[("/spec/type", json!("ClusterIP"))])).expect("valid").object);
    assert_eq!((inner["spec"].get("externalTrafficPolicy"), inner["spec"]["ports"][0].get("nodePort")), (None, None));
    let moved = message(update(
        &stored,
        with(&stored, &[("/spec/clusterIP", json!("10.43.0.8")), ("/spec/clusterIPs", json!(["10.43.0.8"]))]),
    ));
    assert_eq!(
        moved,
        "Service \"web\" is invalid: spec.clusterIPs[0]: Invalid value: []string{\"10.43.0.8\"}: may not change once set"
    );
}

#[test]
fn a_namespace_is_active_and_keeps_its_finalizer() {
    let namespace = tree(&created(kinds::NAMESPACE, json!({"metadata": {"name": "shop"}, "status": {}})));
    assert_eq!(namespace["spec"], json!({"finalizers": ["kubernetes"]}));
    assert_eq!(namespace["status"], json!({"phase": "Active"}));
    assert_eq!(namespace["metadata"]["labels"], json!({"kubernetes.io/metadata.name": "shop"}));
}

#[test]
fn what_means_nothing_to_wasm_is_told() {
    let mut value = pod();
    value["spec"]["hostPID"] = true.into();
    value["spec"]["containers"][0]["securityContext"] = json!({"privileged": true});
    value["spec"]["containers"][0]["env"] = json!([{"name": "A"}, {"name": "A"}]);
    assert_eq!(
        create(kinds::POD, value).expect("valid").warnings,
        [
            "spec.hostPID: has no effect here: wasm components have no processes to share",
            "spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply",
            "spec.containers[0].securityContext.privileged: has no effect here: wasm components cannot have privileges on the node",
        ]
    );
}

#[test]
fn a_scale_is_read_and_written() {
    let object = created(kinds::DEPLOYMENT, deployment());
    let kind = by_kind(kinds::DEPLOYMENT).expect("in the catalog");
    let mut scale = kind.scale(&object).expect("it scales");
    assert_eq!(
        (&scale["spec"], &scale["status"]),
        (&json!({"replicas": 1}), &json!({"replicas": 0, "selector": "app=hello"}))
    );
    scale["spec"]["replicas"] = 4.into();
    let scaled = update(&object, kind.with_scale(&object, &scale).expect("a number")).expect("valid").object;
    assert_eq!((tree(&scaled)["spec"]["replicas"].clone(), scaled.meta().generation), (json!(4), 2));
    assert!(by_kind(kinds::POD).is_some_and(|pods| pods.scale(&object).is_none()));
}

#[test]
fn every_row_has_a_cell_for_every_column() {
    let now = "2026-11-21T05:18:17Z".parse().expect("a time");
    let check = |kind: GroupKind, value: Value, expect: Value| {
        let object = created(kind, value);
        let kind = by_kind(kind).expect("in the catalog");
        let cells = kind.cells(&object, now);
        assert_eq!((cells.len(), Value::from(cells)), (kind.columns().len(), expect));
    };
    check(kinds::DEPLOYMENT, deployment(), json!(["hello", "0/1", 0, 0, "5m3s", "main", "hello:v1", "app=hello"]));
    check(kinds::POD, pod(), json!(["p", "0/1", "Pending", "0", "5m3s", "<none>", "<none>", "<none>", "<none>"]));
    check(kinds::SERVICE, service(), json!(["web", "ClusterIP", "<none>", "<none>", "80/TCP", "5m3s", "app=hello"]));
    check(kinds::CONFIG_MAP, json!({"metadata": {"name": "c"}, "data": {"a": "1"}}), json!(["c", 1, "5m3s"]));
    check(
        kinds::NODE,
        json!({"metadata": {"name": "n1", "labels": {"node-role.kubernetes.io/control-plane": ""}}, "spec": {"unschedulable": true}}),
        json!([
            "n1",
            "Unknown,SchedulingDisabled",
            "control-plane",
            "5m3s",
            "",
            "<none>",
            "<none>",
            "<unknown>",
            "<unknown>",
            "<unknown>"
        ]),
    );
    check(
        kinds::EVENT,
        json!({"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "p", "namespace": "shop"}, "reason": "Started", "message": "m", "type": "Normal",
        "lastTimestamp": "2026-11-21T05:18:07Z", "source": {"component": "agent", "host": "n1"}}),
        json!(["10s", "Normal", "Started", "pod/p", "", "agent, n1", "m", "<unknown>", 1, "e"]),
    );
    check(
        kinds::INGRESS,
        json!({"metadata": {"name": "i"}, "spec": {"ingressClassName": "coracle", "rules": [{"host": "a.b"}], "tls": [{"hosts": ["a.b"]}]}}),
        json!(["i", "coracle", "a.b", "", "80, 443", "5m3s"]),
    );
    check(
        kinds::LEASE,
        json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "n1"}}),
        json!(["l", "n1", "5m3s"]),
    );
}

#[test]
fn a_service_gives_back_what_its_new_type_has_no_use_for() {
    let node_port = json!({"type": "NodePort", "clusterIP": "10.43.0.9", "clusterIPs": ["10.43.0.9"], "ports": [{"port": 80, "nodePort": 30_080}]});
    let old = created(kinds::SERVICE, json!({"metadata": {"name": "web"}, "spec": node_port}));
    let spec = |service_type: &str| {
        let changed = update(
            &old,
            with(&old, &[("/spec/type", json!(service_type)), ("/spec/externalName", json!("a.example"))]),
        );
        tree(&changed.expect("valid").object)["spec"].clone()
    };
    let inside = spec("ClusterIP");
    assert_eq!((&inside["clusterIP"], inside["ports"][0].get("nodePort")), (&json!("10.43.0.9"), None));
    assert_eq!(inside.get("externalTrafficPolicy"), None);
    let alias = spec("ExternalName");
    assert_eq!(
        (alias.get("clusterIP"), alias.get("clusterIPs"), alias["ports"][0].get("nodePort")),
        (None, None, None)
    );
}

#[test]
fn the_fields_of_a_service_keep_their_rules() {
    let balancer = |more: Value| {
        let mut spec = json!({"type": "LoadBalancer", "ports": [{"port": 80}]});
        spec.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        spec
    };
    let refused = |spec: Value, expect: &str| {
        let message = message(create(kinds::SERVICE, json!({"metadata": {"name": "web"}, "spec": spec})));
        assert_eq!(message, format!("Service \"web\" is invalid: {expect}"));
    };
    let affine = |seconds: i64| json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": seconds}}, "ports": [{"port": 80}]});
    for seconds in [0, 86_401] {
        let expect = format!(
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: {seconds}: must be greater than 0 and less than 86400"
        );
        refused(affine(seconds), &expect);
    }
    assert!(create(kinds::SERVICE, json!({"metadata": {"name": "web"}, "spec": affine(86_400)})).is_ok());
    refused(
        json!({"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}}, "ports": [{"port": 80}]}),
        "spec.sessionAffinityConfig: Forbidden: must not be set when session affinity is None",
    );
    refused(
        json!({"externalTrafficPolicy": "Local", "ports": [{"port": 80}]}),
        "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible services",
    );
    refused(
        balancer(json!({"externalTrafficPolicy": "Near"})),
        "spec.externalTrafficPolicy: Unsupported value: \"Near\": supported values: \"Cluster\", \"Local\"",
    );
    refused(
        json!({"internalTrafficPolicy": "Near", "ports": [{"port": 80}]}),
        "spec.internalTrafficPolicy: Unsupported value: \"Near\": supported values: \"Cluster\", \"Local\"",
    );
    refused(
        balancer(json!({"healthCheckNodePort": 30_000})),
        "spec.healthCheckNodePort: Invalid value: 30000: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
    );
    refused(
        json!({"loadBalancerClass": "a/b", "ports": [{"port": 80}]}),
        "spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'",
    );
    refused(
        json!({"ipFamilies": ["IPv6"], "ports": [{"port": 80}]}),
        "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster",
    );
    refused(
        json!({"ipFamilyPolicy": "RequireDualStack", "ports": [{"port": 80}]}),
        "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services",
    );
    refused(
        json!({"externalIPs": ["127.0.0.1"], "ports": [{"port": 80}]}),
        "spec.externalIPs[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
    );
    let old = created(
        kinds::SERVICE,
        json!({"metadata": {"name": "web"}, "spec": balancer(json!({"loadBalancerClass": "a/b"}))}),
    );
    assert_eq!(
        message(update(&old, with(&old, &[("/spec/loadBalancerClass", json!("a/c"))]))),
        "Service \"web\" is invalid: spec.loadBalancerClass: Invalid value: \"a/c\": may not change once set"
    );
}
