//! No acknowledged write is ever lost: a process that writes under load is killed at random moments, again and again on the
//! same data, and each time everything it had acknowledged is there.
//!
//! The process is this test binary itself, run again for the one test [`writes_until_it_is_killed`]. What each of its writers
//! does next is a function of its number and a counter, so this side knows what must be there: the sum of what was
//! acknowledged and, for each writer, perhaps the one write that was under way.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use api::{Key, Object, kinds};
use serde_json::json;
use state::Txn;
use store::{Config, Store};

const WRITERS: u64 = 24;
const KILLS: u32 = 60;
/// The names that each writer writes to in turn.
const SLOTS: u64 = 5;

const DIRECTORY: &str = "CORACLE_KILL_DIRECTORY";
const STARTS: &str = "CORACLE_KILL_STARTS";
const SMALL: &str = "CORACLE_KILL_SMALL";

/// What a writer does at one step.
enum Step {
    Put { slot: u64, length: usize },
    Delete { slot: u64 },
}

/// What this side knows of one writer.
#[derive(Default)]
struct Writer {
    /// For each slot, the step that wrote what is there, and the revision it was acknowledged at.
    slots: BTreeMap<u64, (u64, u64)>,
    /// A step that may or may not have happened.
    perhaps: Option<u64>,
    /// The step it does next.
    next: u64,
}

/// One line from the process.
enum Line {
    Found { writer: u64, slot: u64, step: u64, revision: u64 },
    Ready { revision: u64 },
    Done { writer: u64, step: u64, revision: u64 },
}

#[test]
fn every_acknowledged_write_survives_being_killed() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut random = Random::seeded();
    println!("seed {:#x}", random.0);
    let mut writers: Vec<Writer> = (0..WRITERS).map(|_| Writer::default()).collect();
    let (mut kills, mut acknowledged, mut last, mut round) = (0, 0_u64, 0, 0);
    while kills < KILLS {
        round += 1;
        let mut process = start(directory.path(), &writers, round % 2 == 0);
        let started = Instant::now();
        let output = process.stdout.take().expect("its output is a pipe");
        // Now and then it dies while it is still reading what the last one left.
        let early = (random.below(5) == 0).then(|| Duration::from_millis(random.below(60)));
        let late = Duration::from_millis(10 + random.below(290));
        let (ready, told) = std::sync::mpsc::channel();
        let reader = std::thread::spawn(move || read(BufReader::new(output), &ready));
        match early {
            Some(early) => std::thread::sleep(early.saturating_sub(started.elapsed())),
            None => {
                told.recv_timeout(Duration::from_secs(30)).expect("the store opens after a kill");
                std::thread::sleep(late);
            }
        }
        process.kill().expect("SIGKILL");
        process.wait().expect("it is gone");
        kills += 1;
        let lines = reader.join().expect("its lines are read");
        acknowledged += check(&mut writers, &lines, &mut last);
    }
    println!("{kills} kills, {acknowledged} acknowledged writes");
    assert!(acknowledged > u64::from(KILLS), "the processes did write");

    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let store = Store::open(config(directory.path(), false)).await.expect("the store opens");
        let mut lines: Vec<Line> = found(&store).collect();
        lines.push(Line::Ready { revision: store.snapshot().revision().0 });
        check(&mut writers, &lines, &mut last);
        store.shutdown().await;
    });
}

/// The other side. Does nothing unless it is told where to write.
#[test]
fn writes_until_it_is_killed() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let starts: Vec<u64> = std::env::var(STARTS)
        .expect("where to go on")
        .split(',')
        .map(|start| start.parse().expect("a number"))
        .collect();
    let small = std::env::var(SMALL).is_ok();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        // The test harness has begun a line of its own.
        say("\n");
        let store = Store::open(config(Path::new(&directory), small)).await.expect("the store opens");
        for line in found(&store) {
            let Line::Found { writer, slot, step, revision } = line else { continue };
            say(&format!("found {writer} {slot} {step} {revision}\n"));
        }
        say(&format!("ready {}\n", store.snapshot().revision()));
        let writers =
            starts.into_iter().zip(0..).map(|(start, writer)| tokio::spawn(write(store.clone(), writer, start)));
        for writer in writers.collect::<Vec<_>>() {
            writer.await.expect("it writes for ever");
        }
    });
}

async fn write(store: Store, writer: u64, start: u64) {
    for number in start.. {
        let txn = match step(writer, number) {
            Step::Put { slot, length } => Txn::default().put(object(writer, slot, number, length)),
            Step::Delete { slot } => Txn::default().remove(key(writer, slot)),
        };
        let committed = store.propose(txn).await.expect("the only writer of these names");
        let revision = committed.events.last().map_or(0, |event| event.revision.0);
        say(&format!("done {writer} {number} {revision}\n"));
    }
}

fn step(writer: u64, number: u64) -> Step {
    let slot = number % SLOTS;
    match (writer + number) % 7 {
        0 => Step::Delete { slot },
        _ => Step::Put { slot, length: ((writer * 31 + number * 97) % 2_000) as usize },
    }
}

fn key(writer: u64, slot: u64) -> Key {
    kinds::CONFIG_MAP.key("kill", &format!("w{writer}-{slot}"))
}

fn object(writer: u64, slot: u64, number: u64, length: usize) -> Object {
    let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("w{writer}-{slot}"), "namespace": "kill",
        "labels": {"step": number.to_string()}}, "data": {"filling": "x".repeat(length)}});
    Object::from_value(kinds::CONFIG_MAP, &value).expect("a config map")
}

