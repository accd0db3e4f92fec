//! Services have names: in the DNS server, in what pods ask for, and on the node's own loopback.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use harness::{Output, Plan, eventually, get, peer_is_there};
use serde_json::Value;

use crate::{PROGRAM, example, manifest, with};

/// Asks for one record and gives the response code and the answers' addresses (A) or raw data.
pub(crate) fn ask(server: SocketAddr, name: &str, kind: u16) -> (u8, Vec<Vec<u8>>) {
    let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).expect("a label"));
        query.extend(label.as_bytes());
    }
    query.push(0);
    query.extend(kind.to_be_bytes());
    query.extend([0, 1]);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    socket.send_to(&query, server).expect("sent");
    let mut answer = [0; 1232];
    let length = socket.recv(&mut answer).expect("an answer");
    let answer = &answer[..length];
    let count = u16::from_be_bytes([answer[6], answer[7]]);
    let mut place = query.len();
    let mut records = Vec::new();
    for _ in 0..count {
        place = after_name(answer, place);
        let length = usize::from(u16::from_be_bytes([answer[place + 8], answer[place + 9]]));
        records.push(answer[place + 10..place + 10 + length].to_vec());
        place += 10 + length;
    }
    (answer[3] & 0x0f, records)
}

fn after_name(answer: &[u8], mut place: usize) -> usize {
    loop {
        match answer[place] {
            0 => return place + 1,
            length if length & 0xc0 == 0xc0 => return place + 2,
            length => place += usize::from(length) + 1,
        }
    }
}

pub(crate) const A: u16 = 1;
const SRV: u16 = 33;
const PTR: u16 = 12;

#[test]
fn the_dns_server_knows_services() {
    let cluster = with(&["hello"]);
    let (code, addresses) = eventually(10, || {
        let answer = ask(cluster.dns(), "hello.default.svc.cluster.local", A);
        if answer.0 == 0 { Ok(answer) } else { Err(format!("{answer:?}")) }
    });
    assert_eq!((code, addresses.len()), (0, 1));
    let address = &addresses[0];
    assert_eq!(address[..2], [10, 43], "a cluster IP");
    let reverse = format!("{}.{}.{}.{}.in-addr.arpa", address[3], address[2], address[1], address[0]);
    assert_eq!(ask(cluster.dns(), &reverse, PTR).1.len(), 1);
    let (code, services) = ask(cluster.dns(), "_http._tcp.hello.default.svc.cluster.local", SRV);
    assert_eq!((code, services.len()), (0, 1));
    assert_eq!(services[0][4..6], [0, 80], "the port");
    assert_eq!(ask(cluster.dns(), "nothing.default.svc.cluster.local", A), (3, vec![]), "NXDOMAIN");
    let (code, records) = ask(cluster.dns(), "kubernetes.default.svc.cluster.local", A);
    assert_eq!((code, records), (0, vec![vec![10, 43, 0, 1]]));
}

#[test]
fn pods_call_each_other_by_name() {
    let cluster = with(&["probe", "hello"]);
    for url in [
        "http://hello",
        "http://hello.default",
        "http://hello.default.svc",
        "http://hello.default.svc.cluster.local",
        "http://hello:80/",
    ] {
        let path = format!("/call?url={}", url.replace(':', "%3A").replace('/', "%2F"));
        let answer = get(cluster.ingress(), "probe.localhost", &path).expect("an answer");
        assert!(
            answer.status == 200 && answer.body.contains("Hello, world!"),
            "{url}: {} {}",
            answer.status,
            answer.body
        );
    }
    let answer = get(cluster.ingress(), "probe.localhost", "/call?url=http%3A%2F%2Fnobody").expect("an answer");
    assert!(!answer.body.contains("Hello"), "{}", answer.body);
    // The node's own loopback and the control plane are out of a pod's reach.
    for forbidden in [cluster.api(), cluster.ingress()] {
        let path = format!("/call?url=http%3A%2F%2F{}", forbidden.to_string().replace(':', "%3A"));
        let answer = get(cluster.ingress(), "probe.localhost", &path).expect("an answer");
        assert_ne!(answer.status, 200, "{forbidden} was reached: {}", answer.body);
    }
}

const SHARDS: &str = "apiVersion: v1
kind: Service
metadata: {name: shards}
spec: {clusterIP: None, selector: {app: kv}, ports: [{name: redis, port: 6379}]}
";

/// A pod as a StatefulSet would have made it. Before it serves, it tells the others that it comes.
fn shard(number: usize, others: &[usize]) -> String {
    let mut text = format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: kv-{number}, labels: {{app: kv}}}}
spec:
  hostname: kv-{number}
  subdomain: shards
  terminationGracePeriodSeconds: 1
  containers:
  - name: kv
    image: EXAMPLES/kv/kv.wasm
    args: [serve]
    ports: [{{name: redis, containerPort: 6379}}]
    readinessProbe: {{tcpSocket: {{port: redis}}, periodSeconds: 1}}
  initContainers:
"
    );
    for other in others {
        let words = format!("\"kv-{other}.shards:6379\", SET, heard-of-{number}, \"at {other}\"");
        let _ = writeln!(text, "  - {{name: to-{other}, image: EXAMPLES/kv/kv.wasm, args: [{words}]}}");
    }
    text
}

