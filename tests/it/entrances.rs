//! Ways in that a manifest asks for by number: external addresses, ports of the node, ports where balancers ask; and what a
//! probe says of whom it asks.

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use harness::{Cluster, eventually, get};
use serde_json::Value;

use crate::{apply, manifest, with};

fn object(cluster: &Cluster, kind: &str, name: &str) -> Value {
    serde_json::from_str(&cluster.coracle(&["get", kind, name, "-o", "json"]).ok()).expect("JSON")
}

/// A port that was free a moment ago; nobody else on the machine is told of it.
fn free(at: IpAddr) -> SocketAddr {
    TcpListener::bind((at, 0)).and_then(|free| free.local_addr()).expect("a free port")
}

fn loopback() -> SocketAddr {
    free([127, 0, 0, 1].into())
}

/// This machine's address as others see it; none where it has only its loopback.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_loopback())
}

/// Asks until the answer is from a pod of the probe.
fn is_answered(at: SocketAddr) {
    eventually(30, || match get(at, "anything", "/") {
        Ok(answer) if answer.status == 200 && answer.body.starts_with("probe-") => Ok(()),
        other => Err(format!("{at}: {other:?}")),
    });
}

#[test]
fn a_service_is_reached_at_its_external_addresses() {
    let cluster = with(&["probe", "echo"]);
    let own = own_address().map(free);
    let (port, addresses) = match own {
        Some(own) => (own.port(), format!("{}, 192.0.2.10", own.ip())),
        None => (8088, "192.0.2.10".to_owned()),
    };
    let text = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: known}}\nspec: {{selector: {{app: probe}}, externalIPs: [{addresses}], ports: [{{port: {port}, targetPort: http}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: talk}}
spec: {{selector: {{app: echo}}, externalIPs: [192.0.2.10], ports: [{{name: t, port: 7, targetPort: tcp}}, {{name: u, port: 7, protocol: UDP, targetPort: udp}}]}}
"
    );
    apply(&cluster, &text);
    match own {
        Some(own) => is_answered(own),
        None => eprintln!("this machine has only its loopback: no listener of its own to ask"),
    }
    // To a pod each of them is the service, whosever the address is.
    for address in addresses.split(", ") {
        let path = format!("/call?url=http://{address}:{port}/");
        eventually(30, || match get(cluster.ingress(), "probe.localhost", &path) {
            Ok(answer) if answer.status == 200 && answer.body.starts_with("probe-") => Ok(()),
            other => Err(format!("{address}: {other:?}")),
        });
    }
    // Services may share an address, each with ports of its own.
    for path in ["/dial?to=192.0.2.10:7&say=ahoy", "/datagram?to=192.0.2.10:7&say=ahoy"] {
        eventually(30, || match get(cluster.ingress(), "probe.localhost", path) {
            Ok(answer) if answer.status == 200 && answer.body == "ahoy" => Ok(()),
            other => Err(format!("{path}: {other:?}")),
        });
    }
}

#[test]
fn a_balancer_asks_the_node_whether_it_has_endpoints() {
    let cluster = with(&["probe"]);
    let port = loopback().port();
    let text = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: local}}\nspec: {{type: LoadBalancer, externalTrafficPolicy: Local, selector: {{app: probe}}, ports: [{{port: {port}, targetPort: http}}]}}\n"
    );
    apply(&cluster, &text);
    let port = object(&cluster, "service", "local")["spec"]["healthCheckNodePort"].as_u64().expect("a port");
    let at = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).expect("a port")));
    let told = |status: u16, endpoints: u64| {
        let answer = eventually(30, || match get(at, "node", "/healthz") {
            Ok(answer) if answer.status == status => Ok(answer),
            other => Err(format!("{other:?}")),
        });
        let body: Value = serde_json::from_str(&answer.body).expect("JSON");
        assert_eq!(body["service"], serde_json::json!({"namespace": "default", "name": "local"}));
        assert_eq!((&body["localEndpoints"], &body["serviceProxyHealthy"]), (&endpoints.into(), &true.into()));
    };
    told(200, 1);
    cluster.coracle(&["scale", "deploy/probe", "--replicas", "0"]).ok();
    told(503, 0);
    let wanted = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: second}}\nspec: {{type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: {port}, ports: [{{port: 80}}]}}\n"
    );
    let folder = tempfile::tempdir().expect("a folder");
    let refused = cluster.coracle(&["apply", "-f", &manifest(folder.path(), &wanted)]).refused();
    assert!(
        refused.contains("spec.healthCheckNodePort: Invalid value") && refused.contains("already allocated"),
        "{refused}"
    );
}

