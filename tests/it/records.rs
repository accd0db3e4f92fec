//! Every record of the Kubernetes DNS specification, as `dig` and `nslookup` see it.

use std::net::SocketAddr;
use std::process::Command;

use harness::{Cluster, Output, Plan, eventually};

use crate::{PROGRAM, example};

/// Services of every kind, with endpoints written by hand: none of them needs a running pod.
const WORLD: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: records}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: records}
spec:
  clusterIP: 10.43.77.5
  ports: [{name: http, port: 80}, {name: dns, port: 53, protocol: UDP}]
---
apiVersion: v1
kind: Service
metadata: {name: plain, namespace: records}
spec:
  clusterIP: 10.43.77.6
  ports: [{port: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: records}
spec:
  clusterIP: None
  ports: [{name: sql, port: 5432}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-1, namespace: records, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
ports: [{name: sql, port: 5432, protocol: TCP}]
endpoints:
  - {addresses: [10.42.77.4], hostname: db-0, conditions: {ready: true}}
  - {addresses: [10.42.77.5], conditions: {ready: true}}
  - {addresses: [10.42.77.6], hostname: db-2, conditions: {ready: false}}
---
apiVersion: v1
kind: Service
metadata: {name: quiet, namespace: records}
spec:
  clusterIP: None
  ports: [{name: sql, port: 5432}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: quiet-1, namespace: records, labels: {kubernetes.io/service-name: quiet}}
addressType: IPv4
ports: [{name: sql, port: 5432, protocol: TCP}]
endpoints:
  - {addresses: [10.42.77.7], conditions: {ready: false}}
---
apiVersion: v1
kind: Service
metadata: {name: eager, namespace: records}
spec:
  clusterIP: None
  publishNotReadyAddresses: true
  ports: [{name: sql, port: 5432}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: eager-1, namespace: records, labels: {kubernetes.io/service-name: eager}}
addressType: IPv4
ports: [{name: sql, port: 5432, protocol: TCP}]
endpoints:
  - {addresses: [10.42.77.8], conditions: {ready: false}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: six-1, namespace: records, labels: {kubernetes.io/service-name: db}}
addressType: IPv6
ports: [{name: sql, port: 5432, protocol: TCP}]
endpoints:
  - {addresses: ["fd00:42::4"], hostname: db-0, conditions: {ready: true}}
---
apiVersion: v1
kind: Service
metadata: {name: inside, namespace: records}
spec: {type: ExternalName, externalName: web.records.svc.cluster.local}
"#;

/// What `dig` is asked, and the data of the answers it prints, sorted; or the word for the lack of them.
const ROWS: &[(&str, &str)] = &[
    // 2.2: the version of the schema.
    ("dns-version.cluster.local TXT", "\"1.1.0\""),
    // 2.3: a service with a cluster IP.
    ("web.records.svc.cluster.local A", "10.43.77.5"),
    ("WEB.Records.SVC.cluster.local A", "10.43.77.5"),
    ("kubernetes.default.svc.cluster.local A", "10.43.0.1"),
    ("web.records.svc.cluster.local AAAA", "NOERROR"),
    ("_http._tcp.web.records.svc.cluster.local SRV", "0 100 80 web.records.svc.cluster.local."),
    ("_dns._udp.web.records.svc.cluster.local SRV", "0 100 53 web.records.svc.cluster.local."),
    ("_dns._tcp.web.records.svc.cluster.local SRV", "NXDOMAIN"),
    ("_tcp.plain.records.svc.cluster.local SRV", "NXDOMAIN"),
    ("-x 10.43.77.5", "web.records.svc.cluster.local."),
    // 2.4: a headless service.
    ("db.records.svc.cluster.local A", "10.42.77.4 10.42.77.5"),
    ("db.records.svc.cluster.local AAAA", "fd00:42::4"),
    ("db-0.db.records.svc.cluster.local A", "10.42.77.4"),
    ("db-0.db.records.svc.cluster.local AAAA", "fd00:42::4"),
    ("10-42-77-5.db.records.svc.cluster.local A", "10.42.77.5"),
    ("db-2.db.records.svc.cluster.local A", "NXDOMAIN"),
    ("quiet.records.svc.cluster.local A", "NXDOMAIN"),
    ("eager.records.svc.cluster.local A", "10.42.77.8"),
    (
        "_sql._tcp.db.records.svc.cluster.local SRV",
        "0 100 5432 10-42-77-5.db.records.svc.cluster.local. 0 100 5432 db-0.db.records.svc.cluster.local.",
    ),
    ("-x 10.42.77.4", "db-0.db.records.svc.cluster.local."),
    // 2.5: a name elsewhere, here one that is the cluster's as well.
    ("inside.records.svc.cluster.local CNAME", "web.records.svc.cluster.local."),
    ("inside.records.svc.cluster.local A", "10.43.77.5 web.records.svc.cluster.local."),
    // What lies between is there, and what does not is not.
    ("records.svc.cluster.local A", "NOERROR"),
    ("_tcp.web.records.svc.cluster.local A", "NOERROR"),
    ("*.records.svc.cluster.local A", "NXDOMAIN"),
    ("nobody.records.svc.cluster.local A", "NXDOMAIN"),
    ("-x 10.43.77.99", "NXDOMAIN"),
    // The zone itself, and what nobody gets.
    ("cluster.local NS", "ns.dns.cluster.local."),
    ("ns.dns.cluster.local A", "10.43.0.10"),
    ("cluster.local AXFR", "REFUSED"),
    ("web.records.svc.cluster.local ANY", "10.43.77.5"),
    ("web.records.svc.cluster.local A -c CH", "REFUSED"),
];

/// What `dig` prints, put as in [`ROWS`].
fn dig(cluster: &Cluster, question: &str, more: &[&str]) -> String {
    dig_at(cluster.dns(), question, more)
}

/// The same, of another server.
fn dig_at(server: SocketAddr, question: &str, more: &[&str]) -> String {
    let mut command = Command::new("dig");
    command.arg(format!("@{}", server.ip())).args(["-p", &server.port().to_string(), "+timeout=5", "+nocookie"]);
    command.args(["+noall", "+comments", "+answer"]).args(more).args(question.split(' '));
    let said = Output::of(command, None).stdout;
    let data = |line: &str| line.split_whitespace().skip(4).collect::<Vec<_>>().join(" ");
    let is_record = |line: &&str| !line.starts_with(';') && !line.trim().is_empty();
    let mut answers: Vec<String> = said.lines().filter(is_record).map(data).collect();
    answers.sort();
    if !answers.is_empty() {
        return answers.join(" ");
    }
    let status = said.lines().find_map(|line| line.split_once("status: ")?.1.split(',').next());
    // A transfer that is refused has no such line.
    status.unwrap_or(if said.contains("Transfer failed") { "REFUSED" } else { &said }).to_owned()
}

fn is_there(program: &str, argument: &str) -> bool {
    let there = Command::new(program).arg(argument).output().is_ok();
    assert!(there || std::env::var_os("CORACLE_REQUIRE_PEERS").is_none(), "{program} is required here");
    if !there {
        eprintln!("{program} is not on the PATH: this story is left out");
    }
    there
}

#[test]
fn every_record_of_the_specification_is_there() {
    if !is_there("dig", "-v") || !is_there("nslookup", "-version") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("records.yaml");
    std::fs::write(&file, WORLD).expect("the folder can be written to");
    let cluster = Plan::new().apply(example("hello")).apply(file).up(PROGRAM).expect("a cluster");
    eventually(10, || match dig(&cluster, "eager.records.svc.cluster.local A", &[]) {
        told if told == "10.42.77.8" => Ok(()),
        told => Err(told),
    });
    for (question, expected) in ROWS {
        assert_eq!(dig(&cluster, question, &[]), *expected, "{question}");
        assert_eq!(dig(&cluster, question, &["+tcp"]), *expected, "{question} over TCP");
        assert_eq!(dig(&cluster, question, &["+noedns"]), *expected, "{question} without EDNS");
    }
    // 2.6: a pod, by the address it really has.
    let words = ["get", "pods", "-l", "app=hello", "-o", "jsonpath={.items[0].status.podIP}"];
    let address = cluster.kubectl(&words).ok();
    let label = address.replace('.', "-");
    assert_eq!(dig(&cluster, &format!("{label}.default.pod.cluster.local A"), &[]), address);
    assert_eq!(dig(&cluster, &format!("{label}.records.pod.cluster.local A"), &[]), "NXDOMAIN");
    assert_eq!(dig(&cluster, "10-42-200-200.default.pod.cluster.local A", &[]), "NXDOMAIN");
    // EDNS of a version that is not known, and options that are not.
    let name = "web.records.svc.cluster.local A";
    assert_eq!(dig(&cluster, name, &["+edns=1", "+noednsneg"]), "BADVERS");
    assert_eq!(dig(&cluster, name, &["+ednsopt=65001:abcd", "+dnssec", "+cookie"]), "10.43.77.5");
    nslookup(&cluster);
}

fn nslookup(cluster: &Cluster) {
    let port = format!("-port={}", cluster.dns().port());
    let ask = |words: &[&str]| {
        let mut command = Command::new("nslookup");
        command.arg(&port).args(words).arg("127.0.0.1");
        Output::of(command, None).stdout
    };
    for (words, expected) in [
        (&["web.records.svc.cluster.local"][..], "Address: 10.43.77.5"),
        (&["10.43.77.5"], "name = web.records.svc.cluster.local."),
        (&["-type=SRV", "_http._tcp.web.records.svc.cluster.local"], "0 100 80 web.records.svc.cluster.local."),
        (&["-type=TXT", "dns-version.cluster.local"], "text = \"1.1.0\""),
        (&["-type=CNAME", "inside.records.svc.cluster.local"], "canonical name = web.records.svc.cluster.local."),
        (&["-type=AAAA", "db-0.db.records.svc.cluster.local"], "fd00:42::4"),
        (&["-type=SOA", "cluster.local"], "origin = ns.dns.cluster.local"),
        (&["nobody.records.svc.cluster.local"], "server can't find nobody.records.svc.cluster.local: NXDOMAIN"),
    ] {
        let said = ask(words);
        assert!(said.contains(expected), "nslookup {words:?}: {said}");
    }
}

/// An Ingress that is to be called by names of a public zone.
const PUBLIC: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: edge, namespace: default}
spec:
  clusterIP: 10.43.77.9
  ports: [{name: http, port: 80}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: edge
  annotations: {external-dns.alpha.kubernetes.io/target: 192.0.2.80, external-dns.alpha.kubernetes.io/ttl: "60"}
spec:
  rules:
    - host: www.example.com
      http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: edge, port: {name: http}}}}]}
    - host: "*.apps.example.com"
      http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: edge, port: {name: http}}}}]}
