//! An ordinary user, with no rights of root, runs all of it: pods with addresses, servers on their own ports, services, node
//! ports, names and the ingress.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::time::Duration;

use harness::{Plan, eventually, get};

use crate::{PROGRAM, example};

/// Debian's `nobody`; any number would do that is not root's.
const NOBODY: u32 = 65534;

const NODE_PORT: &str = "
apiVersion: v1
kind: Service
metadata: {name: kv-outside}
spec:
  type: NodePort
  selector: {app: kv}
  ports: [{port: 6379, targetPort: redis}]
";

#[test]
fn an_ordinary_user_runs_everything() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let program = root.join("coracle");
    fs::copy(PROGRAM, &program).expect("the program can be copied");
    for name in ["hello", "kv"] {
        copy(&example(name), &root.join(name));
    }
    fs::write(root.join("outside.yaml"), NODE_PORT).expect("writable");
    let mut plan = Plan::new().on(&root.join("data"));
    for file in ["hello", "kv", "outside.yaml"] {
        plan = plan.apply(root.join(file));
    }
    // Whoever is not root already tells this story with everything else.
    if rustix::process::geteuid().is_root() {
        fs::set_permissions(root, fs::Permissions::from_mode(0o755)).expect("ours");
        chown(root, Some(NOBODY), Some(NOBODY)).expect("ours to give");
        plan = plan.run_as(NOBODY);
    }
    let cluster = plan.up(&program.display().to_string()).unwrap_or_else(|error| panic!("{error:#}"));

    let status = fs::read_to_string(format!("/proc/{}/status", cluster.pid())).expect("it runs");
    let field =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned();
    assert!(!field("Uid:").starts_with("0\t"), "{status}");
    assert_eq!(field("CapEff:").trim_matches('0'), "", "no capability at all");

    let answer = get(cluster.ingress(), "hello.localhost", "/").expect("an answer");
    assert!(answer.body.starts_with("Hello, world!"), "{}", answer.body);

    let service = cluster.coracle(&["get", "service", "kv-outside", "-o", "json"]).ok();
    let service: serde_json::Value = serde_json::from_str(&service).expect("JSON");
    let port = service["spec"]["ports"][0]["nodePort"].as_u64().expect("a port was given");
    let address = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).expect("a port")));
    eventually(30, || ping(address).map_err(|error| error.to_string()));
}

/// Asks a key-value server whether it is there.
fn ping(address: SocketAddr) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer)?;
    anyhow::ensure!(&answer == b"+PONG\r\n", "it said {:?}", String::from_utf8_lossy(&answer));
    Ok(())
}

/// What is to be applied: manifests and components, without sources.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("writable");
    for entry in fs::read_dir(from).expect("the example is there") {
        let path = entry.expect("readable").path();
        if path.is_file() {
            fs::copy(&path, to.join(path.file_name().expect("a file has a name"))).expect("writable");
        }
    }
}
