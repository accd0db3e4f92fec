//! What is outside of the cluster: services that lead to it, and name servers that pods choose for themselves.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::thread;

use harness::{Fleet, Namespaces, Server, eventually, get, namespaces_are_possible, peer_is_there};
use serde_json::Value;

use crate::{PROGRAM, example, manifest, with};

/// A server that is no pod: it answers HTTP with a few words, and anything else with the same in capitals.
fn answer(listener: TcpListener) -> SocketAddr {
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

/// A service without a selector, and the endpoints that somebody wrote down for it.
fn leading(name: &str, to: SocketAddr) -> String {
    format!(
        "apiVersion: v1
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
",
        port = to.port(),
        ip = to.ip(),
    )
}

/// Two machines: the cluster is the first, the second is outside.
fn machines() -> Option<Namespaces> {
    let is_possible = namespaces_are_possible() && peer_is_there("curl");
    is_possible.then(|| Namespaces::new(2).unwrap_or_else(|why| panic!("{why}")))
}

#[test]
fn a_service_without_a_selector_leads_out_of_the_cluster() {
    let Some(machines) = machines() else { return };
    let there = answer(machines.listen(1, 3306));
    let fleet = Fleet::on_some_of(machines, PROGRAM, Server::IsNode, 0);
    fleet.coracle(&["apply", "-f", &example("probe").display().to_string()]).ok();
    fleet.coracle(&["apply", "-f", &manifest(fleet.folder(), &leading("database", there))]).ok();
    fleet.coracle(&["rollout", "status", "deploy/probe", "--timeout", "60s"]).ok();
    let service = fleet.coracle(&["get", "service", "database", "-o", "json"]).ok();
    let service: Value = serde_json::from_str(&service).expect("an object");
    let address = service["spec"]["clusterIP"].as_str().expect("an address");
    for (path, words) in [
        ("/dial?say=select+1&to=database:5432", "SELECT 1"),
        ("/dial?say=select+1&to=database.default.svc.cluster.local:5432", "SELECT 1"),
        (&format!("/dial?say=select+1&to={address}:5432"), "SELECT 1"),
        ("/call?url=http://database:5432/", "from outside"),
    ] {
        eventually(30, || match fleet.get(0, 0, "probe.localhost", path) {
            Ok((200, body)) if body == words => Ok(()),
            other => Err(format!("{path}: {other:?}")),
        });
    }
}

/// This machine's address as others see it; none where it has only its loopback.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_loopback())
}

fn free(ip: IpAddr) -> TcpListener {
    TcpListener::bind((ip, 0)).expect("a free port")
}

