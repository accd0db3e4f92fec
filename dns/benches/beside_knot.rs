//! What a question costs, beside knot on the same zone: `cargo bench -p dns`.
//!
//! Both servers run on the first core in turn, dnsperf on another; counted is what the kernel says each process used (user
//! and system time) over the questions that dnsperf saw answered. The ratio is what counts: it holds on other machines.
//! Needed on the PATH: `dnsperf`, `knotd`, `taskset`.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use api::{Object, Revision, kinds};
use dns::{Authority, Config, Listener, Machine, Neighbours, Resolver, View, Zone};
use serde_json::json;
use state::Snapshot;
use tokio::sync::watch;

const SERVICES: u16 = 2000;
const ROUNDS: usize = 5;
const SECONDS_PER_ROUND: &str = "4";
/// Questions asked and not answered yet: what a busy node's programs have between them.
const OUTSTANDING: &str = "64";
const OURS: &str = "127.0.0.1:15353";
const KNOTS: &str = "127.0.0.1:15354";

/// One round.
struct Cost {
    per_second: f64,
    micros_per_question: f64,
}

fn main() {
    if std::env::args().any(|argument| argument == "--serve") {
        return serve();
    }
    for (program, argument) in [("dnsperf", "-h"), ("knotd", "-V"), ("taskset", "-V")] {
        if Command::new(program).arg(argument).output().is_err() {
            println!("{program} is not on the PATH: nothing is measured");
            return;
        }
    }
    let folder = std::env::temp_dir().join(format!("beside-knot-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the folder for temporary files can be written to");
    let questions = folder.join("questions");
    std::fs::write(&questions, write_questions()).expect("written");
    let mut ours = on_first_core(&std::env::current_exe().expect("this program").display().to_string(), &["--serve"]);
    let config = knot(&folder);
    let mut knot = on_first_core("knotd", &["-c", &config]);
    sleep(Duration::from_secs(2));

    println!("{:>6} {:>12} {:>10} {:>12} {:>10} {:>7}", "round", "ours q/s", "µs/q", "knot q/s", "µs/q", "ratio");
    let mut ratios = Vec::new();
    for round in 1..=ROUNDS {
        let (us, them) = (measure(&ours, OURS, &questions), measure(&knot, KNOTS, &questions));
        let ratio = us.micros_per_question / them.micros_per_question;
        let (ours, knots) = (us.micros_per_question, them.micros_per_question);
        println!(
            "{round:>6} {:>12.0} {ours:>10.2} {:>12.0} {knots:>10.2} {ratio:>7.2}",
            us.per_second, them.per_second
        );
        ratios.push(ratio);
    }
    ratios.sort_by(f64::total_cmp);
    println!("CPU per question, ours over knot's, median of {ROUNDS}: {:.2}", ratios[ROUNDS / 2]);
    for child in [&mut ours, &mut knot] {
        let _ = child.kill();
        let _ = child.wait();
    }
    let _ = std::fs::remove_dir_all(folder);
}

fn on_first_core(program: &str, arguments: &[&str]) -> Child {
    let mut command = Command::new("taskset");
    command.args(["-c", "0", program]).args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"))
}

fn measure(server: &Child, at: &str, questions: &Path) -> Cost {
    let (address, port) = at.split_once(':').expect("an address and a port");
    let before = ticks(server.id());
    let mut command = Command::new("taskset");
    command.args(["-c", "1", "dnsperf", "-s", address, "-p", port, "-l", SECONDS_PER_ROUND]);
    command.args(["-c", "8", "-T", "1", "-q", OUTSTANDING, "-d"]).arg(questions);
    let start = Instant::now();
    let said = String::from_utf8_lossy(&command.output().expect("dnsperf runs").stdout).into_owned();
    let seconds = start.elapsed().as_secs_f64();
    let used = ticks(server.id()) - before;
    let line = said.lines().find(|line| line.contains("Queries completed:")).unwrap_or_else(|| panic!("{said}"));
    let completed = line.split_whitespace().nth(2).and_then(|word| word.parse::<f64>().ok()).expect("a number");
    // A tick is a hundredth of a second.
    Cost { per_second: completed / seconds, micros_per_question: used * 10_000.0 / completed }
}

/// User and system time of a process.
fn ticks(process: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("it runs");
    let fields = text.rsplit(')').next().expect("a name in brackets").split_whitespace();
    fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum()
}

#[tokio::main]
async fn serve() {
    let world = world();
    let resolver = Resolver::new(Authority::default(), Machine::default(), &world).expect("a resolver");
    let (_sender, view) = watch::channel(world);
    let address: SocketAddr = OURS.parse().expect("an address");
    let listener = Listener::bind(address, View::Pods).await.expect("a free port");
    let config = Config { listeners: vec![listener], neighbours: Neighbours::default() };
    dns::run(config, resolver, view, std::future::pending()).await.expect("it serves");
}

fn world() -> Snapshot {
    let metadata = |name: &str| json!({"name": name, "namespace": "default"});
    let clusters = (0..SERVICES).map(|number| {
        let spec = json!({"clusterIP": format!("10.43.{}.{}", number / 250, number % 250 + 1),
            "ports": [{"name": "http", "port": 80}]});
        let value = json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata(&format!("web-{number}")), "spec": spec});
        Object::from_value(kinds::SERVICE, &value).expect("a service")
    });
    let headless =
        json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata("db"), "spec": {"clusterIP": "None"}});
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "db-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "db"}}, "ports": [],
        "endpoints": [{"addresses": ["10.42.0.4"]}, {"addresses": ["10.42.0.5"]}, {"addresses": ["10.42.0.6"]}]});
    let headless = Object::from_value(kinds::SERVICE, &headless).expect("a service");
    let slice = Object::from_value(kinds::ENDPOINT_SLICE, &slice).expect("a slice");
    Snapshot::load(Revision(1), clusters.chain([headless, slice]))
}

/// What programs in pods ask for: half of it addresses, and what search paths make of them.
fn write_questions() -> String {
    let mut text = String::new();
    for number in 0..20_000u32 {
        let service = format!("web-{}.default.svc.cluster.local", number.wrapping_mul(7919) % u32::from(SERVICES));
        let _ = match number % 20 {
            0..10 => writeln!(text, "{service} A"),
            10..13 => writeln!(text, "{service} AAAA"),
            13..17 => writeln!(text, "example{number}.com.default.svc.cluster.local A"),
            17..19 => writeln!(text, "_http._tcp.{service} SRV"),
            _ => writeln!(text, "db.default.svc.cluster.local A"),
        };
    }
    text
}

/// Gives knot the same zone; returns its configuration.
fn knot(folder: &Path) -> String {
    let zone = Zone::new(&Authority::default(), &world()).expect("a zone");
    let within = zone.records().filter(|record| record.name.to_ascii().ends_with("cluster.local."));
    let text: String = within.map(|record| format!("{record}\n")).collect();
    std::fs::write(folder.join("zone"), text).expect("written");
    let folder = folder.display();
    let at = KNOTS.replace(':', "@");
    let config = format!(
        "server:\n  rundir: {folder}\n  listen: {at}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
         database:\n  storage: {folder}/database\n\
         zone:\n  - domain: cluster.local\n    file: {folder}/zone\n    zonefile-load: whole\n    journal-content: none\n"
    );
    let path = format!("{folder}/knot.conf");
    std::fs::write(&path, config).expect("written");
    path
}