"#;

#[test]
fn the_world_and_the_machine_are_answered_in_their_own_terms() {
    if !is_there("dig", "-v") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("public.yaml");
    std::fs::write(&file, PUBLIC).expect("the folder can be written to");
    let flags = ["--dns-mirror", "127.0.0.1:0", "--dns-public-zone", "example.com"];
    let cluster = Plan::new().say(&flags).apply(file).up(PROGRAM).expect("a cluster");
    for (question, expected) in [
        ("www.example.com A", "192.0.2.80"),
        ("anything.apps.example.com A", "192.0.2.80"),
        ("www.example.com AAAA", "NOERROR"),
        ("nobody.example.com A", "NXDOMAIN"),
        ("example.com NS", "ns.example.com."),
        ("edge.default.svc.cluster.local A", "10.43.77.9"),
    ] {
        eventually(10, || match dig(&cluster, question, &[]) {
            told if told == expected => Ok(()),
            told => Err(format!("{question}: {told}")),
        });
    }
    let addresses = std::fs::read(cluster.data().join("addresses.json")).expect("the addresses are written");
    let addresses: serde_json::Value = serde_json::from_slice(&addresses).expect("as JSON");
    let mirror = addresses["dnsMirror"].as_str().and_then(|text| text.parse().ok()).expect("the mirror's address");
    assert_eq!(dig_at(mirror, "edge.default.svc.cluster.local A", &[]), "127.43.77.9");
    assert_eq!(dig_at(mirror, "-x 127.43.77.9", &[]), "edge.default.svc.cluster.local.");
}