#[test]
fn a_service_without_a_selector_does_not_lead_to_the_node_itself() {
    let Some(own) = own_address() else {
        eprintln!("this machine has only its loopback: there is no other address of its own to lead to");
        return;
    };
    let cluster = with(&["probe"]);
    let folder = tempfile::tempdir().expect("a folder");
    let apply = |text: &str| cluster.coracle(&["apply", "-f", &manifest(folder.path(), text)]);
    apply(&leading("database", answer(free(own)))).ok();
    eventually(30, || match get(cluster.ingress(), "probe.localhost", "/call?url=http://database.default.svc:5432/") {
        Ok(answer) if answer.status == 502 && answer.body.contains("HttpRequestDenied") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let service = cluster.coracle(&["get", "service", "database", "-o", "json"]).ok();
    let service: Value = serde_json::from_str(&service).expect("an object");
    let port = service["spec"]["ports"][0]["nodePort"].as_u64().expect("a port was given");
    let port = SocketAddr::from((Ipv4Addr::LOCALHOST, u16::try_from(port).expect("a port")));
    assert!(get(port, "database", "/").is_err(), "nor does a node port lead there");

    // Nobody is led to the node's own loopback, whatever he writes down.
    let trick = leading("trick", answer(free(Ipv4Addr::LOCALHOST.into())));
    let refused = apply(&trick).refused();
    assert!(refused.contains("may not be in the loopback range"), "{refused}");
}

/// A name server of somebody's own, for `corp.example`.
struct NameServer(Child);

impl NameServer {
    fn start(machines: &Namespaces, machine: usize, folder: &std::path::Path) -> Self {
        let zone = "$TTL 300\n@ SOA ns hostmaster 1 7200 1800 86400 5\n@ NS ns\nns A 192.0.2.2\n\
                    db A 198.51.100.1\ndb.corp.example A 198.51.100.2\ninner.deep A 198.51.100.3\nother A 192.0.2.2\n";
        let config = format!(
            "options {{ directory \"{0}\"; pid-file none; listen-on {{ {1}; }}; listen-on-v6 {{ none; }}; recursion no; }};\n\
             controls {{ }};\nzone \"corp.example\" {{ type primary; file \"zone\"; }};\n",
            folder.display(),
            Namespaces::address(machine),
        );
        std::fs::write(folder.join("zone"), zone).expect("written");
        std::fs::write(folder.join("named.conf"), config).expect("written");
        let mut command: Command = machines.command(machine, "named");
        command.arg("-g").arg("-c").arg(folder.join("named.conf"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("named starts"))
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const OUT_BY_NAME: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: out, annotations: {coracle.dev/egress-names: \"ns.corp.example:8000\"}}
spec: {podSelector: {matchLabels: {app: probe}}, policyTypes: [Egress]}
";

#[test]
fn a_policy_lets_pods_out_by_name() {
    if !peer_is_there("named") {
        return;
    }
    let Some(machines) = machines() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    machines.resolve(0, "nameserver 192.0.2.2\n");
    let _server = NameServer::start(&machines, 1, folder.path());
    answer(machines.listen(1, 8000));
    answer(machines.listen(1, 8001));
    let fleet = Fleet::on_some_of(machines, PROGRAM, Server::IsNode, 0);
    fleet.coracle(&["apply", "-f", &example("probe").display().to_string()]).ok();
    fleet.coracle(&["rollout", "status", "deploy/probe", "--timeout", "60s"]).ok();
    let comes_to = |path: &str, status: u16| {
        eventually(30, || match fleet.get(0, 0, "probe.localhost", path) {
            Ok((found, body)) if found == status => Ok(body),
            other => Err(format!("{path}: {other:?}, not {status}")),
        })
    };
    let dial = |host: &str| format!("/dial?say=ahoy&to={host}");
    for host in ["192.0.2.2:8000", "other.corp.example:8000", "ns.corp.example:8001"] {
        assert_eq!(comes_to(&dial(host), 200), "AHOY");
    }
    fleet.coracle(&["apply", "-f", &manifest(fleet.folder(), OUT_BY_NAME)]).ok();
    for host in ["192.0.2.2:8000", "other.corp.example:8000", "ns.corp.example:8001"] {
        comes_to(&dial(host), 502);
    }
    assert_eq!(comes_to(&dial("ns.corp.example:8000"), 200), "AHOY");
    assert_eq!(comes_to("/call?url=http://ns.corp.example:8000/", 200), "from outside");
    comes_to("/call?url=http://other.corp.example:8000/", 502);
    comes_to(&dial("ns.corp.example:8001"), 502);
}

/// How a pod looks up names, one such name, and its address if there is one.
const LOOKS: &[(&str, &str, Option<&str>)] = &[
    // The cluster's names, then the machine's: both whom it asks and how it completes.
    ("", "kubernetes.default", Some("10.43.0.1")),
    ("dnsPolicy: ClusterFirst,", "db.corp.example.", Some("198.51.100.1")),
    ("dnsPolicy: ClusterFirst,", "db.corp.example", Some("198.51.100.2")),
    ("dnsPolicy: ClusterFirst,", "db", Some("198.51.100.1")),
    // The machine's alone.
    ("dnsPolicy: Default,", "db", Some("198.51.100.1")),
    ("dnsPolicy: Default,", "kubernetes.default.svc.cluster.local", None),
    // On the node's network the cluster's have to be asked for.
    ("hostNetwork: true,", "db", Some("198.51.100.1")),
    ("hostNetwork: true,", "kubernetes.default.svc.cluster.local", None),
    ("hostNetwork: true, dnsPolicy: ClusterFirstWithHostNet,", "kubernetes.default", Some("10.43.0.1")),
    // Only what the pod says itself.
    ("dnsPolicy: None, dnsConfig: {nameservers: [192.0.2.2]},", "db.corp.example", Some("198.51.100.1")),
    ("dnsPolicy: None, dnsConfig: {nameservers: [192.0.2.2]},", "db", None),
    ("dnsPolicy: None, dnsConfig: {nameservers: [192.0.2.2]},", "kubernetes.default.svc.cluster.local", None),
    (
        "dnsPolicy: None, dnsConfig: {nameservers: [192.0.2.2], searches: [nowhere.example, deep.corp.example]},",
        "inner",
        Some("198.51.100.3"),
    ),
    // With fewer dots than that a name is completed before it is taken as it stands.
    (
        "dnsPolicy: None, dnsConfig: {nameservers: [192.0.2.2], searches: [corp.example], options: [{name: ndots, value: \"2\"}]},",
        "db.corp.example",
        Some("198.51.100.1"),
    ),
    (
        "dnsPolicy: None, dnsConfig: {nameservers: [192.0.2.2], searches: [corp.example], options: [{name: ndots, value: \"3\"}]},",
        "db.corp.example",
        Some("198.51.100.2"),
    ),
    // An alias is known before anybody is asked.
    ("hostAliases: [{ip: 203.0.113.9, hostnames: [db.corp.example]}],", "db.corp.example", Some("203.0.113.9")),
    ("dnsPolicy: Default, hostAliases: [{ip: 203.0.113.9, hostnames: [sea]}],", "sea", Some("203.0.113.9")),
];

#[test]
fn a_pod_says_whom_it_asks_for_names() {
    if !peer_is_there("named") {
        return;
    }
    let Some(machines) = machines() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    machines.resolve(0, "nameserver 192.0.2.2\nsearch corp.example\n");
    let _server = NameServer::start(&machines, 1, folder.path());
    let fleet = Fleet::on_some_of(machines, PROGRAM, Server::IsNode, 0);
    eventually(30, || {
        let mut dig = fleet.namespaces().command(0, "dig");
        dig.args(["+short", "+time=1", "+tries=1", "@192.0.2.2", "db.corp.example"]);
        let told = harness::Output::of(dig, None);
        if told.stdout.trim() == "198.51.100.1" { Ok(()) } else { Err(format!("{told:?}")) }
    });
    let pod = |(number, (spec, name, _)): (usize, &(&str, &str, Option<&str>))| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: look-{number}}}\nspec: {{{spec} restartPolicy: Never, \
             containers: [{{name: dial, image: EXAMPLES/dial/dial.wasm, args: [lookup, {name}]}}]}}\n"
        )
    };
    let pods: Vec<String> = LOOKS.iter().enumerate().map(pod).collect();
    fleet.coracle(&["apply", "-f", &manifest(fleet.folder(), &pods.join("---\n"))]).ok();
    for (number, (spec, name, expected)) in LOOKS.iter().enumerate() {
        let pod = format!("look-{number}");
        let phase = if expected.is_some() { "Succeeded" } else { "Failed" };
        eventually(60, || {
            let told: Value = serde_json::from_str(&fleet.coracle(&["get", "pod", &pod, "-o", "json"]).ok())
                .map_err(|error| error.to_string())?;
            let found = told["status"]["phase"].as_str().unwrap_or_default();
            let logs = || fleet.coracle(&["logs", &pod]);
            if found == phase { Ok(()) } else { Err(format!("{spec} {name}: {found}, {:?}", logs())) }
        });
        let told = fleet.coracle(&["logs", &pod]).ok();
        match expected {
            Some(address) => assert_eq!(told.trim(), *address, "{spec} {name}"),
            None => assert!(told.contains("failed to lookup"), "{spec} {name}: {told}"),
        }
    }
}
