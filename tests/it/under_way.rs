//! What is under way when the server dies by which it goes: what goes on by itself, and what ends and can be begun anew.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use harness::{Servers, eventually, get, kubectl_is_there};
use serde_json::Value;

use crate::forward::Helper;
use crate::{PROGRAM, manifest};

/// A pod that asks for others, one that prints, and something that anybody may read.
const PODS: &str = "apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: web, image: EXAMPLES/probe/probe.wasm, ports: [{containerPort: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec: {rules: [{host: web.localhost, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]}
---
apiVersion: v1
kind: Pod
metadata: {name: ticker}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: ticker, image: EXAMPLES/ticker/ticker.wasm, args: [--every, '50']}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: before}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: anybody}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: 'system:unauthenticated'}]
";

/// What is made when the server is dead.
const AFTER: &str = "apiVersion: v1
kind: ConfigMap
metadata: {name: after}
data: {word: after}
";

const MAPS: &str = "https://kubernetes.default.svc/api/v1/namespaces/default/configmaps";

/// A command that goes on, and what it has said.
struct Said {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Said {
    fn by(servers: &Servers, place: usize, words: &[&str]) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(words).env("CORACLE_KUBECONFIG", servers.kubeconfig(place));
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let said = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let heard = lines.clone();
        std::thread::spawn(move || said.for_each(|line| heard.lock().expect("nobody panics").push(line)));
        Self { child, lines }
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("nobody panics").clone()
    }

    fn says(&self, what: &str) {
        eventually(60, || match self.lines() {
            lines if lines.iter().any(|line| line.contains(what)) => Ok(()),
            lines => Err(format!("{what:?} is not in {lines:?}")),
        });
    }
}

