//! Clients that are not kubectl: kube-rs as controllers use it, and a plain one that reads the wire.

use std::pin::pin;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use harness::{Cluster, Plan};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::{PROGRAM, example, with};

/// The slowest machine that is to pass does each step within this.
const PATIENCE: Duration = Duration::from_secs(60);

fn config_map(name: &str, data: Value) -> ConfigMap {
    let labels = json!({"story": "clients"});
    serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}, "data": data})).expect("a ConfigMap")
}

fn story<F: Future<Output = ()>>(cluster: &Cluster, told: impl FnOnce(Client) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let kubeconfig = Kubeconfig::read_from(cluster.kubeconfig()).expect("a kubeconfig");
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
        let client = config.map(Client::try_from).expect("a configuration").expect("a client");
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
