//! Clients that are not kubectl: kube-rs as controllers use it, and a plain one that reads the wire.

use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use harness::{Cluster, Plan};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{
    DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::reflector;
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt, discovery};
use serde_json::{Value, json};

use crate::{PROGRAM, example, with};

/// The slowest machine that is to pass does each step within this.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn config_map(name: &str, data: Value) -> ConfigMap {
    let labels = json!({"story": "clients"});
    serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}, "data": data})).expect("a ConfigMap")
}

/// A client of whoever the kubeconfig says.
pub(crate) async fn client_of(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    config.map(Client::try_from).expect("a configuration").expect("a client")
}

pub(crate) fn story<F: Future<Output = ()>>(cluster: &Cluster, told: impl FnOnce(Client) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = client_of(&cluster.kubeconfig()).await;
        tokio::time::timeout(PATIENCE, told(client)).await.expect("in time");
    });
}

#[test]
fn a_controller_watches_and_writes() {
    let cluster = with(&[]);
    story(&cluster, |client| async move {
        let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
        let watched = watcher::watcher(maps.clone(), watcher::Config::default().labels("story=clients"));
        let mut told = pin!(watched);
        let mut next = async || match told.next().await.expect("watches never end").expect("no fault") {
            Event::Init => "init".to_owned(),
            Event::InitApply(map) => format!("has {}", map.name_any()),
            Event::InitDone => "ready".into(),
            Event::Apply(map) => format!("apply {} {:?}", map.name_any(), map.data.unwrap_or_default()),
            Event::Delete(map) => format!("delete {}", map.name_any()),
        };
        assert_eq!(next().await, "init");
        assert_eq!(next().await, "ready");
        let made = maps.create(&PostParams::default(), &config_map("one", json!({"a": "1"}))).await.expect("created");
        assert_eq!(next().await, r#"apply one {"a": "1"}"#);
        let patch = Patch::Merge(json!({"data": {"a": "2"}}));
        maps.patch("one", &PatchParams::default(), &patch).await.expect("patched");
        assert_eq!(next().await, r#"apply one {"a": "2"}"#);
        let stale = maps.replace("one", &PostParams::default(), &made).await.expect_err("it has changed since");
        assert!(matches!(stale, kube::Error::Api(status) if status.code == 409 && status.reason == "Conflict"));
        maps.delete("one", &DeleteParams::default()).await.expect("deleted");
        assert_eq!(next().await, "delete one");
        let missing = maps.get("one").await.expect_err("it is gone");
        assert!(matches!(missing, kube::Error::Api(status) if status.code == 404 && status.reason == "NotFound"));
    });
}

#[test]
fn a_deployment_is_made_changed_and_unmade() {
    let cluster = Plan::new().apply(example("hello")).up(PROGRAM).unwrap_or_else(|error| panic!("{error:#}"));
    story(&cluster, |client| async move {
        let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
        let pods: Api<Pod> = Api::default_namespaced(client);
        let hello = deployments.get("hello").await.expect("it is there");
        let image = hello.spec.clone().expect("a spec").template.spec.expect("a spec").containers[0].image.clone();
        let labels = json!({"app": "copy"});
        let container = json!({"name": "main", "image": image, "env": [{"name": "NAME", "value": "copy"}]});
        let copy = json!({
            "metadata": {"name": "copy"},
            "spec": {
                "replicas": 1, "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            },
        });
        let copy: Deployment = serde_json::from_value(copy).expect("a Deployment");
        deployments.create(&PostParams::default(), &copy).await.expect("created");
        let done = conditions::is_deployment_completed();
        await_condition(deployments.clone(), "copy", done).await.expect("rolled out");
        let patch = Patch::Strategic(json!({"spec": {"replicas": 2}}));
        deployments.patch("copy", &PatchParams::default(), &patch).await.expect("patched");
        let has_two = |it: Option<&Deployment>| {
            it.and_then(|it| it.status.as_ref()).is_some_and(|status| status.ready_replicas == Some(2))
        };
        await_condition(deployments.clone(), "copy", has_two).await.expect("scaled");
        let of_copy = ListParams::default().labels("app=copy");
        let running = pods.list(&of_copy).await.expect("a list").items;
        assert_eq!(running.len(), 2);
        for pod in &running {
            let runs = conditions::is_pod_running();
            await_condition(pods.clone(), &pod.name_any(), runs).await.expect("it runs");
        }
        deployments.delete("copy", &DeleteParams::background()).await.expect("deleted");
        let name = running[0].name_any();
        let uid = running[0].uid().expect("a uid");
        await_condition(pods.clone(), &name, conditions::is_deleted(&uid)).await.expect("its pods follow");
    });
}

#[test]
fn long_lists_come_in_pages() {
    let cluster = with(&[]);
    story(&cluster, |client| async move {
        let maps: Api<ConfigMap> = Api::default_namespaced(client);
        for number in 0..7 {
            let map = config_map(&format!("page-{number}"), json!({}));
            maps.create(&PostParams::default(), &map).await.expect("created");
        }
        let mut params = ListParams::default().labels("story=clients").limit(3);
        let (mut names, mut pages) = (Vec::new(), Vec::new());
        loop {
            let page = maps.list(&params).await.expect("a page");
            if pages.is_empty() {
                // What comes meanwhile belongs to no page: all of them are of one revision.
                let late = config_map("page-3x", json!({}));
                maps.create(&PostParams::default(), &late).await.expect("created");
            }
            pages.push(page.items.len());
            names.extend(page.items.iter().map(ResourceExt::name_any));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => break,
            }
        }
        assert_eq!(pages, [3, 3, 1]);
        assert_eq!(names, (0..7).map(|number| format!("page-{number}")).collect::<Vec<_>>());
        let broken = maps.list(&ListParams::default().continue_token("no token")).await.expect_err("refused");
        assert!(matches!(broken, kube::Error::Api(status) if status.code == 400));
    });
}

/// The history keeps 64 MiB: so many of the largest ConfigMaps push out what came before them.
const LARGE_WRITES: usize = 80;
const LARGE_BYTES: usize = 900 << 10;

#[test]
fn what_happened_too_long_ago_is_gone() {
    let cluster = with(&[]);
    story(&cluster, |client| async move {
        let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
        let first = maps.create(&PostParams::default(), &config_map("one", json!({}))).await.expect("created");
        let old = first.resource_version().expect("a revision");
        maps.create(&PostParams::default(), &config_map("large", json!({}))).await.expect("created");
        for number in 0..LARGE_WRITES {
            let patch = Patch::Merge(json!({"data": {"a": number.to_string().repeat(LARGE_BYTES)[..LARGE_BYTES]}}));
            maps.patch("large", &PatchParams::default(), &patch).await.expect("patched");
        }

        let lines = maps.watch(&WatchParams::default(), &old).await.expect("a watch is answered with 200");
        let lines: Vec<WatchEvent<ConfigMap>> = lines.try_collect().await.expect("lines");
        let [WatchEvent::Error(status)] = lines.as_slice() else { panic!("one line was to come: {}", lines.len()) };
        assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
        let words = format!("too old resource version: {old} (");
        assert!(status.message.starts_with(&words), "{}", status.message);
        let path = format!("/api/v1/namespaces/default/configmaps?resourceVersion={old}&resourceVersionMatch=Exact");
        let request = http::Request::get(path).body(Vec::new()).expect("a request");
        let expired = client.request::<Value>(request).await.expect_err("too old");
        assert!(matches!(expired, kube::Error::Api(status) if status.code == 410 && status.reason == "Expired"));

        // Whoever watches as a controller does begins anew, and does not notice.
        let config = watcher::Config::default().fields("metadata.name=one");
        let seen: Vec<_> = watcher::watcher(maps, config).take(3).try_collect().await.expect("events");
        assert!(matches!(&seen[..], [Event::Init, Event::InitApply(map), Event::InitDone] if map.name_any() == "one"));
    });
}

#[test]
fn a_controller_applies_what_it_wants() {
    let cluster = with(&[]);
    story(&cluster, |client| async move {
        let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
        let wanted =
            |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": data});
        let apply = async |manager: &str, force: bool, config: Value| {
            let params = PatchParams { force, ..PatchParams::apply(manager) };
            maps.patch("one", &params, &Patch::Apply(config)).await
        };
        let data = |map: &ConfigMap| json!(map.data.clone().unwrap_or_default());
        let made = apply("one", false, wanted(json!({"a": "1", "b": "2"}))).await.expect("it is made");
        let entry = &made.managed_fields()[0];
        assert_eq!((entry.manager.as_deref(), entry.operation.as_deref()), (Some("one"), Some("Apply")));
        assert_eq!(json!(entry.fields_v1), json!({"f:data": {"f:a": {}, "f:b": {}}}));

        let again = apply("one", false, wanted(json!({"a": "1", "b": "2"}))).await.expect("the same");
        assert_eq!(again.resource_version(), made.resource_version(), "nothing is written");

        let refused = apply("two", false, wanted(json!({"a": "3"}))).await.expect_err("a conflict");
        let kube::Error::Api(status) = refused else { panic!("{refused}") };
        assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"));
        assert_eq!(status.message, "Apply failed with 1 conflict: conflict with \"one\": .data.a");
        let causes = status.details.clone().map(|details| details.causes).unwrap_or_default();
        assert_eq!((causes[0].reason.as_str(), causes[0].field.as_str()), ("FieldManagerConflict", ".data.a"));
        let taken = apply("two", true, wanted(json!({"a": "3"}))).await.expect("by force");
        assert_eq!(data(&taken), json!({"a": "3", "b": "2"}));
        let left = apply("one", false, wanted(json!({}))).await.expect("it wants nothing any more");
        assert_eq!(data(&left), json!({"a": "3"}));

        // A merge patch and a replacement are writes like any: they own what they change.
        let patch = Patch::Merge(json!({"data": {"c": "5"}}));
        let params = PatchParams { field_manager: Some("three".into()), ..PatchParams::default() };
        let patched = maps.patch("one", &params, &patch).await.expect("patched");
        let managers: Vec<_> = patched.managed_fields().iter().filter_map(|entry| entry.manager.as_deref()).collect();
        assert_eq!(managers, ["one", "two", "three"], "who wants an empty map wants it there");
        let refused = apply("one", false, wanted(json!({"c": "6"}))).await.expect_err("it is another's");
        assert!(refused.to_string().contains("conflict with \"three\" using v1: .data.c"), "{refused}");

        let refused = async |query: &str, body: &str| {
            let request = http::Request::patch(format!("/api/v1/namespaces/default/configmaps/one?{query}"))
                .header("content-type", "application/apply-patch+yaml")
                .body(body.as_bytes().to_vec())
                .expect("a request");
            match client.request::<Value>(request).await {
                Err(kube::Error::Api(status)) => format!("{} {}", status.code, status.message),
                other => panic!("{other:?}"),
            }
        };
        let named = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n";
        assert_eq!(
            refused("", named).await,
            "422 PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch"
        );
        assert_eq!(
            refused("fieldManager=a", &named.replace(": v1", ": v2")).await,
            "400 Incorrect version specified in apply patch. Specified patch version: v2, expected: v1"
        );
        assert_eq!(
            refused("fieldManager=a", &named.replace(": one", ": two")).await,
            "400 the name of the object (two) does not match the name on the URL (one)"
        );
        assert_eq!(
            refused("fieldManager=a", &format!("{named}dota: {{a: b}}\n")).await,
            "500 failed to create typed patch object (default/one; /v1, Kind=ConfigMap): .dota: field not declared in schema"
        );
        let managed = named.replace("{name: one}", "{name: one, managedFields: [{manager: me}]}");
        assert_eq!(refused("fieldManager=a", &managed).await, "400 metadata.managedFields must be nil");
    });
}

#[test]
fn a_status_is_applied_apart() {
    let cluster = with(&[]);
    story(&cluster, |client| async move {
        let pods: Api<Pod> = Api::default_namespaced(client);
        let spec = json!({"nodeSelector": {"nowhere": "at-all"}, "containers": [{"name": "main", "image": "registry.example/a"}]});
        let wanted = |more: Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": spec, "status": more});
        let params = PatchParams::apply("me");
        let status = json!({"conditions": [{"type": "example.com/Seen", "status": "True"}]});
        let missing = pods.patch_status("one", &params, &Patch::Apply(wanted(status.clone()))).await;
        assert!(matches!(missing, Err(kube::Error::Api(status)) if status.code == 404), "a status makes no pod");
        pods.patch("one", &params, &Patch::Apply(wanted(status.clone()))).await.expect("made");
        let seen = pods.patch_status("one", &params, &Patch::Apply(wanted(status))).await.expect("applied");
        let conditions = seen.status.clone().and_then(|status| status.conditions).unwrap_or_default();
        assert!(conditions.iter().any(|condition| condition.type_ == "example.com/Seen"), "{conditions:?}");
        let told: Vec<_> =
            seen.managed_fields().iter().map(|entry| (entry.subresource.clone(), json!(entry.fields_v1))).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].0.is_none() && told[0].1["f:status"].is_null(), "{told:?}");
        let key = r#"k:{"type":"example.com/Seen"}"#;
        let expect = json!({"f:status": {"f:conditions": {key: {".": {}, "f:status": {}, "f:type": {}}}}});
        assert_eq!(told[1], (Some("status".into()), expect));
    });
}

