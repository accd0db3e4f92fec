//! HorizontalPodAutoscalers as the walkthrough of Kubernetes' documentation has them, and one that goes down to nothing.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use harness::{Cluster, Load, eventually, get, kubectl_is_there};
use serde_json::Value;

use crate::{example, with};

/// Pods that answer on port 8080, and the way to them from outside.
fn app(name: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers:
      - name: probe
        image: probe:v1
        ports: [{{name: http, containerPort: 8080}}]
        env: [{{name: POD_NAME, valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}}}]
        readinessProbe: {{httpGet: {{path: /healthz, port: http}}, periodSeconds: 1, timeoutSeconds: 10}}
        resources: {{requests: {{cpu: 20m}}, limits: {{cpu: 200m}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{type: NodePort, selector: {{app: {name}}}, ports: [{{port: 80, targetPort: http}}]}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: {name}}}
spec:
  rules:
  - host: {name}.localhost
    http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: {name}, port: {{number: 80}}}}}}}}]}}
---
"
    )
}

/// Down to nothing as soon as nothing is asked.
const TO_ZERO: &str = "apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: sleeper}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: sleeper}
  minReplicas: 0
  maxReplicas: 3
  metrics: [{type: Pods, pods: {metric: {name: requests-per-second}, target: {type: AverageValue, averageValue: '1000'}}}]
  behavior: {scaleDown: {stabilizationWindowSeconds: 0}}
";

fn cluster(manifest: &str) -> Cluster {
    let cluster = with(&[]);
    let file = example("probe/probe.wasm").display().to_string();
    cluster.coracle(&["push", &file, "probe:v1"]).ok();
    cluster.kubectl_in(&["apply", "-f", "-"], manifest).ok();
    cluster
}

fn rolled_out(cluster: &Cluster, name: &str) {
    cluster.kubectl(&["rollout", "status", &format!("deploy/{name}"), "--timeout=60s"]).ok();
}

/// The way from outside is there: what a rollout waits for says nothing of the edge.
fn answers(cluster: &Cluster, host: &str) {
    eventually(60, || match get(cluster.ingress(), host, "/healthz") {
        Ok(answer) if answer.status == 200 => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

/// How many replicas there are to be, and how many there are.
fn replicas(cluster: &Cluster, name: &str) -> (i64, i64) {
    let told = cluster.kubectl(&["get", "deploy", name, "-o", "json"]).ok();
    let value: Value = serde_json::from_str(&told).expect("an object");
    (value["spec"]["replicas"].as_i64().unwrap_or(1), value["status"]["replicas"].as_i64().unwrap_or(0))
}

fn comes_to(cluster: &Cluster, name: &str, wanted: i64, seconds: u64) {
    eventually(seconds, || match replicas(cluster, name) {
        (spec, status) if (spec, status) == (wanted, wanted) => Ok(()),
        other => Err(format!("{other:?}\n{}", cluster.kubectl(&["describe", "hpa", name]).stdout)),
    });
}

#[test]
fn a_load_brings_pods_and_its_end_sends_them_away() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = cluster(&app("spinner"));
    rolled_out(&cluster, "spinner");
    answers(&cluster, "spinner.localhost");
    let load = Load::start(cluster.ingress(), "spinner.localhost", "/spin?ms=5", 3);
    cluster.kubectl(&["autoscale", "deploy", "spinner", "--cpu-percent=50", "--min=1", "--max=4"]).ok();
    let soon = r#"{"spec": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}}}"#;
    cluster.kubectl(&["patch", "hpa", "spinner", "-p", soon]).ok();
    comes_to(&cluster, "spinner", 4, 180);
    let row = cluster.kubectl(&["get", "hpa", "spinner", "--no-headers"]).ok();
    let words: Vec<&str> = row.split_whitespace().collect();
    assert_eq!((words[1], words[2], words[4], words[5]), ("Deployment/spinner", "cpu:", "1", "4"), "{row}");
    assert!(words[3].ends_with("%/50%") && !words[3].starts_with("<unknown>"), "{row}");
    let report = load.stop();
    assert_eq!(report.dropped(), 0, "{:?} {:?} {:?}", report.answers, report.refusals, report.failures);
    comes_to(&cluster, "spinner", 1, 180);
    let told = cluster.kubectl(&["describe", "hpa", "spinner"]).ok();
    for words in [
        "cpu resource utilization (percentage of request) above target",
        "New size: 4; reason:",
        "New size: 1; reason: All metrics below target",
        "ScalingActive   True    ValidMetricFound",
        "AbleToScale     True",
        "ScalingLimited",
    ] {
        assert!(told.contains(words), "{words}:\n{told}");
    }
}

/// A kind of somebody's own that has a scale, and one of it.
const FLEETS: &str = "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: fleets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: fleets, singular: fleet, kind: Fleet}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, properties: {replicas: {type: integer}}}
          status: {type: object, properties: {replicas: {type: integer}, selector: {type: string}}}
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas, labelSelectorPath: .status.selector}
";

const FLEET: &str = "apiVersion: example.com/v1
kind: Fleet
metadata: {name: mine}
spec: {replicas: 1}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: mine}
spec:
  scaleTargetRef: {apiVersion: example.com/v1, kind: Fleet, name: mine}
  minReplicas: 1
  maxReplicas: 3
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]
  behavior: {scaleDown: {stabilizationWindowSeconds: 0}}
