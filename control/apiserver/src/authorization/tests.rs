//! Decisions and refusals, on the world that every cluster begins with.

use api::{Object, kinds};
use jiff::Timestamp;
use serde_json::{Value, json};
use state::Txn;

use super::question::Resource;
use super::*;
use crate::identity::{AUTHENTICATED, MASTERS, NODES};
use crate::seed::seed;

fn world(more: &[(api::GroupKind, Value)]) -> Snapshot {
    let txn = seed(&Snapshot::default(), Timestamp::UNIX_EPOCH, String::new);
    let txn = more.iter().fold(txn, |txn: Txn, (kind, value)| {
        let mut value = value.clone();
        let names = api::catalog::by_kind(*kind).expect("in the catalog").names();
        value["apiVersion"] = names.api_version().into();
        value["kind"] = names.kind.into();
        txn.put(Object::from_value(*kind, &value).expect("an object"))
    });
    Snapshot::default().apply(&txn).expect("unguarded").0
}

fn who(user: &str, groups: &[&str]) -> Identity {
    let groups = groups.iter().map(|group| (*group).into()).collect();
    Identity { user: user.into(), groups, ..Identity::default() }
}

/// The refusal; empty if there is none.
fn check(world: &Snapshot, who: &Identity, question: Question, expect: &str) {
    let told = match Authorizer::new().decide(world, who, &question) {
        Decision::Allowed(_) => String::new(),
        Decision::Refused(reason) => refusal(who, &question, &reason).message,
    };
    assert_eq!(told, expect, "{who:?} {question:?}");
}

fn ask(verb: &str, resource: Resource) -> Question {
    Question::of_resource(verb, resource)
}

#[test]
fn masters_may_do_everything_and_others_what_they_are_given() {
    let world = world(&[]);
    let pods = || Resource::new("", "pods").within("default");
    check(&world, &who("admin", &[MASTERS]), ask("deletecollection", pods()), "");
    let eve = who("eve", &[AUTHENTICATED]);
    check(
        &world,
        &eve,
        ask("list", pods()),
        r#"pods is forbidden: User "eve" cannot list resource "pods" in API group "" in the namespace "default""#,
    );
    check(
        &world,
        &eve,
        ask("get", Resource::new("apps", "deployments").named("web").part("scale")),
        r#"deployments.apps "web" is forbidden: User "eve" cannot get resource "deployments/scale" in API group "apps" at the cluster scope"#,
    );
    check(&world, &eve, ask("create", Resource::new("authorization.k8s.io", "selfsubjectaccessreviews")), "");
    check(&world, &eve, Question::of_path("get", "/apis/apps/v1"), "");
    check(&world, &eve, Question::of_path("get", "/metrics"), r#"forbidden: User "eve" cannot get path "/metrics""#);
}

#[test]
fn nobody_learns_the_version_and_that_all_is_well() {
    let world = world(&[]);
    for open in ["/version", "/healthz", "/livez", "/readyz"] {
        check(&world, &Identity::anonymous(), Question::of_path("get", open), "");
    }
    check(
        &world,
        &Identity::anonymous(),
        Question::of_path("get", "/api"),
        r#"forbidden: User "system:anonymous" cannot get path "/api""#,
    );
}

#[test]
fn a_binding_to_a_role_that_is_not_there_is_told() {
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "lost"});
    let binding = json!({"metadata": {"name": "b"}, "roleRef": role, "subjects": [{"kind": "User", "name": "eve"}]});
    let world = world(&[(kinds::CLUSTER_ROLE_BINDING, binding)]);
    check(
        &world,
        &who("eve", &[]),
        ask("list", Resource::new("", "nodes")),
        r#"nodes is forbidden: User "eve" cannot list resource "nodes" in API group "" at the cluster scope: RBAC: clusterrole.rbac.authorization.k8s.io "lost" not found"#,
    );
}

#[test]
fn a_node_reads_what_its_pods_use() {
    let spec =
        json!({"nodeName": "n1", "containers": [], "volumes": [{"name": "v", "secret": {"secretName": "mine"}}]});
    let pod = json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": spec});
    let world = world(&[(kinds::POD, pod)]);
    let node = who("system:node:n1", &[NODES]);
    let secret = |name: &str| ask("get", Resource::new("", "secrets").within("shop").named(name));
    check(&world, &node, secret("mine"), "");
    let refused = r#"secrets "theirs" is forbidden: User "system:node:n1" cannot get resource "secrets" in API group "" in the namespace "shop": no relationship found between node 'n1' and this object"#;
    check(&world, &node, secret("theirs"), refused);
    check(
        &world,
        &who("system:node:n2", &[NODES]),
        secret("mine"),
        &refused.replace("theirs", "mine").replace("n1", "n2"),
    );
    check(
        &world,
        &node,
        ask("update", Resource::new("", "secrets").within("shop").named("mine")),
        r#"secrets "mine" is forbidden: User "system:node:n1" cannot update resource "secrets" in API group "" in the namespace "shop": can only read resources of this type"#,
    );
    check(
        &world,
        &node,
        ask("create", Resource::new("", "serviceaccounts").within("shop").named("default").part("token")),
        "",
    );
}

