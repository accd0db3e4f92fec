//! A server with a disk of its own loses nothing that it has acknowledged, whatever becomes of its pod and of the process that runs it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use harness::{Cluster, Plan, eventually, kubectl_is_there};

use crate::{PROGRAM, example};

const REPLICAS: usize = 3;

/// A port of the node for each pod.
const DOOR: &str = "apiVersion: v1
kind: Service
metadata: {name: door-NUMBER}
spec:
  type: NodePort
  selector: {statefulset.kubernetes.io/pod-name: kv-NUMBER}
  ports: [{port: 6379}]
---
";

/// A connection to a server, that speaks Redis' protocol.
struct Line {
    stream: BufReader<TcpStream>,
}

impl Line {
    fn dial(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    fn say(&mut self, words: &str) -> std::io::Result<String> {
        self.stream.get_mut().write_all(format!("{words}\r\n").as_bytes())?;
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if line.starts_with('$') && line.trim_end() != "$-1" {
            line.clear();
            self.stream.read_line(&mut line)?;
        }
        Ok(line.trim_end().to_owned())
    }
}

/// Writes one key after the other until it is to stop, whoever is there to listen; gives those that were acknowledged.
fn write(address: SocketAddr, stop: &AtomicBool, count: &AtomicUsize) -> BTreeMap<String, String> {
    let mut acknowledged = BTreeMap::new();
    let mut line = None;
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (key, value) = (format!("key-{number}"), format!("value-{number}"));
        let told = match &mut line {
            None => Line::dial(address).and_then(|dialled| line.insert(dialled).say(&format!("SET {key} {value}"))),
            Some(line) => line.say(&format!("SET {key} {value}")),
        };
        match told.as_deref() {
            Ok("+OK") => {
                acknowledged.insert(key, value);
                count.fetch_add(1, Ordering::Relaxed);
            }
            _ => {
                line = None;
                thread::park_timeout(Duration::from_millis(20));
            }
        }
    }
    acknowledged
}

/// The address of each pod's port of the node.
fn doors(cluster: &Cluster) -> Vec<SocketAddr> {
    let port = |number: usize| {
        let path = "jsonpath={.spec.ports[0].nodePort}";
        let told = cluster.kubectl(&["get", "service", &format!("door-{number}"), "-o", path]).ok();
        SocketAddr::from(([127, 0, 0, 1], told.parse().expect("a port")))
    };
    (0..REPLICAS).map(port).collect()
}

/// Waits until more is acknowledged than was.
fn goes_on(count: &AtomicUsize) {
    let before = count.load(Ordering::Relaxed);
    eventually(90, || match count.load(Ordering::Relaxed) {
        now if now >= before + 100 => Ok(()),
        now => Err(format!("{} of 100 more writes were acknowledged", now - before)),
    });
}

fn all_answer(doors: &[SocketAddr]) {
    for door in doors {
        eventually(90, || match Line::dial(*door).and_then(|mut line| line.say("PING")) {
            Ok(told) if told == "+PONG" => Ok(()),
            other => Err(format!("{door}: {other:?}")),
        });
    }
}

#[test]
fn nothing_that_a_server_on_a_claim_has_acknowledged_is_lost() {
    if !kubectl_is_there() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let cluster = Plan::new().on(&data).apply(example("kv-set")).up(PROGRAM).expect("up");
    let services: String = (0..REPLICAS).map(|number| DOOR.replace("NUMBER", &number.to_string())).collect();
    cluster.kubectl_in(&["apply", "-f", "-"], &services).ok();
    let doors = doors(&cluster);
    all_answer(&doors);

    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let writers: Vec<_> = doors
        .iter()
        .map(|door| {
            let (door, stop, count) = (*door, stop.clone(), count.clone());
            thread::spawn(move || write(door, &stop, &count))
        })
        .collect();
    goes_on(&count);
    let k = |words: &[&str]| cluster.kubectl(words).ok();
    k(&["delete", "pod", "kv-1", "--grace-period=0", "--force"]);
    goes_on(&count);
    k(&["delete", "pod", "-l", "app=kv", "--wait=false"]);
    goes_on(&count);
    cluster.kill().expect("killed");
    let cluster = Plan::new().on(&data).up(PROGRAM).expect("up again");
    all_answer(&doors);
    goes_on(&count);
    cluster.kill().expect("killed");
    let cluster = Plan::new().on(&data).up(PROGRAM).expect("up again");
    all_answer(&doors);
    stop.store(true, Ordering::Relaxed);

    let mut found = 0;
    for (door, writer) in doors.iter().zip(writers) {
        let acknowledged = writer.join().expect("a writer does not panic");
        let mut line = Line::dial(*door).expect("it answers");
        for (key, value) in acknowledged {
            assert_eq!(line.say(&format!("GET {key}")).expect("it answers"), value, "{door}: {key}");
            found += 1;
        }
    }
    assert!(found >= 400, "too few writes to mean anything: {found}");
    let claims = cluster.kubectl(&["get", "pvc", "-o", "name"]).ok();
    assert_eq!(claims.lines().count(), REPLICAS, "{claims}");
}