fn found(store: &Store) -> impl Iterator<Item = Line> {
    let world = store.snapshot();
    let lines: Vec<Line> = world
        .list(kinds::CONFIG_MAP)
        .map(|object| {
            let (writer, slot) = object.key().name()[1..].split_once('-').expect("a writer and a slot");
            let step: u64 = object.meta().labels["step"].parse().expect("a number");
            let writer: u64 = writer.parse().expect("a number");
            let expected = self::object(writer, step % SLOTS, step, ((writer * 31 + step * 97) % 2_000) as usize);
            assert_eq!(object.body(), expected.body(), "every byte is as it was written");
            Line::Found { writer, slot: slot.parse().expect("a number"), step, revision: object.revision().0 }
        })
        .collect();
    lines.into_iter()
}

fn config(directory: &Path, small: bool) -> Config {
    let mut config = Config::new(directory);
    if small {
        // Small enough that segments are begun and dropped within a round.
        config.log.segment_bytes = 256 << 10;
        config.log.memory_bytes_max = 64 << 10;
        config.log.kept_bytes = 512 << 10;
        config.log.kept_entries = 500;
        config.image.delay = Duration::from_millis(20);
        config.history.events_max = 300;
    }
    config
}

fn say(line: &str) {
    let mut output = std::io::stdout().lock();
    output.write_all(line.as_bytes()).expect("the other side listens");
    output.flush().expect("the other side listens");
}

fn start(directory: &Path, writers: &[Writer], small: bool) -> Child {
    let starts: Vec<String> = writers.iter().map(|writer| writer.next.to_string()).collect();
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args(["--exact", "writes_until_it_is_killed", "--nocapture", "--test-threads=1"]);
    command.env(DIRECTORY, directory).env(STARTS, starts.join(","));
    if small {
        command.env(SMALL, "1");
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it starts")
}

/// Reads until the process is gone; a line that it did not finish was not said.
fn read(mut output: impl BufRead, ready: &std::sync::mpsc::Sender<()>) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut text = String::new();
    while output.read_line(&mut text).expect("its output is text") > 0 {
        if let Some(line) = text.strip_suffix('\n').and_then(parse) {
            if matches!(line, Line::Ready { .. }) {
                // Nobody waits for it when the process is to die early.
                let _ = ready.send(());
            }
            lines.push(line);
        }
        text.clear();
    }
    lines
}

fn parse(text: &str) -> Option<Line> {
    let (word, rest) = text.split_once(' ')?;
    let numbers: Vec<u64> = rest.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
    match (word, numbers.as_slice()) {
        ("found", &[writer, slot, step, revision]) => Some(Line::Found { writer, slot, step, revision }),
        ("ready", &[revision]) => Some(Line::Ready { revision }),
        ("done", &[writer, step, revision]) => Some(Line::Done { writer, step, revision }),
        _ => None,
    }
}

/// Compares what the process found with what must be there, and learns what it did then. Returns how many writes it
/// acknowledged.
fn check(writers: &mut [Writer], lines: &[Line], last: &mut u64) -> u64 {
    let Some(at) = lines.iter().position(|line| matches!(line, Line::Ready { .. })) else { return 0 };
    let mut there: Vec<BTreeMap<u64, (u64, u64)>> = writers.iter().map(|_| BTreeMap::new()).collect();
    for line in &lines[..at] {
        if let Line::Found { writer, slot, step, revision } = *line {
            there[writer as usize].insert(slot, (step, revision));
        }
    }
    if let Line::Ready { revision } = lines[at] {
        assert!(revision >= *last, "revision {last} was acknowledged, and the store is back at {revision}");
        *last = revision;
    }
    for (number, (writer, there)) in writers.iter_mut().zip(there).enumerate() {
        writer.resolve(number as u64, there);
        writer.perhaps = Some(writer.next);
    }
    let mut acknowledged = 0;
    for line in &lines[at + 1..] {
        let Line::Done { writer, step, revision } = *line else { continue };
        writers[writer as usize].done(writer, step, revision);
        *last = revision.max(*last);
        acknowledged += 1;
    }
    for writer in writers {
        writer.next = writer.perhaps.map_or(0, |perhaps| perhaps + 1);
    }
    acknowledged
}

// === impl Writer ===

impl Writer {
    fn done(&mut self, writer: u64, number: u64, revision: u64) {
        assert_eq!(self.perhaps, Some(number), "writer {writer} does one step after the other");
        self.apply(writer, number, revision);
        self.perhaps = Some(number + 1);
    }

    fn apply(&mut self, writer: u64, number: u64, revision: u64) {
        match step(writer, number) {
            Step::Put { slot, .. } => self.slots.insert(slot, (number, revision)),
            Step::Delete { slot } => self.slots.remove(&slot),
        };
    }

    /// What is there is what was acknowledged, with or without the step that was under way.
    fn resolve(&mut self, writer: u64, there: BTreeMap<u64, (u64, u64)>) {
        if self.slots == there {
            return;
        }
        let acknowledged = self.slots.clone();
        let perhaps = self.perhaps.expect("only a process that was ready can have changed anything");
        // Its revision was never told, so the one that is there is taken for it.
        let revision = there.get(&(perhaps % SLOTS)).map_or(0, |(_, revision)| *revision);
        self.apply(writer, perhaps, revision);
        assert_eq!(self.slots, there, "writer {writer}: acknowledged was {acknowledged:?}, under way step {perhaps}");
    }
}

/// A xorshift generator: the moments of death differ from run to run and can be had again from the seed.
struct Random(u64);

impl Random {
    fn seeded() -> Self {
        use std::hash::{BuildHasher, RandomState};
        Self(RandomState::new().hash_one(0_u8) | 1)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}
