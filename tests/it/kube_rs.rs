//! kube-rs at everything that operators are written with: kinds of their own from Rust types, fields that have owners, watches over
//! connections that break, leases, streams of pods, and the parts that objects have beside themselves.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{AsyncBufReadExt, StreamExt, TryStreamExt};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Status};
use kube::api::{
    AttachParams, AttachedProcess, DeleteParams, ListParams, LogParams, Patch, PatchParams, PostParams, Preconditions,
    TerminalSize, ValidationDirective,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::discovery::{Discovery, Scope, verbs};
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, CustomResource, CustomResourceExt, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::clients::{client_of, config_map, story};
use crate::with;

/// A kind as a program has it: the definition is made from these types.
#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "harbour.example",
    version = "v1",
    kind = "Boat",
    namespaced,
    status = "BoatStatus",
    shortname = "bt",
    scale(spec_replicas_path = ".spec.crew", status_replicas_path = ".status.aboard"),
    printcolumn(name = "Crew", type_ = "integer", json_path = ".spec.crew"),
    selectable = ".spec.port"
)]
#[serde(rename_all = "camelCase")]
struct BoatSpec {
    #[schemars(range(min = 1, max = 9))]
    crew: i32,
    #[serde(default = "home")]
    port: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rig: Option<Rig>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    flags: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
enum Rig {
    Sloop,
    Ketch,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
struct BoatStatus {
    aboard: i32,
}

fn home() -> String {
    "home".into()
}

fn boat(name: &str, crew: i32) -> Boat {
    Boat::new(name, BoatSpec { crew, port: home(), rig: None, flags: BTreeMap::new() })
}

/// What a call is refused with.
#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, kube::Error>) -> (u16, String, String) {
    match answer {
        Err(kube::Error::Api(status)) => (status.code, status.reason.clone(), status.message.clone()),
        other => panic!("it was to be refused: {other:?}"),
    }
}

async fn brought_along(client: &Client) -> Api<Boat> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let name = Boat::crd_name();
    definitions.patch(name, &PatchParams::apply("harbour"), &Patch::Apply(Boat::crd())).await.expect("applied");
    await_condition(definitions, name, conditions::is_crd_established()).await.expect("established");
    Api::default_namespaced(client.clone())
}