/// A kind that a program brings along, as operators do.
#[test]
fn an_operator_brings_its_own_kind() {
    let cluster = with(&[]);
    story(&cluster, |client| async move {
        let definition: CustomResourceDefinition = serde_json::from_value(json!({
            "metadata": {"name": "widgets.example.org"},
            "spec": {
                "group": "example.org", "scope": "Namespaced",
                "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "shortNames": ["wd"]},
                "versions": [{
                    "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                        "spec": {"type": "object", "required": ["size"], "properties": {
                            "size": {"type": "integer", "maximum": 10.0}, "color": {"type": "string", "default": "red"}}},
                        "status": {"type": "object", "properties": {"ready": {"type": "boolean"}}}}}},
                }],
            },
        }))
        .expect("a definition");
        let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
        let params = PatchParams::apply("operator");
        definitions.patch("widgets.example.org", &params, &Patch::Apply(&definition)).await.expect("applied");
        let established = await_condition(definitions.clone(), "widgets.example.org", conditions::is_crd_established());
        established.await.expect("established");

        let kind = GroupVersionKind::gvk("example.org", "v1", "Widget");
        let (resource, capabilities) = discovery::pinned_kind(&client, &kind).await.expect("discovered");
        assert_eq!(resource.plural, "widgets");
        assert!(capabilities.supports_operation("watch"));
        let widgets: Api<DynamicObject> = Api::default_namespaced_with(client.clone(), &resource);
        let mut told = pin!(watcher::watcher(widgets.clone(), watcher::Config::default()));
        while !matches!(told.next().await.expect("watches never end").expect("no fault"), Event::InitDone) {}
        let wanted = |size: u32| json!({"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": "one"}, "spec": {"size": size}});
        let made = widgets.patch("one", &params, &Patch::Apply(wanted(3))).await.expect("applied");
        assert_eq!(made.data["spec"], json!({"size": 3, "color": "red"}));
        let Event::Apply(seen) = told.next().await.expect("watches never end").expect("no fault") else {
            panic!("it is new")
        };
        assert_eq!((seen.name_any(), seen.metadata.generation), ("one".to_owned(), Some(1)));
        let refused = widgets.patch("one", &params, &Patch::Apply(wanted(30))).await.expect_err("it is too large");
        assert!(
            matches!(&refused, kube::Error::Api(status) if status.code == 422 && status.reason == "Invalid"),
            "{refused}"
        );
        let status = json!({"status": {"ready": true}});
        let ready = widgets.patch_status("one", &PatchParams::default(), &Patch::Merge(status)).await.expect("patched");
        assert_eq!((&ready.data["status"], ready.metadata.generation), (&json!({"ready": true}), Some(1)));
        definitions.delete("widgets.example.org", &DeleteParams::default()).await.expect("deleted");
        // The whole story has a limit of its own.
        while !matches!(widgets.list(&ListParams::default()).await, Err(kube::Error::Api(status)) if status.code == 404)
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

