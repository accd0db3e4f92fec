//! Another authority takes the place of the one there is, and nobody who was good is refused until people say so.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use harness::{Load, Output, Servers, eventually, get, kubectl_is_there, peer_is_there};

use crate::{PROGRAM, manifest};

const APP: &str = "apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  nodeName: agent-0
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
";

/// A program of its own TLS, which knows the API by what every pod finds.
fn asks(name: &str) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  nodeName: agent-0
  restartPolicy: Never
  containers: [{{name: main, image: EXAMPLES/tls/tls.wasm, args: [get, 'https://kubernetes.default.svc/version']}}]
"
    )
}

/// The program with a kubeconfig that somebody has.
fn with(kubeconfig: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(words).env("CORACLE_KUBECONFIG", kubeconfig);
    Output::of(command, None)
}

/// What curl, which has another library for TLS, says of a server of which it trusts nobody but `ca`.
fn curl(ca: &Path, api: &str) -> Output {
    let mut command = Command::new("curl");
    command.args(["-s", "-S", "--max-time", "20", "--noproxy", "*", "--cacert"]).arg(ca);
    command.arg(format!("https://{api}/version"));
    Output::of(command, None)
}

/// Each of those whom a server trusts in a file of its own, the one that signs first.
fn authorities(servers: &Servers, folder: &Path) -> Vec<std::path::PathBuf> {
    let bundle = std::fs::read_to_string(servers.data(0).join("pki/ca.crt")).expect("authorities");
    let ends = bundle.split_inclusive("-----END CERTIFICATE-----\n").filter(|one| !one.trim().is_empty());
    ends.enumerate()
        .map(|(place, one)| {
            let file = folder.join(format!("authority-{place}.pem"));
            std::fs::write(&file, one).expect("written");
            file
        })
        .collect()
}

/// Whether everybody has gone over, as `certificate status` tells.
fn is_over(told: &str) -> bool {
    told.lines().all(|line| !line.trim_end().ends_with("no"))
}

