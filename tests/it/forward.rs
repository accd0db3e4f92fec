//! Into a pod from outside of the cluster: port-forward, and the proxies of the API.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use harness::{Answer, Cluster, get, get_with, kubectl_is_there};
use http::Method;

use crate::with;

/// With this kubectl speaks the older framing.
const SPDY: [(&str, &str); 1] = [("KUBECTL_PORT_FORWARD_WEBSOCKETS", "false")];

/// A program that forwards or proxies for as long as this lives.
pub(crate) struct Helper {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Helper {
    /// Starts `kubectl` and reads off where it listens.
    pub(crate) fn kubectl(cluster: &Cluster, words: &[&str], env: &[(&str, &str)]) -> Self {
        let mut command = Command::new("kubectl");
        command.env("KUBECONFIG", cluster.kubeconfig()).env("HOME", cluster.data().join("kubectl-home"));
        command.args(words).envs(env.iter().copied());
        Self::start(command)
    }

    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
        let address = lines.find_map(|line| {
            line.split([' ', '\'']).find_map(|word| word.parse::<SocketAddr>().ok()).filter(SocketAddr::is_ipv4)
        });
        // It tells of every connection; somebody has to listen.
        std::thread::spawn(move || lines.for_each(drop));
        let Some(address) = address else {
            let mut told = String::new();
            let _ = child.stderr.take().expect("piped").read_to_string(&mut told);
            panic!("it does not listen: {told}");
        };
        Self { child, address }
    }

    fn ask(&self, path: &str) -> Answer {
        get(self.address, "localhost", path).expect("an answer")
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn says_hello(answer: &Answer) {
    assert!(answer.status == 200 && answer.body.contains("Hello, world!"), "{answer:?}");
}

#[test]
fn kubectl_forwards_ports() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&["hello", "probe"]);
    for env in [&[][..], &SPDY[..]] {
        for what in ["service/hello", "deployment/hello"] {
            let forward = Helper::kubectl(&cluster, &["port-forward", what, ":80"], env);
            for _ in 0..3 {
                says_hello(&forward.ask("/"));
            }
        }
        let forward = Helper::kubectl(&cluster, &["port-forward", "service/probe", ":80"], env);
        let large = "x".repeat(1 << 20);
        let echoed = get_with(forward.address, Method::POST, "localhost", "/echo", &[], large.clone());
        assert!(echoed.expect("an answer").body == large, "a megabyte comes back as it went");
        let at_once: Vec<_> = (0..8)
            .map(|_| {
                let address = forward.address;
                std::thread::spawn(move || get(address, "localhost", "/healthz").expect("an answer").status)
            })
            .collect();
        let codes: Vec<u16> = at_once.into_iter().map(|one| one.join().expect("no panic")).collect();
        assert_eq!(codes, [200; 8]);
    }
}

/// Says something, ends its half, and hears the rest.
fn half_a_talk(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(b"half a talk")?;
    stream.shutdown(Shutdown::Write)?;
    let mut heard = String::new();
    stream.read_to_string(&mut heard)?;
    Ok(heard)
}

#[test]
fn programs_of_sockets_are_forwarded_to() {
    let cluster = with(&["echo"]);
    cluster.coracle(&["rollout", "status", "deploy/echo", "--timeout", "60s"]).ok();
    let mut command = Command::new(crate::PROGRAM);
    command.args(["port-forward", "service/echo", "0:7"]).env("CORACLE_KUBECONFIG", cluster.kubeconfig());
    let mut forwards = vec![Helper::start(command)];
    if kubectl_is_there() {
        for env in [&[][..], &SPDY[..]] {
            forwards.push(Helper::kubectl(&cluster, &["port-forward", "service/echo", ":7"], env));
        }
    }
    for forward in &forwards {
        for _ in 0..3 {
            assert_eq!(half_a_talk(forward.address).expect("heard"), "half a talk");
        }
    }
}