impl Drop for Said {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A path of the pod that asks the API for something.
fn from_the_pod(url: &str) -> String {
    format!("/call?url={url}")
}

/// Has the pod ask the API until it is told to stop; gives the longest time between two answers, and how many there were.
fn ask(edge: SocketAddr, stop: &AtomicBool) -> (Duration, usize) {
    let path = from_the_pod(&format!("{MAPS}/before"));
    let (mut last, mut longest, mut answers) = (Instant::now(), Duration::ZERO, 0);
    while !stop.load(Ordering::Relaxed) {
        if get(edge, "web.localhost", &path).is_ok_and(|answer| answer.status == 200) {
            longest = longest.max(last.elapsed());
            last = Instant::now();
            answers += 1;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    (longest, answers)
}

/// Pods by their uid, each with how often it was started again.
fn pods(servers: &Servers, place: usize) -> BTreeMap<String, u64> {
    let told = servers.coracle(place, &["get", "pods", "-o", "json"]).ok();
    let told: Value = serde_json::from_str(&told).expect("a list");
    let pods = told["items"].as_array().expect("a list").iter();
    let restarts = |pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or_default();
    pods.map(|pod| (pod["metadata"]["uid"].as_str().expect("a uid").to_owned(), restarts(pod))).collect()
}

fn is_answered(edge: SocketAddr, host: &str, path: &str) {
    eventually(60, || match get(edge, host, path) {
        Ok(answer) if answer.status == 200 => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

#[test]
fn what_goes_by_a_server_that_dies_goes_on_by_another() {
    let mut servers = Servers::alone(PROGRAM, 3);
    servers.agent(0);
    servers.coracle(0, &["apply", "-f", &manifest(servers.folder(), PODS)]).ok();
    servers.coracle(0, &["wait", "--for=condition=Ready", "pod/web", "pod/ticker", "--timeout", "120s"]).ok();
    eventually(60, || match servers.leader() {
        0 => Ok(()),
        _ => Err(format!("{:?}", servers.coracle(0, &["member", "lead", &servers.id(0)]))),
    });
    // Whoever asks by this server is told of the others.
    eventually(60, || {
        let text = std::fs::read_to_string(servers.kubeconfig(0)).map_err(|error| error.to_string())?;
        let all = (0..3).all(|place| text.contains(&servers.api(place)));
        if all { Ok(()) } else { Err(text) }
    });
    let edge = servers.agent_ingress(0);
    is_answered(edge, "web.localhost", &from_the_pod(&format!("{MAPS}/before")));
    let before = pods(&servers, 0);

    let ticks = Said::by(&servers, 0, &["logs", "-f", "ticker"]);
    let mut waits = Said::by(&servers, 0, &["wait", "--for=create", "configmap/after", "--timeout", "120s"]);
    let maps = Said::by(&servers, 0, &["get", "configmaps", "-w"]);
    let mut command = Command::new(PROGRAM);
    command.args(["port-forward", "pod/web", "0:80"]).env("CORACLE_KUBECONFIG", servers.kubeconfig(0));
    let forward = Helper::start(command);
    maps.says("before");
    ticks.says("tick 3");
    is_answered(forward.address, "web", "/healthz");
    let elsewhere = kubectl_is_there().then(|| {
        let mut command = Command::new("kubectl");
        command.env("KUBECONFIG", servers.kubeconfig(1)).env("HOME", servers.folder().join("kubectl-home"));
        command.args(["port-forward", "pod/web", ":80"]);
        Helper::start(command)
    });

    let stop = Arc::new(AtomicBool::new(false));
    let stopping = stop.clone();
    let asking = std::thread::spawn(move || ask(edge, &stopping));
    let watched = from_the_pod(&format!("{MAPS}?watch=true"));
    let watching = std::thread::spawn(move || get(edge, "web.localhost", &watched));
    let through = elsewhere.as_ref().map(|elsewhere| {
        let address = elsewhere.address;
        is_answered(address, "web", "/healthz");
        std::thread::spawn(move || get(address, "web", "/stream?count=100&ms=50"))
    });
    let heard = ticks.lines().len();
    servers.kill(0);
    let killed = Instant::now();
    let timed = |what: &str| println!("{what}: {:?} after the kill", killed.elapsed());

    is_answered(forward.address, "web", "/healthz");
    timed("a new connection to a forwarded port");
    is_answered(edge, "web.localhost", &from_the_pod(&format!("{MAPS}/before")));
    timed("the API asked by a pod");
    let file = manifest(servers.folder(), AFTER);
    eventually(60, || match servers.coracle(1, &["apply", "-f", &file]) {
        told if told.code == 0 => Ok(()),
        told => Err(format!("{told:?}")),
    });
    timed("a write");
    maps.says("after");
    timed("a watch tells of it");
    assert!(waits.child.wait().expect("it ends").success(), "{:?}", waits.lines());
    timed("who waited for it");
    eventually(60, || match ticks.lines().len() {
        lines if lines > heard + 10 => Ok(()),
        lines => Err(format!("{lines} lines, and {heard} before")),
    });
    timed("the log");
    // What went from a pod by the dead server has ended, and the pod is not left waiting.
    eventually(60, || if watching.is_finished() { Ok(()) } else { Err("the pod's watch has not ended".into()) });
    if let Some(through) = through {
        let streamed = through.join().expect("no panic").expect("what goes by another server is not touched").body;
        assert_eq!((streamed.lines().count(), streamed.lines().last()), (100, Some("line 100")));
    }
    stop.store(true, Ordering::Relaxed);
    let (longest, answers) = asking.join().expect("no panic");
    println!("a pod's {answers} answers by the API: at most {longest:?} from one to the next");
    let told = ticks.lines();
    let counted = |line: &&String| !line.ends_with("error");
    let numbers: Vec<String> = told.iter().filter(counted).cloned().collect();
    let expect: Vec<String> = (1..=numbers.len()).map(|number| format!("tick {number}")).collect();
    assert_eq!(numbers, expect, "each line once");
    assert_eq!(pods(&servers, 1), before, "nothing was started again");
}
