//! What a component may import beside WASI proper: values by keys, configuration, objects and a log, provided by the cluster.

use std::net::SocketAddr;
use std::thread;

use harness::{Cluster, Fleet, Plan, Server, eventually, get_with, kubectl_is_there};
use http::Method;

use crate::{PROGRAM, example, manifest};

const BUCKET: &str = "apiVersion: coracle.dev/v1
kind: Bucket
metadata: {name: shared}
";

const POD: &str = "---
apiVersion: v1
kind: Pod
metadata: {name: NAME, labels: {app: NAME}}
spec:
  nodeSelector: {kubernetes.io/hostname: NODE}
  terminationGracePeriodSeconds: 1
  containers:
  - name: keeper
    image: EXAMPLES/keeper/keeper.wasm
    ports: [{containerPort: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: NAME}
spec: {selector: {app: NAME}, ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: NAME}
spec: {rules: [{host: NAME.localhost, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: NAME, port: {number: 80}}}}]}}]}
";

/// A keeper as it is reached from outside.
#[derive(Clone)]
struct Keeper {
    ingress: SocketAddr,
    host: String,
}

impl Keeper {
    fn at(ingress: SocketAddr, name: &str) -> Self {
        Self { ingress, host: format!("{name}.localhost") }
    }

    fn ask(&self, method: &Method, path: &str, body: &str) -> (u16, String) {
        let answer = get_with(self.ingress, method.clone(), &self.host, path, &[], body.to_owned());
        let answer = answer.unwrap_or_else(|error| panic!("{method} {path}: {error:#}"));
        (answer.status, answer.body)
    }

    #[track_caller]
    fn check(&self, method: Method, path: &str, body: &str, status: u16, expected: &str) {
        let (code, told) = self.ask(&method, path, body);
        assert_eq!((code, told.trim_end()), (status, expected), "{method} {path}");
    }

    fn ready(&self) {
        eventually(60, || match get_with(self.ingress, Method::GET, &self.host, "/healthz", &[], "") {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(format!("{}: {other:?}", self.host)),
        });
    }
}

#[test]
fn pods_of_two_nodes_keep_values_together_and_nobody_else_sees_them() {
    let fleet = Fleet::on_loopback(PROGRAM, Server::IsNode, 1);
    let pod = |name: &str, node: &str| POD.replace("NAME", name).replace("NODE", node);
    let text = format!("{BUCKET}{}{}", pod("one", "node-0"), pod("two", "node-1"));
    fleet.coracle(&["apply", "-f", &manifest(fleet.folder(), &text)]).ok();
    let [one, two] = [Keeper::at(fleet.ingress(0), "one"), Keeper::at(fleet.ingress(1), "two")];
    [&one, &two].into_iter().for_each(Keeper::ready);

    // What one has put the other finds at once.
    for round in 0..5 {
        let text = format!("round {round}");
        one.check(Method::PUT, "/buckets/shared/word", &text, 200, "");
        two.check(Method::GET, "/buckets/shared/word", "", 200, &text);
    }
    two.check(Method::DELETE, "/buckets/shared/word", "", 200, "");
    one.check(Method::GET, "/buckets/shared/word", "", 404, "word is not in shared");

    // Both count, four at a time each; every answer is a number of its own, and nothing is lost.
    let counting = |keeper: &Keeper| {
        let keeper = keeper.clone();
        thread::spawn(move || -> Vec<i64> {
            let count = |_| match keeper.ask(&Method::POST, "/buckets/shared/visits?by=1", "") {
                (200, number) => number.trim_end().parse().expect("a number"),
                other => panic!("{other:?}"),
            };
            (0..25).map(count).collect()
        })
    };
    let counters: Vec<_> = [&one, &two].into_iter().cycle().take(8).map(counting).collect();
    let mut numbers: Vec<i64> = counters.into_iter().flat_map(|counter| counter.join().expect("it counts")).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=200).collect::<Vec<_>>());
    one.check(Method::POST, "/buckets/shared/visits?by=-200", "", 200, "0");

    // Of two who replace the same value one is told.
    one.check(Method::POST, "/swaps/shared/lock", "one", 200, "");
    two.check(Method::POST, "/swaps/shared/lock", "two", 409, "one");
    two.check(Method::POST, "/swaps/shared/lock?from=one", "two", 200, "");
    one.check(Method::POST, "/races/shared/lock", "", 409, "the faster one");

    // A bucket is its namespace's: in another there is none of the name, and the API lets no node at it that has no pod there.
    let text = pod("other", "node-1").replace("metadata: {", "metadata: {namespace: away, ");
    let text = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: away}}\n{text}");
    fleet.coracle(&["apply", "-f", &manifest(fleet.folder(), &text)]).ok();
    let other = Keeper::at(fleet.ingress(1), "other");
    other.ready();
    other.check(Method::GET, "/buckets/shared/lock", "", 502, "Error::NoSuchStore");
    if !kubectl_is_there() {
        return;
    }
    let may = |node: &str, namespace: &str| {
        let user = format!("--as=system:node:{node}");
        let words = ["auth", "can-i", "get", "bucketentries/x", "-n", namespace, &user, "--as-group=system:nodes"];
        fleet.kubectl(&words, None).stdout
    };
    assert_eq!([may("node-0", "default"), may("node-1", "away")], ["yes\n", "yes\n"]);
    assert_eq!(may("node-0", "away"), "no - no pod of namespace 'away' is on node 'node-0'\n");
}