#[test]
fn a_port_that_nobody_answers_is_told() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&["hello"]);
    let mut forward = Helper::kubectl(&cluster, &["port-forward", "deployment/hello", ":81"], &[]);
    get(forward.address, "localhost", "/").expect_err("nobody is there");
    let mut told = String::new();
    let mut stderr = BufReader::new(forward.child.stderr.take().expect("piped"));
    while !told.contains("an error occurred forwarding") {
        assert_ne!(stderr.read_line(&mut told).expect("lines"), 0, "{told}");
    }
    assert!(told.contains("error forwarding port 81 to pod hello-"), "{told}");
}

#[test]
fn coracle_forwards_ports() {
    let cluster = with(&["hello"]);
    for what in ["service/hello", "deploy/hello"] {
        let mut command = Command::new(crate::PROGRAM);
        command.args(["port-forward", what, "0:80"]).env("CORACLE_KUBECONFIG", cluster.kubeconfig());
        let forward = Helper::start(command);
        says_hello(&forward.ask("/"));
        says_hello(&forward.ask("/"));
    }
    let refused = cluster.coracle(&["port-forward", "service/nobody", "80"]).refused();
    assert!(refused.contains("services \"nobody\" not found"), "{refused}");
}

#[test]
fn the_api_leads_to_pods_and_services() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&["hello", "probe"]);
    let proxy = Helper::kubectl(&cluster, &["proxy", "--port=0"], &[]);
    let core = "/api/v1/namespaces/default";
    // Who answers requests has no TLS of its own, and needs none within the process.
    for name in ["hello", "hello:80", "hello:http", "http:hello:http", "https:hello:http"] {
        says_hello(&proxy.ask(&format!("{core}/services/{name}/proxy/")));
    }
    let pod = cluster.kubectl(&["get", "pods", "-l", "app=hello", "-o", "jsonpath={.items[0].metadata.name}"]).ok();
    says_hello(&proxy.ask(&format!("{core}/pods/{pod}/proxy/")));
    says_hello(&proxy.ask(&format!("{core}/pods/{pod}:80/proxy/")));
    says_hello(&proxy.ask(&format!("{core}/pods/https:{pod}:80/proxy/")));
    assert_eq!(proxy.ask("/api/v1/nodes/node-1/proxy/healthz").body, "ok");
    assert!(proxy.ask("/api/v1/nodes/https:node-1:/proxy/pods").body.contains(&format!("\"name\":\"{pod}\"")));
    assert_eq!(proxy.ask("/api/v1/nodes/node-1:22/proxy/").status, 400);

    let bare = proxy.ask(&format!("{core}/services/hello/proxy"));
    assert_eq!(
        (bare.status, bare.headers["location"].to_str().ok()),
        (301, Some(&*format!("{core}/services/hello/proxy/")))
    );
    assert_eq!(proxy.ask(&format!("{core}/services/probe/proxy/status?code=418")).status, 418, "the query goes along");
    let echoed =
        get_with(proxy.address, Method::POST, "localhost", &format!("{core}/services/probe/proxy/echo"), &[], "x");
    assert_eq!(echoed.expect("an answer").body, "x");
    let refused = proxy.ask(&format!("{core}/services/hello:81/proxy/"));
    assert!(refused.status == 503 && refused.body.contains("no service port 81 found"), "{refused:?}");
    assert_eq!(proxy.ask(&format!("{core}/services/nobody/proxy/")).status, 404);

    let node = |name: &str, path: &str| proxy.ask(&format!("/api/v1/nodes/{name}/proxy{path}"));
    let counted = node("node-1", "/metrics");
    assert!(
        counted.status == 200 && counted.body.contains("# TYPE coracle_network_policy_denied_total"),
        "{counted:?}"
    );
    let nothing = node("node-1", "/nothing");
    assert_eq!(nothing.status, 404, "{nothing:?}");
    let nobody = node("nobody", "/metrics");
    assert!(nobody.status == 404 && nobody.body.contains("nodes \\\"nobody\\\" not found"), "{nobody:?}");
}