#[test]
fn a_node_writes_what_it_alone_knows() {
    let world = world(&[]);
    let node = who("system:node:n1", &[NODES]);
    let may = |verb: &str, resource: Resource| Authorizer::new().decide(&world, &node, &ask(verb, resource)).is_yes();
    let lease = |name: &str| Resource::new("coordination.k8s.io", "leases").within("kube-node-lease").named(name);
    assert!(may("watch", Resource::new("", "pods")));
    assert!(may("create", Resource::new("", "nodes")));
    assert!(may("patch", Resource::new("", "nodes").named("n1").part("status")));
    assert!(may("update", lease("n1")));
    assert!(!may("update", lease("n2")));
    let pod = || Resource::new("", "pods").within("shop").named("web");
    assert!(may("patch", pod().part("status")));
    assert!(!may("patch", pod()));
    assert!(!may("create", pod().part("exec")));
    assert!(!may("create", Resource::new("", "pods").within("shop")));
    assert!(!may("create", Resource::new("", "secrets").within("shop")));
    assert!(!may("list", Resource::new("rbac.authorization.k8s.io", "clusterroles")));
    assert!(may("get", Resource::new("coracle.dev", "images").named("app")));
    assert!(!may("create", Resource::new("coracle.dev", "images").named("app")));
}

#[test]
fn a_node_sees_the_volumes_that_lie_on_it() {
    let volume = json!({"metadata": {"name": "v", "labels": {"coracle.dev/node": "n1"}}});
    let world = world(&[(kinds::PERSISTENT_VOLUME, volume)]);
    let may = |node: &str, verb: &str, resource: Resource| {
        Authorizer::new().decide(&world, &who(&format!("system:node:{node}"), &[NODES]), &ask(verb, resource)).is_yes()
    };
    let volumes = || Resource::new("", "persistentvolumes");
    let labelled = |labels: &str| Resource { labels: labels.into(), ..volumes() };
    assert!(may("n1", "watch", labelled("coracle.dev/node=n1")));
    assert!(!may("n1", "watch", labelled("coracle.dev/node=n2")) && !may("n1", "list", volumes()));
    assert!(may("n1", "patch", volumes().named("v")) && !may("n2", "patch", volumes().named("v")));
    assert!(!may("n1", "delete", volumes().named("v")) && !may("n2", "get", volumes().named("v")));
}

#[test]
fn a_node_sees_to_the_snapshots_that_lie_on_it() {
    let content = json!({"metadata": {"name": "c", "labels": {"coracle.dev/node": "n1"}}});
    let world = world(&[(kinds::VOLUME_SNAPSHOT_CONTENT, content)]);
    let may = |node: &str, verb: &str, resource: Resource| {
        Authorizer::new().decide(&world, &who(&format!("system:node:{node}"), &[NODES]), &ask(verb, resource)).is_yes()
    };
    let contents = || Resource::new("snapshot.storage.k8s.io", "volumesnapshotcontents");
    let status = || Resource { subresource: "status".into(), ..contents().named("c") };
    let labelled = |labels: &str| Resource { labels: labels.into(), ..contents() };
    assert!(may("n1", "watch", labelled("coracle.dev/node=n1")));
    assert!(!may("n1", "watch", labelled("coracle.dev/node=n2")) && !may("n1", "list", contents()));
    for resource in [contents().named("c"), status()] {
        assert!(may("n1", "patch", resource.clone()) && !may("n2", "patch", resource.clone()));
        assert!(!may("n1", "delete", resource.clone()) && !may("n1", "create", resource));
    }
    let snapshots = Resource::new("snapshot.storage.k8s.io", "volumesnapshots");
    assert!(!may("n1", "get", snapshots.within("default").named("s")));
}

#[test]
fn a_table_is_made_anew_when_a_binding_changes() {
    let authorizer = Authorizer::new();
    let before = world(&[]);
    let table = authorizer.table(&before);
    let (unrelated, _) = before
        .apply(&Txn::default().put(Object::from_value(kinds::CONFIG_MAP, &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "default"}})).expect("an object")))
        .expect("unguarded");
    assert!(Arc::ptr_eq(&table, &authorizer.table(&unrelated)), "nothing of it has changed");
    let (without, _) = before
        .apply(&Txn::default().remove(kinds::CLUSTER_ROLE_BINDING.cluster_key("system:discovery")))
        .expect("unguarded");
    let eve = who("eve", &[AUTHENTICATED]);
    let question = Question::of_path("get", "/api");
    assert!(authorizer.decide(&before, &eve, &question).is_yes());
    assert!(!authorizer.decide(&without, &eve, &question).is_yes());
}
