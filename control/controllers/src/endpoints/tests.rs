use serde_json::json;

use super::*;
use crate::notation::{check, object};

fn service() -> Object {
    let ports = json!([{"port": 80, "protocol": "TCP", "targetPort": "http"}]);
    object(
        kinds::SERVICE,
        "default/web",
        json!({"spec": {"clusterIP": "10.43.0.9", "selector": {"app": "web"}, "ports": ports}}),
    )
}

fn pod(name: &str, address: &str, ready: bool, ending: bool) -> Object {
    let conditions = json!([{"type": "Ready", "status": if ready { "True" } else { "False" }}]);
    let containers = json!([{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]);
    let mut metadata = json!({"labels": {"app": "web"}});
    if ending {
        metadata["deletionTimestamp"] = "2026-11-21T12:00:30Z".into();
    }
    let status = json!({"phase": "Running", "podIP": address, "conditions": conditions});
    object(
        kinds::POD,
        &format!("default/{name}"),
        json!({"metadata": metadata, "spec": {"containers": containers}, "status": status}),
    )
}

fn tree(view: &Snapshot, kind: api::GroupKind) -> serde_json::Value {
    let object = view.list(kind).next().expect("there is one");
    serde_json::from_slice(object.body()).expect("JSON")
}

#[test]
fn slices_and_endpoints_tell_who_is_ready_serving_and_leaving() {
    let world = [
        service(),
        pod("a", "10.42.0.2", true, false),
        pod("b", "10.42.0.3", false, false),
        pod("c", "10.42.0.4", true, true),
    ];
    let plan = Endpoints.reconcile(
        service().key(),
        &Snapshot::load(api::Revision(1), world.clone()),
        Look::new(crate::notation::noon(), 1),
    );
    assert_eq!(plan.txns.len(), 2);
    let home = object(kinds::NAMESPACE, "default", json!({}));
    let mut view = Snapshot::load(api::Revision(1), world.into_iter().chain([home]));
    for txn in &plan.txns {
        view = view.apply(txn).expect("every guard holds").0;
    }
    let slice = tree(&view, kinds::ENDPOINT_SLICE);
    let conditions: Vec<_> = slice["endpoints"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| {
            let says = |name: &str| it["conditions"][name].as_bool().unwrap_or(false);
            (it["addresses"][0].as_str().unwrap_or(""), says("ready"), says("serving"), says("terminating"))
        })
        .collect();
    assert_eq!(
        conditions,
        [("10.42.0.2", true, true, false), ("10.42.0.3", false, false, false), ("10.42.0.4", false, true, true)]
    );
    assert_eq!(slice["ports"][0]["port"], 8080);
    let subset = &tree(&view, kinds::ENDPOINTS)["subsets"][0];
    assert_eq!(
        (&subset["addresses"][0]["ip"], &subset["notReadyAddresses"][0]["ip"]),
        (&json!("10.42.0.2"), &json!("10.42.0.3"))
    );
    assert!(Endpoints.reconcile(service().key(), &view, Look::new(crate::notation::noon(), 2)).txns.is_empty());
}

#[test]
fn what_is_told_of_a_service_goes_with_it() {
    let labels = json!({"kubernetes.io/service-name": "web", "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"});
    let slice = object(kinds::ENDPOINT_SLICE, "default/web-x", json!({"metadata": {"labels": labels}}));
    check(&Endpoints, &[slice], service().key(), &[], &["-EndpointSlice web-x"]);
}

fn by_hand(endpoints: serde_json::Value) -> [Object; 2] {
    let ports = json!([{"port": 5432}]);
    let service = object(kinds::SERVICE, "default/db", json!({"spec": {"clusterIP": "10.43.0.8", "ports": ports}}));
    [service, object(kinds::ENDPOINTS, "default/db", endpoints)]
}

#[test]
fn endpoints_kept_by_hand_are_told_in_slices_too() {
    let subsets = json!([{"addresses": [{"ip": "192.0.2.7"}, {"ip": "2001:db8::7"}], "notReadyAddresses": [{"ip": "192.0.2.8"}],
        "ports": [{"port": 5432}]}]);
    let world = by_hand(json!({"metadata": {"annotations": {"a": "b"}}, "subsets": subsets}));
    let after = check(
        &Endpoints,
        &world,
        world[0].key(),
        &["/addressType", "/endpoints/0/addresses", "/endpoints/1/conditions/ready", "/ports/0/port"],
        &[
            "+EndpointSlice db-nv42p \"IPv4\" [\"192.0.2.7\"] false 5432",
            "+EndpointSlice db-qg2nw \"IPv6\" [\"2001:db8::7\"] 5432",
        ],
    );
    assert_eq!(tree(&after, kinds::ENDPOINT_SLICE)["metadata"]["annotations"], json!({"a": "b"}));
    let again = Endpoints.reconcile(world[0].key(), &after, Look::new(crate::notation::noon(), 2));
    assert!(again.txns.is_empty(), "planning again changes nothing");
}

#[test]
fn what_is_not_to_be_mirrored_is_not() {
    let subsets = json!([{"addresses": [{"ip": "192.0.2.7"}], "ports": [{"port": 5432}]}]);
    let skip = json!({"endpointslice.kubernetes.io/skip-mirror": "true"});
    let world = by_hand(json!({"metadata": {"labels": skip}, "subsets": subsets}));
    check(&Endpoints, &world, world[0].key(), &[], &[]);
}

#[test]
fn slices_kept_by_hand_are_left_alone() {
    let labels = json!({"kubernetes.io/service-name": "db"});
    let slice =
        json!({"metadata": {"labels": labels}, "addressType": "IPv4", "endpoints": [{"addresses": ["192.0.2.9"]}]});
    let slice = object(kinds::ENDPOINT_SLICE, "default/db-mine", slice);
    let [service, _] = by_hand(json!({}));
    check(&Endpoints, &[service.clone(), slice.clone()], service.key(), &[], &[]);
    check(&Endpoints, &[slice], service.key(), &[], &[]);
}

#[test]
fn pods_have_names_zones_and_ports_of_their_own() {
    let ports = json!([{"name": "web", "port": 80, "targetPort": "http"}]);
    let spec = json!({"clusterIP": "None", "selector": {"app": "web"}, "ports": ports, "trafficDistribution": "PreferClose",
        "publishNotReadyAddresses": true});
    let service = object(kinds::SERVICE, "default/web", json!({"spec": spec}));
    let mut named: serde_json::Value =
        serde_json::from_slice(pod("web-0", "10.42.0.2", false, false).body()).expect("JSON");
    named["spec"]["hostname"] = "web-0".into();
    named["spec"]["subdomain"] = "web".into();
    named["spec"]["nodeName"] = "n1".into();
    named["spec"]["containers"][0]["ports"][0]["containerPort"] = 9090.into();
    let named = Object::from_value(kinds::POD, &named).expect("an object");
    let node = object(kinds::NODE, "n1", json!({"metadata": {"labels": {"topology.kubernetes.io/zone": "z1"}}}));
    let after = {
        let home = object(kinds::NAMESPACE, "default", json!({}));
        let world = [service.clone(), named, pod("web-1", "10.42.0.3", true, true), node, home];
        let view = Snapshot::load(api::Revision(1), world);
        let look = Look::new(crate::notation::noon(), 1);
        let plan = Endpoints.reconcile(service.key(), &view, look);
        plan.txns.iter().fold(view, |view, txn| view.apply(txn).expect("every guard holds").0)
    };
    let slices: Vec<serde_json::Value> =
        after.list(kinds::ENDPOINT_SLICE).map(|it| serde_json::from_slice(it.body()).expect("JSON")).collect();
    let told = |address: &str| {
        let of = |slice: &&serde_json::Value| slice["endpoints"][0]["addresses"][0] == address;
        let slice = slices.iter().find(of).expect("told").clone();
        (slice["ports"][0]["port"].clone(), slice["endpoints"][0].clone())
    };
    let (port, first) = told("10.42.0.2");
    assert_eq!(
        (port, &first["hostname"], &first["nodeName"], &first["zone"]),
        (json!(9090), &json!("web-0"), &json!("n1"), &json!("z1"))
    );
    assert_eq!(first["hints"], json!({"forZones": [{"name": "z1"}]}));
    assert_eq!(first["conditions"], json!({"ready": true, "serving": false, "terminating": false}));
    let (port, second) = told("10.42.0.3");
    assert_eq!((port, second.get("hostname"), second.get("hints")), (json!(8080), None, None));
    assert_eq!(second["conditions"], json!({"ready": true, "serving": true, "terminating": true}));
}

/// Whether slices say that somebody comes to the service, while an autoscaler keeps at least so many pods with such labels.
fn is_marked(least: i32, app: &str) -> bool {
    let reference = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
    let requests = json!({"type": "Pods", "pods": {"metric": {"name": "requests-per-second"}, "target": {"type": "AverageValue", "averageValue": "9"}}});
    let spec = json!({"scaleTargetRef": reference, "minReplicas": least, "maxReplicas": 3, "metrics": [requests]});
    let scaler = json!({"apiVersion": "autoscaling/v2", "spec": spec});
    let scaler = object(kinds::HORIZONTAL_POD_AUTOSCALER, "default/web", scaler);
    let template = json!({"metadata": {"labels": {"app": app}}});
    let spec = json!({"replicas": 0, "selector": {"matchLabels": {"app": app}}, "template": template});
    let deployment = object(kinds::DEPLOYMENT, "default/web", json!({"apiVersion": "apps/v1", "spec": spec}));
    let home = object(kinds::NAMESPACE, "default", json!({}));
    let view = Snapshot::load(api::Revision(1), [service(), scaler.clone(), deployment.clone(), home]);
    for about in [scaler, deployment] {
        let event = Event { revision: api::Revision(1), change: state::Change::Added(about) };
        let is_due = Endpoints.affected(&event, &view).contains(service().key());
        assert_eq!(is_due, least == 0 || event.key().kind() == kinds::HORIZONTAL_POD_AUTOSCALER, "{}", event.key());
    }
    let look = Look::new(crate::notation::noon(), 1);
    let plan = Endpoints.reconcile(service().key(), &view, look);
    let view = plan.txns.iter().fold(view, |view, txn| view.apply(txn).expect("every guard holds").0);
    tree(&view, kinds::ENDPOINT_SLICE)["metadata"]["annotations"][waking::ANNOTATION] == "true"
}

#[test]
fn somebody_comes_whom_an_autoscaler_sent_away_and_would_call_back() {
    assert!(is_marked(0, "web"));
    assert!(!is_marked(1, "web"), "who is always there need not be called");
    assert!(!is_marked(0, "other"), "these are not the pods of the service");
}
