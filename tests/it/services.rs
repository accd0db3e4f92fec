//! Services as real clients meet them: at ports of the node, on its loopback, with sessions; and as pods do.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use harness::{Cluster, Plan, eventually, get, get_with};
use http::Method;
use serde_json::Value;

use crate::{PROGRAM, apply, example, with};

const PATIENCE: Duration = Duration::from_secs(10);

fn service(cluster: &Cluster, name: &str) -> Value {
    let told = cluster.coracle(&["get", "service", name, "-o", "json"]).ok();
    serde_json::from_str(&told).expect("an object")
}

/// Where the node answers for a port of a service.
fn node_port(cluster: &Cluster, name: &str, port: &str) -> SocketAddr {
    let service = service(cluster, name);
    let ports = service["spec"]["ports"].as_array().expect("ports");
    let found = ports.iter().find(|one| one["name"] == port).expect("the port")["nodePort"].as_u64().expect("a number");
    SocketAddr::new(Ipv4Addr::LOCALHOST.into(), u16::try_from(found).expect("a port"))
}

/// Says something over TCP and hears all of the answer.
fn say(to: SocketAddr, words: &str) -> Result<String, String> {
    let told = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE).map_err(told)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(told)?;
    stream.write_all(words.as_bytes()).map_err(told)?;
    stream.shutdown(Shutdown::Write).map_err(told)?;
    let mut heard = String::new();
    stream.read_to_string(&mut heard).map_err(told)?;
    if heard.is_empty() { Err("nothing was heard".to_owned()) } else { Ok(heard) }
}

/// Says something over UDP and hears one answer from the address that was asked.
fn send(to: SocketAddr, words: &str) -> Result<String, String> {
    let told = |error: std::io::Error| error.to_string();
    let socket = UdpSocket::bind("127.0.0.1:0").map_err(told)?;
    socket.connect(to).map_err(told)?;
    socket.set_read_timeout(Some(Duration::from_secs(1))).map_err(told)?;
    socket.send(words.as_bytes()).map_err(told)?;
    let mut heard = [0; 1024];
    let length = socket.recv(&mut heard).map_err(told)?;
    Ok(String::from_utf8_lossy(&heard[..length]).into_owned())
}

const AT_THE_NODE: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  selector: {app: probe}
  ports: [{name: http, port: 8088, targetPort: http}]
---
apiVersion: v1
kind: Service
metadata: {name: talk}
spec:
  type: NodePort
  selector: {app: echo}
  ports: [{name: tcp, port: 7, targetPort: tcp}, {name: udp, port: 7, protocol: UDP, targetPort: udp}]
";

