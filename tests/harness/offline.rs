//! A node that is cut off for long, and starts anew meanwhile: it serves all the time, and nothing is started again when it is back.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, ensure};
use api::kinds;
use state::Snapshot;

use crate::{Fleet, Load, Observer, Size, eventually, is_true};

/// What a node did while it was away.
#[derive(Clone, Copy, Debug)]
pub struct Away {
    /// How long it was.
    pub lasting: Duration,
    /// Requests that its edge answered before it was started anew, all of them well.
    pub before: u64,
    /// From its start, without a server, until its edge answered again.
    pub restarted: Duration,
    /// Requests that it answered from then on until it was back and Ready, all of them well.
    pub after: u64,
    /// From the cable being in place until the cluster said that it is Ready.
    pub back: Duration,
}

const SERVERS: usize = 3;
/// The node that goes.
const NODE: usize = SERVERS;
const PATIENCE: Duration = Duration::from_secs(120);
/// What a node keeps is written behind what happens: all of it, once nothing has been written for so long,
const QUIET: Duration = Duration::from_secs(5);
/// or once something was written that began so long after it.
const BEHIND_MAX: Duration = Duration::from_secs(2);
/// Between two requests to its edge.
const PAUSE: Duration = Duration::from_millis(20);

/// A pod that stays on its node however long nobody hears of that.
const EDGE: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: edge}
spec:
  selector: {matchLabels: {app: edge}}
  template:
    metadata: {labels: {app: edge}}
    spec:
      nodeSelector: {kubernetes.io/hostname: node-3}
      tolerations: [{key: node.kubernetes.io/unreachable, operator: Exists}, {key: node.kubernetes.io/not-ready, operator: Exists}]
      terminationGracePeriodSeconds: 1
      containers: [{name: hello, image: 'hello:v1', ports: [{containerPort: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: edge}
spec: {selector: {app: edge}, ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: edge}
spec:
  rules:
  - host: edge.localhost
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: edge, port: {number: 80}}}}]}
";

/// Cuts a node of so many off for so long, and starts it anew in the middle of that.
pub fn offline(program: &str, agents: usize, lasting: Duration) -> anyhow::Result<Away> {
    let environment = vec![("CORACLE_NODE_MONITOR_GRACE_PERIOD", "3s".to_owned())];
    let mut fleet = Fleet::of(program, Size { servers: SERVERS, agents, spare: 1, environment, ..Size::default() });
    let observer = Observer::at(&fleet, SERVERS + agents, SERVERS)?;
    let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/hello/hello.wasm");
    fleet.at_last(&["push", &image.display().to_string(), "hello:v1"]);
    let file = fleet.folder().join("edge.yaml");
    std::fs::write(&file, EDGE)?;
    fleet.at_last(&["apply", "-f", &file.display().to_string()]);
    let before = observer.until(PATIENCE, Pod::ready)?;
    serves(&fleet);
    let (kept, known) = (fleet.data(NODE).join("kept/world"), SystemTime::now());
    eventually(PATIENCE.as_secs(), || {
        let written = kept.metadata().and_then(|metadata| metadata.modified()).map_err(|error| error.to_string())?;
        let quiet = written.elapsed().unwrap_or_default();
        let is_later = written.duration_since(known).is_ok_and(|later| later > BEHIND_MAX);
        if is_later || quiet > QUIET { Ok(()) } else { Err(format!("written {quiet:?} ago")) }
    });

    let began = Instant::now();
    let load = load(&fleet);
    fleet.namespaces().cut(NODE);
    std::thread::sleep(lasting / 2);
    observer.until(PATIENCE, |world| if node_is_ready(world) { Err("nobody misses it".into()) } else { Ok(()) })?;
    let served_before = all_were_served(load).context("cut off")?;
    fleet.kill(NODE);
    let started = Instant::now();
    fleet.start_again(NODE);
    serves(&fleet);
    let restarted = started.elapsed();
    let load = self::load(&fleet);
    std::thread::sleep((lasting / 2).saturating_sub(restarted));
    let lasted = began.elapsed();

    fleet.namespaces().join(NODE);
    let joined = Instant::now();
    observer.until(PATIENCE, |world| if node_is_ready(world) { Ok(()) } else { Err("it is not back".into()) })?;
    let back = joined.elapsed();
    let wanted = Pod { restarts: before.restarts + 1, ..before };
    let is_as_it_was = |world: &Snapshot| {
        let now = Pod::ready(world)?;
        if now == wanted { Ok(()) } else { Err(format!("{wanted:?} was on the node, and {now:?} is now")) }
    };
    observer.until(PATIENCE, is_as_it_was)?;
    // What the cluster now tells the node is heard there too: a pod that is made later runs.
    fleet.at_last(&["scale", "deploy/edge", "--replicas", "2"]);
    observer.until(PATIENCE, |world| {
        let count = world.list_in(kinds::POD, "default").filter(|pod| is_true(pod, "Ready")).count();
        if count == 2 { Ok(()) } else { Err(format!("{count} pods are ready")) }
    })?;
    let served_after = all_were_served(load).context("started anew, and back")?;
    let still = observer.world();
    let pods = still.list_in(kinds::POD, "default").filter_map(Pod::of);
    ensure!(pods.into_iter().any(|pod| pod == wanted), "the pod was touched when its node came back");
    Ok(Away { lasting: lasted, before: served_before, restarted, after: served_after, back })
}

/// A pod, as its node tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pod {
    uid: String,
    restarts: u64,
}

// === impl Pod ===

impl Pod {
    fn of(object: &api::Object) -> Option<Self> {
        let tree = object.tree().ok()?;
        let restarts = tree["status"]["containerStatuses"][0]["restartCount"].as_u64()?;
        Some(Self { uid: object.meta().uid.to_string(), restarts })
    }

    /// The only one, once it is ready.
    fn ready(world: &Snapshot) -> Result<Self, String> {
        let pods: Vec<_> = world.list_in(kinds::POD, "default").collect();
        match &pods[..] {
            [pod] if is_true(pod, "Ready") => Self::of(pod).ok_or_else(|| "it has no status".into()),
            pods => Err(format!("{} pods, or one that is not ready", pods.len())),
        }
    }
}

fn node_is_ready(world: &Snapshot) -> bool {
    world.get(&kinds::NODE.key("", &format!("node-{NODE}"))).is_some_and(|node| is_true(node, "Ready"))
}

/// Waits until the node's edge answers on the node itself.
fn serves(fleet: &Fleet) {
    let edge = fleet.ingress(NODE);
    fleet.namespaces().on(NODE, move || {
        eventually(PATIENCE.as_secs(), || match crate::get(edge, "edge.localhost", "/") {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        });
    });
}

/// Somebody on the node who asks its edge, again and again.
fn load(fleet: &Fleet) -> Load {
    let edge = fleet.ingress(NODE);
    fleet.namespaces().on(NODE, move || Load::start_paced(edge, "edge.localhost", "/", 1, PAUSE))
}

fn all_were_served(load: Load) -> anyhow::Result<u64> {
    let report = load.stop();
    ensure!(report.dropped() == 0, "{:?}, {:?}, {:?}", report.answers, report.refusals, report.failures);
    ensure!(report.total() > 0, "nobody asked");
    Ok(report.total())
}

impl fmt::Display for Away {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lasting, before, restarted, after, back } = self;
        write!(
            f,
            "away for {lasting:.0?}: {before} requests answered, started anew and answering after {restarted:.1?}, {after} more \
             answered; Ready {back:.1?} after it could be heard, and no pod was touched"
        )
    }
}