fn up(data: &std::path::Path) -> Cluster {
    let plan = Plan::new().on(data).apply(example("keeper"));
    plan.up(PROGRAM).unwrap_or_else(|error| panic!("{error:#}"))
}

#[test]
fn what_is_kept_outlives_the_process_and_goes_with_its_bucket() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let cluster = up(&data);
    let keeper = Keeper::at(cluster.ingress(), "keeper");
    keeper.ready();
    keeper.check(Method::GET, "/", "", 200, "Welcome!\nYou are visitor number 1.");
    keeper.check(Method::PUT, "/buckets/visits/a/b", "too", 200, "");
    keeper.check(Method::PUT, "/buckets/visits/word", "kept", 200, "");
    cluster.kill().expect("killed");

    let cluster = up(&data);
    let keeper = Keeper::at(cluster.ingress(), "keeper");
    keeper.ready();
    keeper.check(Method::GET, "/buckets/visits/word", "", 200, "kept");
    keeper.check(Method::GET, "/", "", 200, "Welcome!\nYou are visitor number 2.");
    keeper.check(Method::GET, "/buckets/visits", "", 200, "a/b\nall\nword");
    if !kubectl_is_there() {
        return;
    }
    let k = |words: &[&str]| cluster.kubectl(words);
    let told = k(&["get", "bucketentries", "-o", "custom-columns=B:.bucket,K:.key,V:.value", "--no-headers"]).ok();
    assert!(told.contains("visits   all    Mg=="), "{told}");
    assert!(k(&["get", "buckets"]).ok().contains("visits   16Mi"));
    assert!(k(&["explain", "bucket.spec.capacity"]).ok().contains("together"));

    // A bucket holds what it says and no more; what is there may shrink, and go.
    k(&["patch", "bucket", "visits", "--type=merge", "-p", r#"{"spec":{"capacity":"4Ki"}}"#]).ok();
    let (status, why) = keeper.ask(&Method::PUT, "/buckets/visits/large", &"x".repeat(4096));
    assert!(status == 502 && why.contains("bucket visits holds no more than 4Ki"), "{status} {why}");
    keeper.check(Method::PUT, "/buckets/visits/word", "", 200, "");
    keeper.check(Method::DELETE, "/buckets/visits", "", 200, "");
    keeper.check(Method::GET, "/buckets/visits", "", 200, "");

    keeper.check(Method::PUT, "/buckets/visits/word", "old", 200, "");
    k(&["delete", "bucket", "visits"]).ok();
    keeper.check(Method::GET, "/buckets/visits/word", "", 502, "Error::NoSuchStore");
    k(&["create", "-f", &example("keeper/manifest.yaml").display().to_string()]).refused();
    keeper.check(Method::GET, "/buckets/visits/word", "", 404, "word is not in visits");
    eventually(30, || match k(&["get", "bucketentries", "-o", "name"]).ok().as_str() {
        "" => Ok(()),
        left => Err(left.to_owned()),
    });
}

#[test]
fn configuration_objects_and_a_log_are_what_the_manifest_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = up(&folder.path().join("data"));
    let keeper = Keeper::at(cluster.ingress(), "keeper");
    keeper.ready();
    cluster.coracle(&["scale", "deployment/keeper", "--replicas=1"]).ok();
    let pod = eventually(30, || {
        let pods: serde_json::Value =
            serde_json::from_str(&cluster.coracle(&["get", "pods", "-o", "json"]).ok()).expect("a list");
        match pods["items"].as_array().map(Vec::as_slice) {
            Some([pod]) => Ok(pod["metadata"]["name"].as_str().expect("a name").to_owned()),
            _ => Err("not one pod".to_owned()),
        }
    });
    keeper.check(Method::GET, "/config", "", 200, "GREETING=Welcome!");
    keeper.check(Method::GET, "/config/HOSTNAME", "", 404, "no HOSTNAME is configured");

    keeper.check(Method::POST, "/log/warn/till", "nearly\nempty", 200, "");
    eventually(10, || {
        let told = cluster.coracle(&["logs", &pod]).ok();
        if told.contains("WARN till: nearly\nWARN till: empty\n") { Ok(()) } else { Err(told) }
    });

    let text = "a line of some length\n".repeat(10_000);
    keeper.check(Method::PUT, "/containers/letters/2026/may", &text, 400, "container letters does not exist");
    keeper.check(Method::PUT, "/containers/letters", "", 200, "");
    keeper.check(Method::PUT, "/containers/letters/2026/may", &text, 200, "");
    keeper.check(Method::GET, "/containers/letters/2026/may", "", 200, text.trim_end());
    keeper.check(Method::POST, "/copies/letters/2026/may?to=last", "", 200, "");
    keeper.check(Method::DELETE, "/containers/letters/2026/may", "", 200, "");
    keeper.check(Method::GET, "/containers/letters", "", 200, "last");
    keeper.check(Method::GET, "/containers/letters/2026/may", "", 400, "object 2026/may does not exist");
    let why = "\"/x\" cannot be the name of an object: an object is a file of a volume";
    keeper.check(Method::PUT, "/containers/letters//x", "", 400, why);

    // The volume has a size, and it holds here too.
    let (status, why) = keeper.ask(&Method::PUT, "/containers/letters/large", &"x".repeat(17 << 20));
    assert!(status != 200 && why.contains("No space left"), "{status} {why}");
    keeper.check(Method::GET, "/containers/letters", "", 200, "last");
    keeper.check(Method::DELETE, "/containers/letters", "", 200, "");
    keeper.check(Method::GET, "/containers/letters", "", 400, "container letters does not exist");
}