#[test]
fn services_answer_at_ports_of_the_node_and_on_its_loopback() {
    let cluster = with(&["probe", "echo"]);
    apply(&cluster, AT_THE_NODE);
    let (web, tcp, udp) =
        (node_port(&cluster, "web", "http"), node_port(&cluster, "talk", "tcp"), node_port(&cluster, "talk", "udp"));
    eventually(30, || match get(web, "anything", "/") {
        Ok(answer) if answer.status == 200 && answer.body.starts_with("probe-") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(eventually(30, || say(tcp, "over tcp")), "over tcp");
    assert_eq!(eventually(30, || send(udp, "over udp")), "over udp");

    // What pods reach at 10.43.x.y, the programs of the node reach at 127.43.x.y.
    let address: Ipv4Addr =
        service(&cluster, "web")["spec"]["clusterIP"].as_str().and_then(|ip| ip.parse().ok()).expect("an address");
    let [_, second, third, fourth] = address.octets();
    let mirrored = SocketAddr::new(Ipv4Addr::new(127, second, third, fourth).into(), 8088);
    let answer = eventually(10, || get(mirrored, "web", "/").map_err(|error| error.to_string()));
    assert!(answer.body.starts_with("probe-"), "{answer:?}");

    cluster.coracle(&["delete", "service", "talk"]).ok();
    eventually(10, || match TcpStream::connect_timeout(&tcp, PATIENCE) {
        Err(_) => Ok(()),
        Ok(_) => Err("the port still answers".to_owned()),
    });
}

#[test]
fn a_client_keeps_its_pod_where_the_service_says_so() {
    let cluster = with(&["probe"]);
    cluster.coracle(&["scale", "deploy/probe", "--replicas", "3"]).ok();
    apply(
        &cluster,
        "
apiVersion: v1
kind: Service
metadata: {name: loose}
spec:
  type: NodePort
  selector: {app: probe}
  ports: [{name: http, port: 80, targetPort: http}]
---
apiVersion: v1
kind: Service
metadata: {name: sticky}
spec:
  type: NodePort
  selector: {app: probe}
  sessionAffinity: ClientIP
  ports: [{name: http, port: 80, targetPort: http}]
",
    );
    let who = |at: SocketAddr| get(at, "probe", "/").map(|answer| answer.body).map_err(|error| error.to_string());
    let several = |at: SocketAddr| -> BTreeSet<String> { (0..30).filter_map(|_| who(at).ok()).collect() };
    let (loose, sticky) = (node_port(&cluster, "loose", "http"), node_port(&cluster, "sticky", "http"));
    eventually(60, || match several(loose) {
        all if all.len() == 3 => Ok(()),
        some => Err(format!("only {some:?} answer")),
    });
    eventually(10, || who(sticky));
    let kept = several(sticky);
    assert_eq!(kept.len(), 1, "one client, one pod: {kept:?}");
}

#[test]
fn a_front_end_passes_what_it_is_asked_on_to_its_back_end() {
    // The page of Kubernetes' documentation, with only the images changed.
    // An address of its own, so that nobody else has the balancer's port.
    let [_, _, third, fourth] = std::process::id().to_be_bytes();
    let address = Ipv4Addr::new(127, 80, third, fourth);
    let plan = Plan::new().apply(example("front-end")).say(&["--node-ports", &address.to_string()]);
    let cluster = plan.up(PROGRAM).unwrap_or_else(|error| panic!("{error:#}"));
    eventually(30, || match &service(&cluster, "frontend")["status"]["loadBalancer"]["ingress"][0]["ip"] {
        Value::String(_) => Ok(()),
        other => Err(format!("the balancer has no address: {other}")),
    });
    let port = &service(&cluster, "frontend")["spec"]["ports"][0]["nodePort"];
    let mut doors = vec![u16::try_from(port.as_u64().expect("a port was given")).expect("a port")];
    // The balancer's own port is one that only root may open.
    doors.extend(rustix::process::geteuid().is_root().then_some(80));
    for port in &doors {
        let at = SocketAddr::from((address, *port));
        let mut heard = BTreeSet::new();
        eventually(60, || {
            let answer = get(at, "frontend", "/").map_err(|error| error.to_string())?;
            heard.insert(answer.body.clone());
            if answer.status == 200 && heard.len() == 3 { Ok(()) } else { Err(format!("{answer:?} of {heard:?}")) }
        });
        assert!(heard.iter().all(|words| words.starts_with("Hello!\nI am backend-")), "{heard:?}");
        let lost = get_with(at, Method::POST, "frontend", "/a/b?c=d", &[("x-trace", "1")], "words").expect("an answer");
        assert_eq!((lost.status, lost.body.trim()), (404, "nothing at /a/b"), "the answer is the back end's");
    }
    // Without a back end the front end says so, and with it goes on.
    cluster.coracle(&["scale", "deploy/backend", "--replicas", "0"]).ok();
    let at = SocketAddr::from((address, doors[0]));
    let comes_to = |status: u16| {
        eventually(60, || match get(at, "frontend", "/") {
            Ok(answer) if answer.status == status => Ok(()),
            other => Err(format!("{other:?}")),
        });
    };
    comes_to(502);
    cluster.coracle(&["scale", "deploy/backend", "--replicas", "1"]).ok();
    comes_to(200);
}

const TELLERS: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: teller}
spec:
  replicas: 3
  selector: {matchLabels: {app: teller}}
  template:
    metadata: {labels: {app: teller}}
    spec:
      containers:
      - name: dial
        image: EXAMPLES/dial/dial.wasm
        args: [tell, \"0.0.0.0:5353\"]
        ports: [{name: asked, containerPort: 5353, protocol: UDP}]
---
apiVersion: v1
kind: Service
metadata: {name: teller}
spec:
  selector: {app: teller}
  ports: [{port: 53, protocol: UDP, targetPort: asked}]
";
const ASKER: &str = "apiVersion: v1
kind: Pod
metadata: {name: asker}
spec:
  restartPolicy: OnFailure
  containers: [{name: dial, image: EXAMPLES/dial/dial.wasm, args: [ask, \"teller:53\", \"40\"]}]
";

#[test]
fn datagrams_of_a_pod_are_shared_out_and_answered_by_the_service() {
    let cluster = with(&[]);
    apply(&cluster, TELLERS);
    cluster.coracle(&["rollout", "status", "deploy/teller", "--timeout", "60s"]).ok();
    apply(&cluster, ASKER);
    let log = eventually(60, || match cluster.coracle(&["logs", "asker"]).stdout {
        log if log.lines().count() == 40 => Ok(log),
        log => Err(log),
    });
    let told = service(&cluster, "teller");
    let from = format!("{}:53 says \"teller-", told["spec"]["clusterIP"].as_str().expect("an address"));
    let mut tellers = BTreeSet::new();
    for (number, line) in log.lines().enumerate() {
        let words = line.strip_prefix(&from).unwrap_or_else(|| panic!("{line}: not from {from}"));
        let (teller, heard) = words.split_once(' ').expect("two words");
        assert_eq!(heard, format!("heard question {number}\""));
        tellers.insert(teller.to_owned());
    }
    assert_eq!(tellers.len(), 3, "{tellers:?}");
}