#[test]
fn a_kind_is_made_from_rust_types() {
    let cluster = with(&[]);
    story(&cluster, |client| async move {
        let boats = brought_along(&client).await;
        let made = boats.create(&PostParams::default(), &boat("one", 3)).await.expect("created");
        assert_eq!((made.spec.port.as_str(), made.metadata.generation), ("home", Some(1)));

        // The schema that was derived is the one that judges.
        let (code, reason, told) = refused(boats.create(&PostParams::default(), &boat("two", 30)).await);
        assert_eq!((code, reason.as_str()), (422, "Invalid"));
        assert!(
            told.contains("spec.crew: Invalid value: 30: spec.crew in body should be less than or equal to 9"),
            "{told}"
        );
        let rigged = |rig: &str| Patch::Merge(json!({"spec": {"rig": rig}}));
        let (code, _, told) = refused(boats.patch("one", &PatchParams::default(), &rigged("Raft")).await);
        assert_eq!(code, 422);
        assert!(told.contains(r#"spec.rig: Unsupported value: "Raft""#), "{told}");
        let ketch = boats.patch("one", &PatchParams::default(), &rigged("Ketch")).await.expect("one of them");
        assert_eq!((ketch.spec.rig, ketch.metadata.generation), (Some(Rig::Ketch), Some(2)));
        let strategic = Patch::Strategic(json!({"spec": {"crew": 4}}));
        let (code, reason, _) = refused(boats.patch("one", &PatchParams::default(), &strategic).await);
        assert_eq!((code, reason.as_str()), (415, "UnsupportedMediaType"), "nobody knows how lists of it merge");
        let unknown = Patch::Merge(json!({"spec": {"keel": true}}));
        let strict = PatchParams { field_validation: Some(ValidationDirective::Strict), ..PatchParams::default() };
        let (code, _, told) = refused(boats.patch("one", &strict, &unknown).await);
        assert!(code == 422 && told.contains(r#"unknown field "spec.keel""#), "{code} {told}");

        // Its status and its scale are parts of their own.
        let mut wanted = boats.get_status("one").await.expect("it has one");
        wanted.status = Some(BoatStatus { aboard: 2 });
        wanted.spec.crew = 9;
        let wrote = boats.replace_status("one", &PostParams::default(), &wanted).await.expect("replaced");
        assert_eq!((wrote.status.map(|status| status.aboard), wrote.spec.crew), (Some(2), 3));
        let scale = boats.get_scale("one").await.expect("it has one");
        assert_eq!(scale.spec.and_then(|spec| spec.replicas), Some(3));
        assert_eq!(scale.status.map(|status| status.replicas), Some(2));
        let more = Patch::Merge(json!({"spec": {"replicas": 5}}));
        boats.patch_scale("one", &PatchParams::default(), &more).await.expect("scaled");
        assert_eq!(boats.get("one").await.expect("there").spec.crew, 5);
        let six = Patch::Apply(json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"replicas": 6}}));
        boats.patch_scale("one", &PatchParams::apply("scaler").force(), &six).await.expect("applied");
        let scaled = boats.get("one").await.expect("there");
        assert_eq!(scaled.spec.crew, 6);
        let entry = scaled.managed_fields().iter().find(|entry| entry.manager.as_deref() == Some("scaler"));
        assert_eq!(entry.map(|entry| json!(entry.fields_v1)), Some(json!({"f:spec": {"f:crew": {}}})));

        let away = json!({"apiVersion": "harbour.example/v1", "kind": "Boat", "spec": {"crew": 1, "port": "away"}});
        boats.patch("two", &PatchParams::apply("harbour"), &Patch::Apply(away)).await.expect("applied");
        let named = |boats: Vec<Boat>| boats.iter().map(ResourceExt::name_any).collect::<Vec<_>>();
        let of_port = |port: &str| ListParams::default().fields(&format!("spec.port={port}"));
        assert_eq!(named(boats.list(&of_port("away")).await.expect("a list").items), ["two"]);
        let (code, _, told) = refused(boats.list(&ListParams::default().fields("spec.crew=1")).await);
        assert_eq!((code, told.contains("field label not supported: spec.crew")), (400, true), "{told}");
    });
}

#[test]
fn two_managers_share_an_object() {
    let cluster = with(&[]);
    story(&cluster, |client| async move {
        let boats = brought_along(&client).await;
        let wanted = |spec: Value| json!({"apiVersion": "harbour.example/v1", "kind": "Boat", "spec": spec});
        let apply = async |manager: &str, force: bool, spec: Value| {
            let params = PatchParams { force, ..PatchParams::apply(manager) };
            boats.patch("one", &params, &Patch::Apply(wanted(spec))).await
        };
        apply("captain", false, json!({"crew": 3, "flags": {"bow": "red"}})).await.expect("made");
        apply("painter", false, json!({"crew": 3, "flags": {"stern": "blue"}})).await.expect("shared");
        let (code, reason, told) = refused(apply("painter", false, json!({"crew": 4, "flags": {"bow": "blue"}})).await);
        assert_eq!((code, reason.as_str()), (409, "Conflict"));
        assert!(told.starts_with("Apply failed with 2 conflicts: conflicts with \"captain\""), "{told}");
        assert!(told.contains(".spec.crew") && told.contains(".spec.flags.bow"), "{told}");
        let forced = apply("painter", true, json!({"crew": 4, "flags": {"bow": "blue"}})).await.expect("by force");
        assert_eq!(
            (forced.spec.crew, forced.spec.flags.len()),
            (4, 1),
            "what it no longer wants goes, nobody else has it"
        );
        let owned: Vec<_> = forced.managed_fields().iter().filter_map(|entry| entry.manager.as_deref()).collect();
        assert_eq!(owned, ["painter"], "who has lost every field is no manager");

        let status = json!({"apiVersion": "harbour.example/v1", "kind": "Boat", "status": {"aboard": 4}});
        let seen =
            boats.patch_status("one", &PatchParams::apply("harbour"), &Patch::Apply(status)).await.expect("applied");
        let mut parts: Vec<_> = seen.managed_fields().iter().map(|entry| entry.subresource.as_deref()).collect();
        parts.sort_unstable();
        assert_eq!((seen.status.clone().map(|status| status.aboard), parts), (Some(4), vec![None, Some("status")]));
        let dry = PatchParams { dry_run: true, ..PatchParams::apply("painter") };
        let tried = boats.patch("one", &dry, &Patch::Apply(wanted(json!({"crew": 7})))).await.expect("it would be");
        assert_eq!((tried.spec.crew, boats.get("one").await.expect("there").spec.crew), (7, 4));
    });
}

async fn configuration(cluster: &harness::Cluster) -> kube::Config {
    let kubeconfig = Kubeconfig::read_from(cluster.kubeconfig()).expect("a kubeconfig");
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    config.expect("a configuration")
}

/// Something between client and server that can break.
struct Line {
    at: SocketAddr,
    state: Arc<watch::Sender<Switch>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Switch {
    Joined,
    Cut,
}

// === impl Line ===

impl Line {
    async fn to(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let at = listener.local_addr()?;
        let state = Arc::new(watch::Sender::new(Switch::Joined));
        let heard = state.clone();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut state = heard.subscribe();
                tokio::spawn(async move {
                    if *state.borrow() == Switch::Cut {
                        return;
                    }
                    let Ok(mut far) = TcpStream::connect(server).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = state.wait_for(|state| *state == Switch::Cut) => {}
                    }
                });
            }
        });
        Ok(Self { at, state })
    }

    /// Breaks every connection, and each that is tried.
    fn cut(&self) {
        self.state.send_replace(Switch::Cut);
    }

    fn join(&self) {
        self.state.send_replace(Switch::Joined);
    }

    /// A client at the other end.
    async fn client(&self, cluster: &harness::Cluster) -> Client {
        let mut config = configuration(cluster).await;
        config.cluster_url = format!("https://{}", self.at).parse().expect("an address");
        Client::try_from(config).expect("a client")
    }
}

