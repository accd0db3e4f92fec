//! The tasks of Kubernetes' documentation about jobs: work shared out by templates, by an index, and by the clock.

use std::net::Ipv4Addr;

use harness::eventually;

use crate::names::{A, ask};
use crate::task::Desk;

/// A job for each item, as the page makes them of one template.
fn items() -> String {
    let job = |item: &str| {
        format!(
            "apiVersion: batch/v1
kind: Job
metadata: {{name: process-item-{item}, labels: {{jobgroup: jobexample}}}}
spec:
  template:
    metadata: {{labels: {{jobgroup: jobexample}}}}
    spec:
      restartPolicy: Never
      containers: [{{name: c, image: 'box:v1', command: [sh, -c, \"echo Processing item {item} && sleep 1\"]}}]
---
"
        )
    };
    ["apple", "banana", "cherry"].map(job).concat()
}

const INDEXED: &str = r#"apiVersion: batch/v1
kind: Job
metadata: {name: indexed-job}
spec:
  completions: 5
  parallelism: 3
  completionMode: Indexed
  template:
    spec:
      restartPolicy: Never
      volumes: [{name: input, emptyDir: {}}]
      initContainers:
      - name: input
        image: box:v1
        command: [sh, -c, "echo item-$JOB_COMPLETION_INDEX > /input/data.txt"]
        volumeMounts: [{mountPath: /input, name: input}]
      containers:
      - name: worker
        image: box:v1
        command: [cat, /input/data.txt]
        volumeMounts: [{mountPath: /input, name: input}]
---
apiVersion: batch/v1
kind: Job
metadata: {name: per-index}
spec:
  completions: 4
  parallelism: 4
  completionMode: Indexed
  backoffLimitPerIndex: 0
  maxFailedIndexes: 3
  template:
    spec:
      restartPolicy: Never
      containers: [{name: c, image: "box:v1", command: [sh, -c, "test $JOB_COMPLETION_INDEX != 1"]}]
---
"#;

/// A queue and its server, as the pages about parallel processing with a queue have them.
const QUEUE: &str = "apiVersion: v1
kind: Pod
metadata: {name: redis-master, labels: {app: redis}}
spec:
  containers: [{name: master, image: 'kv:v1', args: [serve], ports: [{containerPort: 6379}], readinessProbe: {tcpSocket: {port: 6379}, periodSeconds: 1}}]
---
apiVersion: v1
kind: Service
metadata: {name: redis}
spec: {ports: [{port: 6379, targetPort: 6379}], selector: {app: redis}}
";

/// Each pod takes one item, and there are as many pods as items.
const COARSE: &str = "apiVersion: batch/v1
kind: Job
metadata: {name: job-wq-1}
spec:
  completions: 8
  parallelism: 2
  template:
    metadata: {name: job-wq-1}
    spec:
      restartPolicy: OnFailure
      containers: [{name: c, image: 'kv:v1', args: ['redis:6379', LPOP, job1]}]
";

/// Each pod takes items until there are none; nobody says how many that are.
const FINE: &str = "apiVersion: batch/v1
kind: Job
metadata: {name: job-wq-2}
spec:
  parallelism: 2
  template:
    metadata: {name: job-wq-2}
    spec:
      restartPolicy: OnFailure
      containers: [{name: c, image: 'kv:v1', args: [work, 'redis:6379', job2, '500']}]
";

#[test]
fn a_queue_is_worked_off() {
    let Some(desk) = Desk::open() else { return };
    let file = crate::example("kv/kv.wasm").display().to_string();
    desk.cluster.coracle(&["push", &file, "kv:v1"]).ok();
    desk.apply(QUEUE).ok();
    desk.k(&["wait", "--for=condition=Ready", "pod/redis-master", "--timeout=60s"]).ok();
    let say = |words: &[&str]| {
        let client = ["exec", "redis-master", "--", "kv", "redis:6379"];
        desk.k(&[client.as_slice(), words].concat()).ok()
    };
    let fruits = ["apple", "banana", "cherry", "date", "fig", "grape", "lemon", "melon"];
    let done = |job: &str, of: &str| {
        desk.k(&["wait", "--for=condition=complete", &format!("job/{job}"), "--timeout=120s"]).ok();
        let told = desk.k(&["logs", "-l", &format!("job-name={job}"), "--tail=-1", "--max-log-requests=10"]).ok();
        let mut items: Vec<String> = told.lines().filter_map(|line| Some(line.strip_prefix(of)?.to_owned())).collect();
        items.sort();
        (items, told)
    };
    for queue in ["job1", "job2"] {
        assert_eq!(say(&[["RPUSH", queue].as_slice(), &fruits].concat()), "8\n");
    }

    desk.apply(COARSE).ok();
    assert_eq!(done("job-wq-1", "").0, fruits);
    desk.shows("job job-wq-1", "{.status.succeeded}", "8");

    assert_eq!(say(&["LRANGE", "job2", "0", "-1"]).lines().collect::<Vec<_>>(), fruits);
    desk.apply(FINE).ok();
    let (items, told) = done("job-wq-2", "Working on ");
    assert_eq!(items, fruits, "each once");
    assert_eq!(told.matches("Queue empty, exiting").count(), 2, "{told}");
    desk.shows("job job-wq-2", "{.status.succeeded} {.spec.completions}", "2 ");
    assert_eq!(say(&["LLEN", "job2"]), "0\n");
    assert_eq!(say(&["KEYS", "job2*"]), "", "nothing is left with anybody");
}

/// Workers that have names.
const TALKING: &str = r#"apiVersion: v1
kind: Service
metadata: {name: headless-svc}
spec: {clusterIP: None, selector: {job-name: example-job}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: example-job}
spec:
  completions: 2
  parallelism: 2
  completionMode: Indexed
  template:
    spec:
      subdomain: headless-svc
      restartPolicy: Never
      containers: [{name: c, image: "box:v1", command: [sh, -c, "hostname; sleep 600"]}]
"#;

#[test]
fn work_is_shared_out() {
    let Some(desk) = Desk::open() else { return };
    desk.apply(&format!("{}{INDEXED}{TALKING}", items())).ok();
    desk.k(&["wait", "--for=condition=complete", "job", "-l", "jobgroup=jobexample", "--timeout=60s"]).ok();
    let told = desk.k(&["logs", "-l", "jobgroup=jobexample"]).ok();
    let mut told: Vec<&str> = told.lines().collect();
    told.sort_unstable();
    assert_eq!(told, ["Processing item apple", "Processing item banana", "Processing item cherry"]);

    desk.k(&["wait", "--for=condition=complete", "job/indexed-job", "--timeout=60s"]).ok();
    let told = desk.k(&["logs", "-l", "job-name=indexed-job", "-c", "worker", "--max-log-requests=9"]).ok();
    let mut told: Vec<&str> = told.lines().collect();
    told.sort_unstable();
    assert_eq!(told, ["item-0", "item-1", "item-2", "item-3", "item-4"]);
    desk.describes("job indexed-job", &["Completion Mode:    Indexed", "Completed Indexes:  0-4"]);

    desk.k(&["wait", "--for=condition=failed", "job/per-index", "--timeout=60s"]).ok();
    let path = "{.status.completedIndexes} {.status.failedIndexes} {.status.conditions[?(@.type==\"Failed\")].reason}";
    desk.shows("job per-index", path, "0,2,3 1 FailedIndexes");

    let label = "batch.kubernetes.io/job-completion-index";
    let of = |index: &str, path: &str| {
        let label = format!("job-name=example-job,{label}={index}");
        desk.k(&["get", "pods", "-l", &label, "-o", &format!("jsonpath={{.items[0].{path}}}")]).ok()
    };
    desk.shows("job example-job", "{.status.ready}", "2");
    assert_eq!(desk.k(&["logs", &of("0", "metadata.name")]).ok(), "example-job-0\n");
    let address: Ipv4Addr = of("1", "status.podIP").parse().expect("an address");
    let name = "example-job-1.headless-svc.default.svc.cluster.local";
    eventually(30, || match ask(desk.cluster.dns(), name, A) {
        (0, found) if found == [address.octets()] => Ok(()),
        other => Err(format!("{name}: {other:?}")),
    });
}

#[test]
fn a_cron_job_is_suspended_and_run_by_hand() {
    let Some(desk) = Desk::open() else { return };
    let says = ["--restart=OnFailure", "--", "sh", "-c", "echo Hello from the cluster"];
    desk.k(&[&["create", "cronjob", "hello", "--image=box:v1", "--schedule=*/1 * * * *"], &says[..]].concat()).ok();
    desk.k(&["patch", "cronjob", "hello", "-p", r#"{"spec":{"suspend":true}}"#]).ok();
    assert!(desk.k(&["get", "cronjob", "hello"]).ok().contains("*/1 * * * *   <none>     True"));
    desk.k(&["create", "job", "by-hand", "--from=cronjob/hello"]).ok();
    desk.k(&["wait", "--for=condition=complete", "job/by-hand", "--timeout=60s"]).ok();
    assert_eq!(desk.k(&["logs", "job/by-hand"]).ok(), "Hello from the cluster\n");
    desk.shows("job by-hand", r"{.metadata.annotations.cronjob\.kubernetes\.io/instantiate}", "manual");
    desk.k(&["delete", "cronjob", "hello"]).ok();
}
