//! Public names told to a real name server: BIND, from Debian.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use api::{Object, Revision, kinds};
use dns::update::{Config, Key};
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use serde_json::json;
use state::Snapshot;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(60);
const KEY: &str = "key \"coracle\" { algorithm hmac-sha256; secret \"bm90IGEgc2VjcmV0IHdvcnRoIGtlZXBpbmcgIQ==\"; };";

/// A running name server for `example.com`, in which somebody else has a record.
struct Bind {
    child: Child,
    said: mpsc::UnboundedReceiver<String>,
    address: SocketAddr,
    _folder: Folder,
}

struct Folder(std::path::PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Drop for Bind {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Bind {
    /// None: there is none on this machine.
    async fn start(name: &str) -> Option<Self> {
        let is_there = Command::new("named").arg("-v").output().is_ok();
        assert!(is_there || std::env::var_os("CORACLE_REQUIRE_PEERS").is_none(), "named is required here");
        if !is_there {
            eprintln!("named is not on the PATH: this test is left out");
            return None;
        }
        let folder = Folder(std::env::temp_dir().join(format!("dns-update-{name}-{}", std::process::id())));
        std::fs::create_dir_all(&folder.0).expect("a folder");
        let port = UdpSocket::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound").port();
        let at = folder.0.display();
        let config = format!(
            "{KEY}\noptions {{ directory \"{at}\"; pid-file \"{at}/pid\"; session-keyfile \"{at}/session\";\n\
             listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; recursion no; dnssec-validation no; }};\n\
             controls {{ }};\n\
             zone \"example.com\" {{ type primary; file \"{at}/zone\"; allow-update {{ key coracle; }};\n\
             allow-transfer {{ key coracle; }}; }};\n"
        );
        let zone = "$TTL 300\n@ SOA ns.example.com. hostmaster.example.com. 1 7200 1800 86400 5\n@ NS ns\n\
                    ns A 127.0.0.1\nmail A 198.51.100.1\n";
        std::fs::write(folder.0.join("named.conf"), config).expect("written");
        std::fs::write(folder.0.join("zone"), zone).expect("written");
        let (child, said) = start_named(&folder.0.join("named.conf"));
        let bind = Self { child, said, address: SocketAddr::from(([127, 0, 0, 1], port)), _folder: folder };
        bind.comes_to("mail", RecordType::A, "198.51.100.1").await;
        Some(bind)
    }

    /// Waits until the server says so of a name.
    async fn comes_to(&self, name: &str, kind: RecordType, expected: &str) {
        let mut last = String::new();
        let looking = async {
            loop {
                last = self.ask(name, kind).await;
                if last == expected {
                    return;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        assert!(timeout(PATIENCE, looking).await.is_ok(), "{name} {kind}: {last:?} instead of {expected:?}");
    }

    /// Waits until the server's log has these words.
    async fn says(&mut self, words: &str) {
        let listening = async { while !self.said.recv().await.expect("it goes on").contains(words) {} };
        assert!(timeout(PATIENCE, listening).await.is_ok(), "it does not say {words:?}");
    }

    async fn ask(&self, name: &str, kind: RecordType) -> String {
        let mut message = Message::new(7, MessageType::Query, OpCode::Query);
        message.add_query(Query::query(Name::from_ascii(format!("{name}.example.com.")).expect("a name"), kind));
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        socket.send_to(&message.to_vec().expect("encodes"), self.address).await.expect("sent");
        let mut buffer = [0; 4096];
        let received = timeout(Duration::from_millis(500), socket.recv(&mut buffer)).await;
        let Ok(Ok(length)) = received else { return "no answer".into() };
        let answer = Message::from_vec(&buffer[..length]).expect("decodes");
        let mut data: Vec<String> = answer.answers.iter().map(|record| record.data.to_string()).collect();
        data.sort();
        if data.is_empty() { format!("{:?}", answer.metadata.response_code) } else { data.join(" ") }
    }
}

/// The server, and the lines of its log.
fn start_named(config: &Path) -> (Child, mpsc::UnboundedReceiver<String>) {
    let mut command = Command::new("named");
    command.arg("-g").arg("-c").arg(config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("named starts");
    let log = BufReader::new(child.stderr.take().expect("piped"));
    let (say, said) = mpsc::unbounded_channel();
    // Somebody has to read to the end, heard or not.
    std::thread::spawn(move || log.lines().map_while(Result::ok).for_each(|line| drop(say.send(line))));
    (child, said)
}

fn ingress(name: &str, host: &str, address: &str) -> Object {
    let value = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": name, "namespace": "default"}, "spec": {"rules": [{"host": host}]},
        "status": {"loadBalancer": {"ingress": [{"ip": address}]}}});
    Object::from_value(kinds::INGRESS, &value).expect("an ingress")
}

fn world(revision: u64, objects: impl IntoIterator<Item = Object>) -> Snapshot {
    Snapshot::load(Revision(revision), objects)
}

fn config(bind: &Bind, key: &str) -> Config {
    let key: Key = key.parse().expect("a key");
    Config { server: bind.address, zones: vec!["example.com".into()], key, owner: "test".into() }
}

#[tokio::test]
async fn a_server_elsewhere_is_told_what_is_public() {
    let Some(bind) = Bind::start("told").await else { return };
    let first = [ingress("web", "www.example.com", "192.0.2.1"), ingress("mail", "mail.example.com", "192.0.2.1")];
    let (sender, view) = watch::channel(world(1, first));
    let (stop, stopped) = oneshot::channel::<()>();
    let telling = tokio::spawn(dns::update::run(config(&bind, KEY), view, async {
        let _ = stopped.await;
    }));
    bind.comes_to("www", RecordType::A, "192.0.2.1").await;
    let text = "heritage=external-dns,external-dns/owner=test,external-dns/resource=ingress/default/web";
    bind.comes_to("a-www", RecordType::TXT, text).await;
    sender.send_replace(world(
        2,
        [ingress("web", "www.example.com", "192.0.2.2"), ingress("apps", "*.apps.example.com", "192.0.2.3")],
    ));
    bind.comes_to("www", RecordType::A, "192.0.2.2").await;
    bind.comes_to("anything.apps", RecordType::A, "192.0.2.3").await;
    // Whoever starts anew knows from the zone what is his.
    stop.send(()).expect("still running");
    timeout(PATIENCE, telling).await.expect("in time").expect("no panic").expect("a clean end");
    let (_sender, view) = watch::channel(world(3, []));
    let telling = tokio::spawn(dns::update::run(config(&bind, KEY), view, std::future::pending()));
    bind.comes_to("www", RecordType::A, "NXDomain").await;
    bind.comes_to("a-www", RecordType::TXT, "NXDomain").await;
    bind.comes_to("anything.apps", RecordType::A, "NXDomain").await;
    // What was there before is still there, although somebody wanted its name.
    bind.comes_to("mail", RecordType::A, "198.51.100.1").await;
    telling.abort();
}

#[tokio::test]
async fn nobody_is_told_without_the_key() {
    let Some(mut bind) = Bind::start("refused").await else { return };
    let (_sender, view) = watch::channel(world(1, [ingress("web", "www.example.com", "192.0.2.1")]));
    let wrong = KEY.replace("bm90", "ZnVu");
    let telling = dns::update::run(config(&bind, &wrong), view, bind.says("BADSIG"));
    telling.await.expect("it goes on trying");
    bind.comes_to("www", RecordType::A, "NXDomain").await;
}