---
";

/// One of the fleet, doing this.
fn ship(name: &str, deed: &str) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: fleet}}}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {{name: main, image: 'hostile:v1', args: [{deed}], resources: {{requests: {{cpu: 20m}}, limits: {{cpu: 100m}}}}}}
---
"
    )
}

#[test]
fn a_kind_of_ones_own_is_scaled_by_what_its_pods_use() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = cluster(FLEETS);
    cluster.coracle(&["push", &example("hostile/hostile.wasm").display().to_string(), "hostile:v1"]).ok();
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]).ok();
    cluster.kubectl_in(&["apply", "-f", "-"], &[FLEET, &ship("one", "spin")].concat()).ok();
    // What a controller of this kind would say.
    let say = |replicas: u32| {
        let status = format!(r#"{{"status":{{"replicas":{replicas},"selector":"app=fleet"}}}}"#);
        cluster.kubectl(&["patch", "fleet", "mine", "--subresource=status", "--type=merge", "-p", &status]).ok();
    };
    let wanted = |expected: &str| {
        eventually(120, || match cluster.kubectl(&["get", "fleet", "mine", "-o", "jsonpath={.spec.replicas}"]).ok() {
            found if found == expected => Ok(()),
            found => Err(format!("{found}\n{}", cluster.kubectl(&["describe", "hpa", "mine"]).stdout)),
        });
    };
    say(1);
    wanted("3");
    say(3);
    let row = cluster.kubectl(&["get", "hpa", "mine", "--no-headers"]).ok();
    assert!(row.split_whitespace().nth(1) == Some("Fleet/mine"), "{row}");
    assert_eq!(
        cluster
            .kubectl(&["get", "--raw", "/apis/example.com/v1/namespaces/default/fleets/mine/scale"])
            .ok()
            .matches("\"replicas\":3")
            .count(),
        2
    );
    cluster.kubectl(&["delete", "pod", "one"]).ok();
    cluster.kubectl_in(&["apply", "-f", "-"], &ship("two", "net-silent-connections")).ok();
    wanted("1");
}

/// Two that are known: one computes and computes, one holds so many bytes.
const KNOWN: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: known}
spec:
  selector: {matchLabels: {app: known}}
  template:
    metadata: {labels: {app: known}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: busy, image: 'hostile:v1', args: [spin], resources: {requests: {cpu: 100m}, limits: {cpu: 100m}}}
      - {name: holds, image: 'hostile:v1', args: [memory-hold], resources: {requests: {cpu: 100m}, limits: {memory: 256Mi}}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: known}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: known}
  maxReplicas: 1
  metrics:
  - {type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}
  - {type: Resource, resource: {name: memory, target: {type: AverageValue, averageValue: 1Gi}}}
  - {type: ContainerResource, containerResource: {name: cpu, container: busy, target: {type: Utilization, averageUtilization: 50}}}
";

/// What the component that holds something holds, and what it may take besides.
const HELD_MIB: std::ops::RangeInclusive<u64> = 160..=180;
/// A tenth of a processor, or less on a machine that is loaded.
const BUSY_MILLIS: std::ops::RangeInclusive<u64> = 20..=115;