#[test]
fn a_reflector_keeps_what_is_there() {
    let cluster = with(&[]);
    story(&cluster, |client| async move {
        let maps: Api<ConfigMap> = Api::default_namespaced(client);
        maps.create(&PostParams::default(), &config_map("before", json!({}))).await.expect("created");
        let (kept, writer) = reflector::store();
        // A list of everything comes first, in pages or, as newer clients ask for it, as the beginning of the watch.
        let streaming = watcher::Config::default().labels("story=clients").streaming_lists();
        let mut changes = pin!(reflector::reflector(writer, watcher::watcher(maps.clone(), streaming)));
        let mut next = async || changes.next().await.expect("watches never end").expect("no fault");
        while !matches!(next().await, Event::InitDone) {}
        let names = || {
            let mut names: Vec<String> = kept.state().iter().map(|map| map.name_any()).collect();
            names.sort();
            names
        };
        assert_eq!(names(), ["before"]);
        maps.create(&PostParams::default(), &config_map("after", json!({"a": "1"}))).await.expect("created");
        assert!(matches!(next().await, Event::Apply(map) if map.name_any() == "after"));
        assert_eq!(names(), ["after", "before"]);
        maps.delete("before", &DeleteParams::default()).await.expect("deleted");
        assert!(matches!(next().await, Event::Delete(map) if map.name_any() == "before"));
        assert_eq!(names(), ["after"]);
        // What leaves the selection is gone for whoever selects.
        let patch = Patch::Merge(json!({"metadata": {"labels": {"story": "another"}}}));
        maps.patch("after", &PatchParams::default(), &patch).await.expect("patched");
        assert!(matches!(next().await, Event::Delete(map) if map.name_any() == "after"));
        assert_eq!(names(), [""; 0]);
    });
}

