//! Services as real clients meet them: at ports of the node, on its loopback, with sessions, and with what is outside behind
//! them.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use harness::{Cluster, eventually, get};
use serde_json::Value;

use crate::{manifest, with};

const PATIENCE: Duration = Duration::from_secs(10);

fn apply(cluster: &Cluster, text: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    cluster.coracle(&["apply", "-f", &manifest(folder.path(), text)]).ok();
}

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

/// This machine's address as others see it; none where it has only its loopback.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_loopback())
}

/// A server that is no pod: it answers HTTP with a few words, and anything else with the same in capitals.
fn outside(at: IpAddr) -> SocketAddr {
    let listener = TcpListener::bind((at, 0)).expect("a free port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut heard = [0; 4096];
            let length = stream.read(&mut heard).unwrap_or_default();
            let heard = String::from_utf8_lossy(&heard[..length]);
            let answer = if heard.starts_with("GET ") {
                "HTTP/1.1 200 OK\r\ncontent-length: 12\r\nconnection: close\r\n\r\nfrom outside".to_owned()
            } else {
                heard.to_uppercase()
            };
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

#[test]
fn a_service_without_a_selector_does_not_lead_to_the_node_itself() {
    let Some(own) = own_address() else {
        eprintln!("this machine has only its loopback: there is no other address of its own to lead to");
        return;
    };
    let there = outside(own);
    let cluster = with(&["probe"]);
    let leading = |name: &str, to: SocketAddr| {
        format!(
            "
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  type: NodePort
  ports: [{{name: sql, port: 5432}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-1, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{name: sql, port: {port}}}]
endpoints: [{{addresses: [{ip}]}}]
---
",
            port = to.port(),
            ip = to.ip(),
        )
    };
    apply(&cluster, &leading("database", there));
    let call = |service: &str| {
        let path = format!("/call?url=http://{service}.default.svc:5432/");
        get(cluster.ingress(), "probe.localhost", &path).map_err(|error| error.to_string())
    };
    eventually(30, || match call("database") {
        Ok(answer) if answer.status == 502 && answer.body.contains("HttpRequestDenied") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert!(say(node_port(&cluster, "database", "sql"), "select 1").is_err(), "nor does a node port lead there");

    // Nobody is led to the node's own loopback, whatever he writes down.
    let folder = tempfile::tempdir().expect("a folder");
    let trick = leading("trick", outside(Ipv4Addr::LOCALHOST.into()));
    let refused = cluster.coracle(&["apply", "-f", &manifest(folder.path(), &trick)]);
    assert!(refused.code != 0 && refused.stderr.contains("may not be in the loopback range"), "{refused:?}");
}