#[test]
fn what_is_used_is_what_is_told() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    cluster.coracle(&["push", &example("hostile/hostile.wasm").display().to_string(), "hostile:v1"]).ok();
    cluster.kubectl_in(&["apply", "-f", "-"], KNOWN).ok();
    rolled_out(&cluster, "known");
    let number = |word: &str, unit: &str| word.strip_suffix(unit)?.parse::<u64>().ok();
    eventually(90, || {
        let told = cluster.kubectl(&["top", "pod", "-l", "app=known", "--containers", "--no-headers"]);
        let row = |name: &str| {
            let row = told
                .stdout
                .lines()
                .map(|line| line.split_whitespace().collect::<Vec<_>>())
                .find(|row| row[1] == name)?;
            Some((number(row[2], "m")?, number(row[3], "Mi")?))
        };
        match (row("busy"), row("holds")) {
            (Some((busy, small)), Some((idle, held)))
                if BUSY_MILLIS.contains(&busy) && small < 10 && idle < 10 && HELD_MIB.contains(&held) =>
            {
                Ok(())
            }
            _ => Err(format!("{}{}", told.stdout, told.stderr)),
        }
    });
    eventually(90, || {
        let told = cluster.kubectl(&["get", "hpa", "known", "-o", "json"]).ok();
        let value: Value = serde_json::from_str(&told).expect("an object");
        let metric = |index: usize| &value["status"]["currentMetrics"][index];
        let both = metric(0)["resource"]["current"]["averageUtilization"].as_u64();
        let bytes = metric(1)["resource"]["current"]["averageValue"].as_str().and_then(|text| {
            text.parse::<u64>()
                .ok()
                .or_else(|| Some(number(text, "Ki")? << 10))
                .or_else(|| Some(number(text, "Mi")? << 20))
        });
        let alone = metric(2)["containerResource"]["current"]["averageUtilization"].as_u64();
        // Of what both ask for, and of what the busy one asks for.
        let is_so = both.is_some_and(|both| (10..=60).contains(&both))
            && bytes.is_some_and(|bytes| HELD_MIB.contains(&(bytes >> 20)))
            && alone.is_some_and(|alone| BUSY_MILLIS.contains(&alone));
        if is_so { Ok(()) } else { Err(value["status"].to_string()) }
    });
}

/// Where the node answers for a service, connection by connection.
fn node_port(cluster: &Cluster, name: &str) -> SocketAddr {
    let path = "jsonpath={.spec.ports[0].nodePort}";
    let told = cluster.kubectl(&["get", "service", name, "-o", path]).ok();
    SocketAddr::new(Ipv4Addr::LOCALHOST.into(), told.parse().expect("a port"))
}

/// Waits until all pods are gone: of themselves the first time, which takes a look or two, and else because somebody says so.
fn sleeps(cluster: &Cluster, path: &str) {
    if path != "/" {
        cluster.kubectl(&["scale", "deploy/sleeper", "--replicas=0"]).ok();
    }
    comes_to(cluster, "sleeper", 0, 90);
}

#[test]
fn nothing_is_left_where_nothing_is_asked_and_whoever_asks_is_answered() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = cluster(&[app("caller"), app("sleeper"), TO_ZERO.to_owned()].concat());
    rolled_out(&cluster, "caller");
    let (edge, node) = (cluster.ingress(), node_port(&cluster, "sleeper"));
    for (at, host, path) in [
        (edge, "sleeper.localhost", "/"),
        (edge, "caller.localhost", "/call?url=http://sleeper/"),
        (node, "sleeper", "/?by=connection"),
    ] {
        sleeps(&cluster, path);
        let began = Instant::now();
        let answer = get(at, host, path).expect("an answer");
        eprintln!("{host}{path}: the first answer from nothing took {:?}", began.elapsed());
        assert!(answer.status == 200 && answer.body.starts_with("sleeper-"), "{path}: {answer:?}");
    }
    let told = cluster.kubectl(&["describe", "hpa", "sleeper"]).ok();
    assert!(told.contains("New size: 1; reason: requests wait for a pod"), "{told}");
    assert!(told.contains("New size: 0; reason: All metrics below target"), "{told}");

    // However often all of them are sent away while others ask, nobody is turned away.
    let load = Load::start(cluster.ingress(), "sleeper.localhost", "/", 4);
    for _ in 0..5 {
        eventually(30, || match replicas(&cluster, "sleeper") {
            (wanted, there) if wanted > 0 && there > 0 => Ok(()),
            other => Err(format!("{other:?}")),
        });
        let figures = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/default/pods/*/requests-per-second?labelSelector=app%3Dsleeper";
        eventually(30, || {
            let told = cluster.kubectl(&["get", "--raw", figures]);
            if told.code == 0 { Ok(()) } else { Err(told.stderr) }
        });
        cluster.kubectl(&["scale", "deploy/sleeper", "--replicas=0"]).ok();
    }
    let report = load.stop();
    assert_eq!(report.dropped(), 0, "{:?} {:?} {:?}", report.answers, report.refusals, report.failures);
    assert!(report.total() > 20, "the load was no load: {:?}", report.answers);
    assert!(report.bodies.len() > 3, "nobody was ever sent away: {:?}", report.bodies.keys());

    // Without the autoscaler nobody comes, and nobody waits for him.
    cluster.kubectl(&["delete", "hpa", "sleeper"]).ok();
    cluster.kubectl(&["scale", "deploy/sleeper", "--replicas=0"]).ok();
    comes_to(&cluster, "sleeper", 0, 30);
    eventually(30, || {
        let began = Instant::now();
        match get(cluster.ingress(), "sleeper.localhost", "/").map(|answer| answer.status) {
            Ok(503) if began.elapsed() < Duration::from_secs(5) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}