#[test]
fn one_of_two_holds_a_lease() {
    let cluster = with(&[]);
    story(&cluster, |client| async move {
        let leases: Api<Lease> = Api::default_namespaced(client);
        let lease = |holder: &str| -> Lease {
            let spec = json!({"holderIdentity": holder, "leaseDurationSeconds": 15});
            serde_json::from_value(json!({"metadata": {"name": "leader"}, "spec": spec})).expect("a Lease")
        };
        let first = leases.create(&PostParams::default(), &lease("first")).await.expect("the first has it");
        let taken = leases.create(&PostParams::default(), &lease("second")).await.expect_err("it is the first's");
        assert!(matches!(taken, kube::Error::Api(status) if status.reason == "AlreadyExists"));

        let renewed = leases.replace("leader", &PostParams::default(), &first).await.expect("renewed");
        let mut wanted = lease("second");
        wanted.metadata.resource_version = first.metadata.resource_version.clone();
        if renewed.resource_version() == first.resource_version() {
            // A renewal that changes nothing is none: the version still holds, and the second may take over.
            leases.replace("leader", &PostParams::default(), &wanted).await.expect("taken over");
        }
        let stale = leases.replace("leader", &PostParams::default(), &first).await.expect_err("it is the second's now");
        assert!(matches!(stale, kube::Error::Api(status) if status.code == 409 && status.reason == "Conflict"));
        let blind = leases.replace("leader", &PostParams::default(), &lease("third")).await.expect_err("no version");
        let kube::Error::Api(status) = blind else { panic!("{blind}") };
        assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"));
        assert!(status.message.ends_with("must be specified for an update"), "{}", status.message);
        let holder = leases.get("leader").await.expect("there").spec.and_then(|spec| spec.holder_identity);
        assert_eq!(holder.as_deref(), Some("second"));
    });
}