#[test]
fn a_port_of_the_node_is_one_pods_and_carries_datagrams() {
    let cluster = with(&[]);
    let at = loopback();
    let echo = |name: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {{containers: [{{name: echo, image: EXAMPLES/echo/echo.wasm, ports: [{{containerPort: 7, protocol: UDP, hostPort: {}, hostIP: 127.0.0.1}}]}}]}}\n",
            at.port()
        )
    };
    apply(&cluster, &echo("first"));
    let client = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    client.set_read_timeout(Some(Duration::from_millis(200))).expect("a time");
    eventually(30, || {
        let mut heard = [0; 16];
        let asked = client.send_to(b"ahoy", at).and_then(|_| client.recv_from(&mut heard));
        let (length, from) = asked.map_err(|error| error.to_string())?;
        assert_eq!((&heard[..length], from), (&b"ahoy"[..], at));
        Ok(())
    });

    apply(&cluster, &echo("second"));
    eventually(30, || {
        let told = cluster.coracle(&["describe", "pod/second"]).ok();
        let words = "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports.";
        if told.contains(words) { Ok(()) } else { Err(told) }
    });
    cluster.coracle(&["delete", "pod/first"]).ok();
    eventually(30, || match &object(&cluster, "pod", "second")["status"]["phase"] {
        phase if phase == "Running" => Ok(()),
        phase => Err(phase.to_string()),
    });
}

#[test]
fn a_probe_asks_whom_it_names() {
    let cluster = with(&["hello"]);
    let there = loopback();
    let secure = cluster.ingress_tls();
    let text = format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: over-tls}}
spec:
  hostNetwork: true
  containers:
  - name: chat
    image: EXAMPLES/chat/chat.wasm
    args: [\"{there}\"]
    livenessProbe: {{httpGet: {{host: 127.0.0.1, port: {}, path: /}}, periodSeconds: 1}}
    readinessProbe:
      periodSeconds: 1
      httpGet: {{scheme: HTTPS, host: 127.0.0.1, port: {}, path: /, httpHeaders: [{{name: Host, value: hello.localhost}}]}}
---
apiVersion: v1
kind: Pod
metadata: {{name: reaches-out}}
spec:
  containers:
  - name: echo
    image: EXAMPLES/echo/echo.wasm
    readinessProbe: {{tcpSocket: {{host: 127.0.0.1, port: {}}}, periodSeconds: 1}}
",
        there.port(),
        secure.port(),
        there.port(),
    );
    apply(&cluster, &text);
    eventually(30, || match &object(&cluster, "pod", "over-tls")["status"]["containerStatuses"][0] {
        status if status["ready"] == true => Ok(()),
        status => Err(status.to_string()),
    });
    // Only who is on the node's network may have its loopback asked.
    eventually(30, || {
        let told = cluster.coracle(&["describe", "pod/reaches-out"]).ok();
        let words = "Readiness probe failed: 127.0.0.1 is not to be reached from a pod";
        if told.contains(words) { Ok(()) } else { Err(told) }
    });
    let status = object(&cluster, "pod", "over-tls")["status"]["containerStatuses"][0].clone();
    assert_eq!((&status["restartCount"], &status["ready"]), (&0.into(), &true.into()), "{status}");
}