#[test]
fn pods_of_a_headless_service_find_each_other_by_name() {
    let cluster = with(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let apply = |text: &str| cluster.coracle(&["apply", "-f", &manifest(folder.path(), text)]).ok();
    let address = |number: usize| {
        let pod = cluster.coracle(&["get", "pod", &format!("kv-{number}"), "-o", "json"]).ok();
        let pod: Value = serde_json::from_str(&pod).expect("an object");
        let address = pod["status"]["podIP"].as_str().and_then(|ip| ip.parse().ok());
        address.map(|ip: Ipv4Addr| ip.octets().to_vec()).ok_or_else(|| format!("{pod}"))
    };
    let comes = |number: usize, others: &[usize]| {
        apply(&shard(number, others));
        let pod = format!("kv-{number}");
        cluster.coracle(&["wait", "--for=condition=Ready", &format!("pod/{pod}"), "--timeout", "60s"]).ok();
        for other in others {
            assert_eq!(cluster.coracle(&["logs", &pod, "-c", &format!("to-{other}")]).ok().trim(), "OK");
        }
        let name = format!("{pod}.shards.default.svc.cluster.local");
        let expected = (0, vec![address(number).expect("an address")]);
        eventually(10, || match ask(cluster.dns(), &name, A) {
            told if told == expected => Ok(()),
            told => Err(format!("{name}: {told:?}, not {expected:?}")),
        });
    };
    apply(SHARDS);
    comes(0, &[]);
    comes(1, &[0]);
    comes(2, &[0, 1]);
    assert_eq!(ask(cluster.dns(), "shards.default.svc.cluster.local", A).1.len(), 3);
    assert_eq!(ask(cluster.dns(), "_redis._tcp.shards.default.svc.cluster.local", SRV).1.len(), 3);
    // Who comes again is found by its name again, whatever its address; it has forgotten what it was told.
    let was = address(0).expect("an address");
    cluster.coracle(&["delete", "pod/kv-0"]).ok();
    eventually(30, || match cluster.coracle(&["get", "pod", "kv-0"]) {
        told if told.code != 0 => Ok(()),
        told => Err(told.stdout),
    });
    comes(0, &[1, 2]);
    assert_ne!(address(0).expect("an address"), was);

    let looks = [(1, 2, "at 1"), (1, 0, "at 1"), (2, 0, "at 2"), (2, 1, "(nil)"), (0, 1, "(nil)")];
    let reader = looks.map(|(at, of, _)| {
        let words = format!("\"kv-{at}.shards.default.svc:6379\", GET, heard-of-{of}");
        format!("{{name: at-{at}-of-{of}, image: EXAMPLES/kv/kv.wasm, args: [{words}]}}")
    });
    let spec = format!("spec: {{restartPolicy: Never, containers: [{}]}}", reader.join(", "));
    apply(&format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: reader}}\n{spec}\n"));
    for (at, of, words) in looks {
        eventually(60, || match cluster.coracle(&["logs", "reader", "-c", &format!("at-{at}-of-{of}")]) {
            told if told.stdout.trim() == words => Ok(()),
            told => Err(format!("kv-{at} of kv-{of}: {told:?}, not {words}")),
        });
    }
}

const WEB: &str = "apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: hello}, ports: [{port: 8088, targetPort: http}]}
";

#[test]
fn programs_of_the_node_reach_services_by_name() {
    if !peer_is_there("dig") || !peer_is_there("curl") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let plan = Plan::new().apply(example("hello")).apply(manifest(folder.path(), WEB));
    let plan = plan.say(&["--mirror-services", "true", "--dns-mirror", "127.0.0.1:0"]);
    let cluster = plan.up(PROGRAM).unwrap_or_else(|error| panic!("{error:#}"));
    let dig = |server: SocketAddr, words: &[&str]| {
        let mut command = Command::new("dig");
        command.args(["+short", "+time=5", "+tries=1", &format!("@{}", server.ip()), "-p", &server.port().to_string()]);
        command.args(words);
        Output::of(command, None).ok().trim().to_owned()
    };
    let name = "web.default.svc.cluster.local";
    let inside: Ipv4Addr = eventually(10, || {
        let told = dig(cluster.dns(), &[name]);
        told.parse().map_err(|_| told)
    });
    let [_, second, third, fourth] = inside.octets();
    let mirrored = Ipv4Addr::new(127, second, third, fourth);
    assert_eq!((inside.octets()[0], second), (10, 43));
    assert_eq!(dig(cluster.dns_mirror(), &[name]), mirrored.to_string());
    assert_eq!(dig(cluster.dns_mirror(), &["-x", &mirrored.to_string()]), format!("{name}."));
    let curl = |host: &str, at: IpAddr| {
        let mut command = Command::new("curl");
        command.args(["-sS", "--max-time", "20", "--noproxy", "*", "--resolve", &format!("{host}:8088:{at}")]);
        command.arg(format!("http://{host}:8088/"));
        Output::of(command, None)
    };
    let told = eventually(10, || match curl(name, mirrored.into()) {
        told if told.code == 0 => Ok(told.stdout),
        told => Err(told.stderr),
    });
    assert!(told.starts_with("Hello, world!"), "{told}");
    // With the service its address goes.
    cluster.coracle(&["delete", "service", "web"]).ok();
    eventually(10, || match (dig(cluster.dns_mirror(), &[name]), curl(name, mirrored.into())) {
        (told, asked) if told.is_empty() && asked.code == 7 => Ok(()),
        other => Err(format!("{other:?}")),
    });
}