/// Stops those who ask, however the story ends.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn another_authority_comes_and_nobody_is_refused_until_the_old_one_is_retired() {
    let mut servers = Servers::of(PROGRAM, 3);
    servers.agent(0);
    let folder = servers.folder().to_owned();
    let apply = |servers: &Servers, text: &str| servers.coracle(0, &["apply", "-f", &manifest(&folder, text)]).ok();
    apply(&servers, &(APP.to_owned() + "---\n" + &asks("before")));
    servers.coracle(0, &["wait", "--for=condition=Ready", "pod/web", "--timeout", "120s"]).ok();
    let has_asked = |servers: &Servers, pod: &str| {
        // Ciphers are much to compile for a program that is itself not optimised.
        let pod = format!("pod/{pod}");
        servers.coracle(0, &["wait", "--for=jsonpath={.status.phase}=Succeeded", &pod, "--timeout", "240s"]).ok();
    };
    has_asked(&servers, "before");
    let ingress = servers.agent_ingress(0);
    eventually(60, || match get(ingress, "web.localhost", "/") {
        Ok(answer) if answer.status == 200 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let old = folder.join("old.kubeconfig");
    std::fs::copy(servers.kubeconfig(0), &old).expect("copied");
    let [old_ca] = &authorities(&servers, &folder)[..] else { panic!("one authority") };
    let old_ca_kept = folder.join("old.pem");
    std::fs::copy(old_ca, &old_ca_kept).expect("copied");
    let token = servers.coracle(0, &["token"]).ok();

    let (stop, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let load = Load::start_paced(ingress, "web.localhost", "/", 2, Duration::from_millis(20));
    thread::scope(|scope| {
        let stopping = Stop(&stop);
        // The first server never stops: whoever asks it is never refused, by what he has in the drawer and by what is written there.
        let new = servers.kubeconfig(0);
        let asking: Vec<_> = [old.clone(), new]
            .into_iter()
            .map(|kubeconfig| {
                let (stop, asked) = (&stop, &asked);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        with(&kubeconfig, &["get", "configmap", "-n", "kube-system", "kube-root-ca.crt"]).ok();
                        asked.fetch_add(1, Ordering::Relaxed);
                        thread::sleep(Duration::from_millis(100));
                    }
                })
            })
            .collect();

        // One server is away: nothing goes further than it could follow, whoever leads.
        servers.coracle(0, &["member", "lead", &servers.id(1)]).ok();
        servers.kill(2);
        let waiting = servers.coracle(0, &["certificate", "rotate-ca", "--timeout", "2s"]).refused();
        assert!(waiting.contains(&format!("server {}", servers.api(2))), "{waiting}");
        let told = servers.coracle(0, &["certificate", "status"]).ok();
        assert!(told.starts_with("phase: introduced") && told.matches("authority ").count() == 2, "{told}");
        let refused = servers.coracle(0, &["certificate", "retire-ca"]).refused();
        assert!(refused.contains("no authority can be retired: it is introduced"), "{refused}");
        servers.start(2);
        let gone_over = |servers: &Servers| {
            eventually(60, || match servers.coracle(0, &["certificate", "status"]) {
                told if told.stdout.starts_with("phase: turned") && is_over(&told.stdout) => Ok(()),
                told => Err(format!("{told:?}")),
            });
        };
        gone_over(&servers);
        // A new leader finds all as it was, and so does a server that starts anew.
        servers.kill(1);
        servers.start(1);
        gone_over(&servers);
        let again = servers.coracle(0, &["certificate", "rotate-ca"]).refused();
        assert!(again.contains("an authority is on its way out already"), "{again}");

        // Whoever knows only one of the two is convinced, by whichever library, and so is a pod, and a machine with a token of before.
        let both = authorities(&servers, &folder);
        assert_eq!(both.len(), 2);
        for place in 0..3 {
            let api = servers.api(place);
            if peer_is_there("curl") {
                for ca in [&both[0], &both[1], &old_ca_kept] {
                    assert!(curl(ca, &api).ok().contains("coracle"), "{}", ca.display());
                }
            }
        }
        apply(&servers, &asks("turned"));
        has_asked(&servers, "turned");
        let late = servers.agent_with(0, token.trim());
        assert_eq!(late, 1);
        if kubectl_is_there() {
            let mut command = Command::new("kubectl");
            command.args(["get", "nodes"]).env("KUBECONFIG", &old).env("HOME", &folder);
            assert!(Output::of(command, None).ok().contains("agent-1"));
        }
        drop(stopping);
        for one in asking {
            one.join().expect("nobody was refused");
        }
    });
    assert!(asked.load(Ordering::Relaxed) > 10, "they asked all the time");

    // A server that joins now is one of both.
    let third = servers.join();
    servers.settled(4);
    servers.kill_agent(1);
    eventually(60, || match servers.coracle(third, &["certificate", "status"]) {
        told if told.code == 0 && is_over(&told.stdout) => Ok(()),
        told => Err(format!("{told:?}")),
    });
    let told = servers.coracle(third, &["certificate", "retire-ca"]).ok();
    assert!(!told.contains("left out"), "{told}");
    eventually(60, || match with(&old, &["get", "nodes"]) {
        refused if refused.code != 0 => Ok(()),
        told => Err(told.stdout),
    });
    if peer_is_there("curl") {
        for place in servers.all_alive() {
            eventually(60, || match curl(&old_ca_kept, &servers.api(place)) {
                refused if refused.code != 0 => Ok(()),
                told => Err(told.stdout),
            });
        }
    }
    let told = with(&servers.kubeconfig(0), &["certificate", "status"]).ok();
    assert!(told.starts_with("phase: settled") && told.matches("authority ").count() == 1, "{told}");
    let report = load.stop();
    assert!(report.dropped() == 0 && report.total() > 100, "{} of {}: {report:?}", report.dropped(), report.total());

    // Everything starts anew, a node that was away while it happened included.
    let all = servers.all_alive();
    for place in &all {
        servers.kill(*place);
    }
    servers.kill_agent(0);
    servers.start_all(&all);
    servers.start_agent(0);
    servers.start_agent(1);
    servers.settled(4);
    servers.coracle(0, &["wait", "--for=condition=Ready", "node/agent-1", "--timeout", "120s"]).ok();
    let ingress = servers.agent_ingress(0);
    eventually(120, || match get(ingress, "web.localhost", "/") {
        Ok(answer) if answer.status == 200 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    apply(&servers, &asks("after"));
    has_asked(&servers, "after");
    with(&old, &["get", "nodes"]).refused();
    servers.agent(0);
}