/// The history keeps 64 MiB: so many of the largest ConfigMaps push out what came before them.
const LARGE_WRITES: usize = 80;
const LARGE_BYTES: usize = 900 << 10;

#[test]
fn a_watcher_goes_on_after_its_connection_broke() {
    let cluster = with(&[]);
    story(&cluster, |client| async {
        let client: Client = client;
        let line = Line::to(cluster.api()).await.expect("a line");
        let maps: Api<ConfigMap> = Api::default_namespaced(client);
        let far: Api<ConfigMap> = Api::default_namespaced(line.client(&cluster).await);
        let make = async |name: &str| {
            maps.create(&PostParams::default(), &config_map(name, json!({}))).await.expect("created");
        };
        make("one").await;
        let config = watcher::Config::default().labels("story=clients");
        let mut told = pin!(watcher::watcher(far, config));
        // A connection that breaks is a fault each time, and the next look tries again.
        let mut faults = 0;
        let mut next = async |faults: &mut usize| loop {
            match told.next().await.expect("watches never end") {
                Ok(Event::Init) => return "init".to_owned(),
                Ok(Event::InitApply(map)) => return format!("has {}", map.name_any()),
                Ok(Event::InitDone) => return "ready".into(),
                Ok(Event::Apply(map)) => return format!("apply {}", map.name_any()),
                Ok(Event::Delete(map)) => return format!("delete {}", map.name_any()),
                Err(_) => {
                    *faults += 1;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        };
        for expect in ["init", "has one", "ready"] {
            assert_eq!(next(&mut faults).await, expect);
        }
        make("two").await;
        assert_eq!(next(&mut faults).await, "apply two");
        assert_eq!(faults, 0);

        // What happened meanwhile is told, and nothing twice: no list is taken anew.
        line.cut();
        make("three").await;
        maps.delete("one", &DeleteParams::default()).await.expect("deleted");
        line.join();
        assert_eq!(next(&mut faults).await, "apply three");
        assert_eq!(next(&mut faults).await, "delete one");

        // When what happened meanwhile is not remembered any more, everything that is there is told again.
        line.cut();
        make("large").await;
        for number in 0..LARGE_WRITES {
            let patch = Patch::Merge(json!({"data": {"a": number.to_string().repeat(LARGE_BYTES)[..LARGE_BYTES]}}));
            maps.patch("large", &PatchParams::default(), &patch).await.expect("patched");
        }
        maps.delete("large", &DeleteParams::default()).await.expect("deleted");
        line.join();
        for expect in ["init", "has three", "has two", "ready"] {
            assert_eq!(next(&mut faults).await, expect);
        }
        make("four").await;
        assert_eq!(next(&mut faults).await, "apply four");
    });
}

/// How long a leader that says nothing is believed.
const TERM: SignedDuration = SignedDuration::from_secs(15);

/// What somebody does now and then who would lead: the answer is whether it does.
async fn campaign(leases: &Api<Lease>, name: &str, now: Timestamp) -> kube::Result<bool> {
    let Some(mut lease) = leases.get_opt("leader").await? else {
        let spec = json!({"holderIdentity": name, "leaseDurationSeconds": TERM.as_secs(), "leaseTransitions": 0});
        let mut lease: Lease =
            serde_json::from_value(json!({"metadata": {"name": "leader"}, "spec": spec})).expect("a Lease");
        lease.spec.get_or_insert_default().renew_time = Some(MicroTime(now));
        return is_ours(leases.create(&PostParams::default(), &lease).await);
    };
    let spec = lease.spec.get_or_insert_default();
    let is_mine = spec.holder_identity.as_deref() == Some(name);
    let is_over = spec.renew_time.as_ref().is_none_or(|renewed| renewed.0 + TERM < now);
    if !is_mine && !is_over {
        return Ok(false);
    }
    if !is_mine {
        spec.holder_identity = Some(name.into());
        spec.lease_transitions = Some(spec.lease_transitions.unwrap_or_default() + 1);
    }
    spec.renew_time = Some(MicroTime(now));
    is_ours(leases.replace("leader", &PostParams::default(), &lease).await)
}

/// Whoever is too late has lost, and that is no fault.
fn is_ours(written: kube::Result<Lease>) -> kube::Result<bool> {
    match written {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

#[test]
fn one_of_many_leads() {
    let cluster = with(&[]);
    story(&cluster, |client| async move {
        let leases: Api<Lease> = Api::default_namespaced(client);
        let at = |seconds: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_800_000_000 + seconds);
        let names: Vec<String> = (0..8).map(|number| format!("candidate-{number}")).collect();
        let all = async |now: Timestamp, names: &[String]| {
            let campaigns = names.iter().map(|name| campaign(&leases, name, now));
            let led = futures::future::try_join_all(campaigns).await.expect("a lease is there or is not");
            names.iter().zip(led).filter(|(_, leads)| *leads).map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        let first = all(at(0), &names).await;
        assert_eq!(first.len(), 1, "one of those that come at once: {first:?}");
        assert_eq!(all(at(10), &names).await, first, "it goes on");
        let others: Vec<String> = names.iter().filter(|name| **name != first[0]).cloned().collect();
        assert_eq!(all(at(20), &others).await, [""; 0], "its term is not over");
        let second = all(at(26), &others).await;
        assert_eq!(second.len(), 1, "one of the others, whoever was first to write: {second:?}");
        assert_eq!(all(at(27), &first).await, [""; 0], "it has lost it");
        let lease = leases.get("leader").await.expect("there");
        let spec = lease.spec.expect("a spec");
        assert_eq!((spec.holder_identity.as_deref(), spec.lease_transitions), (Some(second[0].as_str()), Some(1)));
        assert_eq!(spec.renew_time, Some(MicroTime(at(26))));
    });
}

/// All that a command wrote, and how it ended.
async fn ended(mut command: AttachedProcess) -> (String, String, Status) {
    let read = async |stream: Option<tokio::io::ReadHalf<tokio::io::SimplexStream>>| {
        let mut text = String::new();
        if let Some(mut stream) = stream {
            stream.read_to_string(&mut text).await.expect("text");
        }
        text
    };
    let (stdout, stderr, status) = (command.stdout(), command.stderr(), command.take_status().expect("not taken yet"));
    let (stdout, stderr) = tokio::join!(read(stdout), read(stderr));
    let status = status.await.expect("it is told how it ended");
    command.join().await.expect("no fault");
    (stdout, stderr, status)
}

#[test]
fn commands_run_in_pods() {
    let cluster = with(&["box"]);
    story(&cluster, |client| async move {
        let pods: Api<Pod> = Api::default_namespaced(client);
        await_condition(pods.clone(), "box", conditions::is_pod_running()).await.expect("it runs");
        let told = AttachParams::default();
        let words = ["sh", "-c", "echo out; echo $GREETING; ls /nowhere; exit 3"];
        let (stdout, stderr, status) = ended(pods.exec("box", words, &told).await.expect("started")).await;
        assert_eq!(stdout, "out\nAhoy\n");
        assert!(stderr.starts_with("ls: /nowhere: "), "{stderr}");
        assert_eq!((status.status.as_deref(), status.reason.as_deref()), (Some("Failure"), Some("NonZeroExitCode")));
        let cause = status.details.and_then(|details| details.causes).unwrap_or_default().remove(0);
        assert_eq!((cause.reason.as_deref(), cause.message.as_deref()), (Some("ExitCode"), Some("3")));

        // What is written to it goes there, however much, and comes back.
        let mut command =
            pods.exec("box", ["head", "-c", "300000"], &AttachParams::default().stdin(true)).await.expect("started");
        let mut stdin = command.stdin().expect("it was asked for");
        let writing = tokio::spawn(async move {
            // A command that has read enough takes no more.
            while stdin.write_all(&[b'a'; 8192]).await.is_ok() {}
        });
        let (stdout, _, status) = ended(command).await;
        assert_eq!((stdout.len(), status.status.as_deref()), (300_000, Some("Success")));
        writing.abort();

        // A terminal has one stream for what is shown, takes its size, and ends by a key.
        let mut command =
            pods.exec("box", ["sh"], &AttachParams::interactive_tty().container("box")).await.expect("started");
        let mut size = command.terminal_size().expect("it is a terminal");
        size.try_send(TerminalSize { width: 100, height: 40 }).expect("it listens");
        let mut stdin = command.stdin().expect("it was asked for");
        stdin.write_all(b"tty\r").await.expect("it listens");
        stdin.write_all(b"exit 4\r").await.expect("it listens");
        let (stdout, stderr, status) = ended(command).await;
        assert!(stdout.contains("stdin: tty, stdout: tty, stderr: tty\r\n"), "{stdout:?}");
        assert_eq!((stderr.as_str(), status.reason.as_deref()), ("", Some("NonZeroExitCode")));

        // A program at a terminal finds its size in the environment, from a client that says it in time.
        for attempt in 1.. {
            let words = ["sh", "-c", "echo $COLUMNS x $LINES"];
            let mut command = pods.exec("box", words, &AttachParams::interactive_tty()).await.expect("started");
            let mut size = command.terminal_size().expect("it is a terminal");
            size.try_send(TerminalSize { width: 132, height: 43 }).expect("it listens");
            let (stdout, _, _) = ended(command).await;
            if stdout == "132 x 43\r\n" {
                break;
            }
            assert!(attempt < 20, "{stdout:?}");
        }

        let nothing = pods.exec("box", ["nosuch"], &told).await.expect("started");
        assert!(ended(nothing).await.1.contains("nosuch: not found"));
        let nobody = pods.exec("nobody", ["ls"], &told).await.err().expect("there is none");
        assert!(nobody.to_string().contains("404"), "{nobody}");
    });
}

#[test]
fn containers_are_attached_to_and_their_logs_followed() {
    let cluster = with(&["box", "ticker"]);
    story(&cluster, |client| async move {
        let pods: Api<Pod> = Api::default_namespaced(client);
        let mut wanted = pods.get("box").await.expect("it is there");
        wanted.metadata = serde_json::from_value(json!({"name": "reader"})).expect("metadata");
        let spec = wanted.spec.as_mut().expect("a spec");
        (spec.node_name, spec.restart_policy, spec.volumes) = (None, Some("Never".into()), None);
        let main = &mut spec.containers[0];
        (main.command, main.stdin, main.stdin_once) = (Some(vec!["cat".into()]), Some(true), Some(true));
        main.volume_mounts = None;
        pods.create(&PostParams::default(), &wanted).await.expect("created");
        await_condition(pods.clone(), "reader", conditions::is_pod_running()).await.expect("it runs");
        let mut reader = pods.attach("reader", &AttachParams::default().stdin(true)).await.expect("attached");
        let mut stdin = reader.stdin().expect("it was asked for");
        stdin.write_all(b"first\nsecond\n").await.expect("it listens");
        let mut stdout = reader.stdout().expect("it was asked for");
        let mut heard = [0; 13];
        stdout.read_exact(&mut heard).await.expect("it answers");
        assert_eq!(&heard, b"first\nsecond\n");
        assert_eq!(pods.logs("reader", &LogParams::default()).await.expect("logs"), "first\nsecond\n");
        let last = LogParams { tail_lines: Some(1), ..LogParams::default() };
        assert_eq!(pods.logs("reader", &last).await.expect("logs"), "second\n");
        let few = LogParams { limit_bytes: Some(3), ..LogParams::default() };
        assert_eq!(pods.logs("reader", &few).await.expect("logs"), "fir");

        // A log that is followed ends with its container.
        let follow = LogParams { follow: true, timestamps: true, ..LogParams::default() };
        let mut lines = pods.log_stream("ticker-once", &follow).await.expect("followed").lines();
        let mut seen = Vec::new();
        while let Some(line) = lines.try_next().await.expect("lines") {
            let (time, words) = line.split_once(' ').expect("a time and words");
            let time: Timestamp = time.parse().expect("a time");
            seen.push((time, words.to_owned()));
        }
        assert_eq!(seen.len(), 6, "three lines to each stream: {seen:?}");
        assert!(seen.is_sorted_by_key(|(time, _)| *time), "{seen:?}");
        let since = LogParams { since_time: Some(seen[5].0 + SignedDuration::from_secs(1)), ..LogParams::default() };
        assert_eq!(pods.logs("ticker-once", &since).await.expect("logs"), "");
        let (code, _, told) =
            refused(pods.logs("ticker-once", &LogParams { previous: true, ..LogParams::default() }).await);
        assert!(code == 400 && told.contains("previous terminated container \"ticker\""), "{code} {told}");
        let (code, _, told) =
            refused(pods.logs("reader", &LogParams { container: Some("x".into()), ..LogParams::default() }).await);
        assert!(code == 400 && told.contains("container x is not valid for pod reader"), "{code} {told}");
    });
}

#[test]
fn ports_of_pods_are_forwarded() {
    let cluster = with(&["hello"]);
    story(&cluster, |client| async move {
        let pods: Api<Pod> = Api::default_namespaced(client);
        let found = pods.list(&ListParams::default().labels("app=hello")).await.expect("a list");
        let name = found.items[0].name_any();
        let mut forwarder = pods.portforward(&name, &[80, 81]).await.expect("forwarded");
        let nobody = forwarder.take_error(81).expect("not taken yet");
        let mut stream = forwarder.take_stream(80).expect("not taken yet");
        let request = b"GET / HTTP/1.1\r\nhost: hello\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.expect("it listens");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("text");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains(&format!("I am {name}.")), "{answer}");
        let why = nobody.await.expect("nobody listens there");
        assert!(why.contains("81") || why.contains("refused"), "{why}");
    });
}

#[test]
fn owners_and_preconditions_say_how_things_end() {
    let cluster = with(&[]);
    story(&cluster, |client| async move {
        let maps: Api<ConfigMap> = Api::default_namespaced(client);
        let make = async |name: &str, owner: Option<&ConfigMap>| {
            let mut map = config_map(name, json!({}));
            map.metadata.owner_references = owner.map(|owner| {
                let mut reference = kube::Resource::owner_ref(owner, &()).expect("it is there");
                reference.block_owner_deletion = Some(true);
                vec![reference]
            });
            maps.create(&PostParams::default(), &map).await.expect("created")
        };
        let owner = make("owner", None).await;
        let owned = make("owned", Some(&owner)).await;
        let of = |uid: Option<String>, resource_version: Option<String>| {
            let preconditions = Preconditions { uid, resource_version };
            DeleteParams::default().preconditions(preconditions)
        };
        let (code, reason, told) = refused(maps.delete("owner", &of(Some("another".into()), None)).await);
        assert_eq!((code, reason.as_str()), (409, "Conflict"));
        assert!(told.contains("Precondition failed: UID in precondition: another, UID in object meta: "), "{told}");
        let (code, _, told) = refused(maps.delete("owner", &of(None, Some("1".into()))).await);
        assert!(code == 409 && told.contains("ResourceVersion in precondition: 1"), "{code} {told}");
        let dry = maps.delete("owner", &DeleteParams::default().dry_run()).await.expect("it would go");
        assert!(dry.is_left() || dry.is_right());
        assert!(maps.get_opt("owner").await.expect("an answer").is_some());

        // In the foreground the owner waits for what it owns.
        let held = DeleteParams::foreground();
        let patch = Patch::Merge(json!({"metadata": {"finalizers": ["example.com/hold"]}}));
        maps.patch("owned", &PatchParams::default(), &patch).await.expect("held");
        let going = maps.delete("owner", &held).await.expect("accepted").left().expect("it is still there");
        assert_eq!(going.finalizers(), ["foregroundDeletion"]);
        let is_going = |map: Option<&ConfigMap>| map.is_some_and(|map| map.metadata.deletion_timestamp.is_some());
        await_condition(maps.clone(), "owned", is_going).await.expect("it is told to go");
        assert!(maps.get_opt("owner").await.expect("an answer").is_some());
        let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        maps.patch("owned", &PatchParams::default(), &free).await.expect("freed");
        let uid = owner.uid().expect("a uid");
        let gone = conditions::is_deleted(&uid);
        await_condition(maps.clone(), "owner", gone).await.expect("after it");
        assert!(maps.get_opt(&owned.name_any()).await.expect("an answer").is_none());

        // An orphan stays, and has no owner.
        let owner = make("owner", None).await;
        make("orphan", Some(&owner)).await;
        maps.delete("owner", &DeleteParams::orphan()).await.expect("accepted");
        let uid = owner.uid().expect("a uid");
        let gone = conditions::is_deleted(&uid);
        await_condition(maps.clone(), "owner", gone).await.expect("gone");
        assert_eq!(maps.get("orphan").await.expect("it stays").owner_references().len(), 0);

        let all = ListParams::default().labels("story=clients");
        maps.delete_collection(&DeleteParams::default(), &all).await.expect("deleted");
        assert_eq!(maps.list(&all).await.expect("a list").items.len(), 0);
    });
}

#[test]
fn objects_are_read_in_parts() {
    let cluster = with(&["hello"]);
    story(&cluster, |client: Client| async {
        let client = client;
        let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
        let scale: Scale = deployments.get_scale("hello").await.expect("it has one");
        let replicas = scale.spec.and_then(|spec| spec.replicas);
        let selector = scale.status.and_then(|status| status.selector);
        assert_eq!((replicas, selector.as_deref()), (Some(2), Some("app=hello")));
        // A scale is applied as objects are: its one field has an owner.
        let three = Patch::Apply(json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"replicas": 3}}));
        let scaler = PatchParams::apply("scaler");
        let (code, reason, told) = refused(deployments.patch_scale("hello", &scaler, &three).await);
        assert_eq!((code, reason.as_str()), (409, "Conflict"));
        assert!(told.ends_with(".spec.replicas"), "{told}");
        let scaled = deployments.patch_scale("hello", &scaler.clone().force(), &three).await.expect("scaled");
        assert_eq!(scaled.spec.and_then(|spec| spec.replicas), Some(3));
        let hello = deployments.get("hello").await.expect("there");
        let entry = hello.managed_fields().iter().find(|entry| entry.manager.as_deref() == Some("scaler"));
        let entry = entry.expect("it has the field");
        assert_eq!((entry.subresource.as_deref(), entry.api_version.as_deref()), (Some("scale"), Some("apps/v1")));
        assert_eq!(json!(entry.fields_v1), json!({"f:spec": {"f:replicas": {}}}));
        let is_three =
            |it: Option<&Deployment>| it.and_then(|it| it.status.clone()).and_then(|it| it.ready_replicas) == Some(3);
        await_condition(deployments.clone(), "hello", is_three).await.expect("three are ready");
        let status = deployments.get_status("hello").await.expect("it has one").status.expect("written");
        assert!(
            status.conditions.unwrap_or_default().iter().any(|one| one.type_ == "Available" && one.status == "True")
        );
        let restarted = deployments.restart("hello").await.expect("restarted");
        let is_rolled_out = move |it: Option<&Deployment>| {
            let status = it.and_then(|it| it.status.clone()).unwrap_or_default();
            let counts = [status.replicas, status.updated_replicas, status.ready_replicas];
            status.observed_generation >= restarted.metadata.generation && counts == [Some(3); 3]
        };
        await_condition(deployments.clone(), "hello", is_rolled_out).await.expect("rolled out");

        // Names and labels alone, in pages of one revision.
        let pods: Api<Pod> = Api::default_namespaced(client.clone());
        let few = ListParams::default().labels("app=hello").limit(2);
        let page = pods.list_metadata(&few).await.expect("a page");
        assert_eq!(page.items.len(), 2);
        let token = page.metadata.continue_.clone().expect("there is more");
        let rest = pods.list_metadata(&few.clone().continue_token(&token)).await.expect("the rest");
        assert_eq!(rest.metadata.resource_version, page.metadata.resource_version);
        assert!(page.items[0].types.as_ref().is_some_and(|types| types.kind == "PartialObjectMetadata"));

        // A budget that lets nobody go is heard when somebody is evicted.
        let budget = json!({"metadata": {"name": "all"}, "spec": {"minAvailable": "100%", "selector": {"matchLabels": {"app": "hello"}}}});
        let budgets: Api<k8s_openapi::api::policy::v1::PodDisruptionBudget> = Api::default_namespaced(client.clone());
        let budget = serde_json::from_value(budget).expect("a budget");
        budgets.create(&PostParams::default(), &budget).await.expect("created");
        let is_seen = |it: Option<&k8s_openapi::api::policy::v1::PodDisruptionBudget>| {
            it.and_then(|it| it.status.as_ref())
                .is_some_and(|status| (status.expected_pods, status.current_healthy) == (3, 3))
        };
        await_condition(budgets, "all", is_seen).await.expect("counted");
        let running = pods.list(&ListParams::default().labels("app=hello")).await.expect("a list").items;
        // Whoever is on the way out already may go.
        let staying = running.iter().find(|pod| pod.metadata.deletion_timestamp.is_none()).expect("there are three");
        // By itself this client asks on and on.
        let mut config = configuration(&cluster).await;
        config.default_retry = false;
        let impatient: Api<Pod> = Api::default_namespaced(Client::try_from(config).expect("a client"));
        let (code, reason, told) = refused(impatient.evict(&staying.name_any(), &Default::default()).await);
        assert_eq!((code, reason.as_str()), (429, "TooManyRequests"));
        assert!(told.contains("Cannot evict pod as it would violate the pod's disruption budget."), "{told}");

        let nodes: Api<Node> = Api::all(client);
        let cordoned = nodes.cordon("node-1").await.expect("cordoned");
        assert_eq!(cordoned.spec.and_then(|spec| spec.unschedulable), Some(true));
        let free = nodes.uncordon("node-1").await.expect("uncordoned");
        assert_ne!(free.spec.and_then(|spec| spec.unschedulable), Some(true));
    });
}

#[test]
fn everything_is_discovered() {
    let cluster = with(&[]);
    story(&cluster, |client| async move {
        let version = client.apiserver_version().await.expect("told");
        assert_eq!((version.major.as_str(), version.minor.as_str()), ("1", "33"));
        brought_along(&client).await;
        // One request each for everything, or one for every group: both ways the same.
        let old = Discovery::new(client.clone()).run().await.expect("discovered");
        let new = Discovery::new(client.clone()).run_aggregated().await.expect("discovered");
        for found in [&old, &new] {
            assert!(found.has_group("apps") && found.has_group("harbour.example") && !found.has_group("example"));
            let boat = kube::api::GroupVersionKind::gvk("harbour.example", "v1", "Boat");
            let (resource, capabilities) = found.resolve_gvk(&boat).expect("it is there");
            assert_eq!((resource.plural.as_str(), &capabilities.scope), ("boats", &Scope::Namespaced));
            assert!(capabilities.supports_operation(verbs::PATCH));
            let mut parts: Vec<_> = capabilities.subresources.iter().map(|(part, _)| part.plural.clone()).collect();
            parts.sort();
            assert_eq!(parts, ["scale", "status"]);
            let node = kube::api::GroupVersionKind::gvk("", "v1", "Node");
            assert_eq!(found.resolve_gvk(&node).expect("it is there").1.scope, Scope::Cluster);
        }
        let kinds = |found: &Discovery| {
            let all = found.groups().flat_map(kube::discovery::ApiGroup::recommended_resources);
            let mut all: Vec<String> =
                all.map(|(resource, _)| format!("{}/{}", resource.api_version, resource.kind)).collect();
            all.sort();
            all
        };
        assert_eq!(kinds(&old), kinds(&new));
    });
    // A client that nobody knows is told so, and not what there is.
    story(&cluster, |client| async {
        drop::<Client>(client);
        let mut kubeconfig = Kubeconfig::read_from(cluster.kubeconfig()).expect("a kubeconfig");
        for user in &mut kubeconfig.auth_infos {
            user.auth_info = None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("kubeconfig");
        std::fs::write(&file, serde_json::to_vec(&kubeconfig).expect("JSON")).expect("written");
        let maps: Api<ConfigMap> = Api::default_namespaced(client_of(&file).await);
        let (code, reason, _) = refused(maps.list(&ListParams::default()).await);
        assert!(matches!((code, reason.as_str()), (401, "Unauthorized") | (403, "Forbidden")), "{code} {reason}");
    });
}
