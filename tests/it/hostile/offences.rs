//! What is tried, and what must come of it.

/// One way to be a bad guest.
pub(super) struct Offence {
    /// The word by which the program knows it; its pod is called so.
    pub(super) deed: &'static str,
    /// Its limit on processors, if it has one.
    pub(super) cpu: Option<&'static str>,
    /// A program in text, where it is not one of the examples.
    pub(super) text: Option<fn() -> String>,
    pub(super) end: End,
}

/// What must come of it.
#[derive(Clone, Copy)]
pub(super) enum End {
    /// It goes on within its limits.
    Runs,
    /// It was refused in order, and ended well.
    Held,
    /// It is ended: `OOMKilled`, 137.
    OutOfMemory,
    /// It has trapped: `Error`, 134, with these words in the message.
    Trap(&'static str),
    /// It has ended with this code.
    Code(i32),
    /// It could not begin, for a reason with these words.
    NotStarted(&'static str),
}

impl End {
    pub(super) fn is_a_stop(self) -> bool {
        matches!(self, End::OutOfMemory | End::Trap(_) | End::Code(_))
    }
}

const fn deed(deed: &'static str, end: End) -> Offence {
    Offence { deed, cpu: Some("200m"), text: None, end }
}

/// The same with nothing that slows it.
const fn free(deed: &'static str, end: End) -> Offence {
    Offence { deed, cpu: None, text: None, end }
}

const fn text(deed: &'static str, end: End, text: fn() -> String) -> Offence {
    Offence { deed, cpu: Some("200m"), text: Some(text), end }
}

const TOO_MUCH: End = End::Trap("too much data is being copied");
const TOO_MANY: End = End::Trap("it holds more streams, files, sockets and other resources");

#[rustfmt::skip]
pub(super) const OFFENCES: &[Offence] = &[
    // The processor, without a limit on it.
    free("spin", End::Runs),
    free("clock-loop", End::Runs),
    free("yield-loop", End::Runs),
    free("nap-loop", End::Runs),
    free("stat-loop", End::Runs),
    free("open-loop", End::Runs),
    free("random-loop", End::Runs),
    free("environment-loop", End::Runs),
    free("fill-loop", End::Runs),
    free("poll-loop", End::Runs),
    text("start-spins", End::Runs, start_spins),
    // Its log.
    free("log-lines", End::Runs),
    free("log-newlines", End::Runs),
    free("log-endless-line", End::Runs),
    free("log-errors", End::Runs),
    free("log-binary", End::Runs),
    // Its stack, and what a machine forbids.
    deed("stack", End::Trap("call stack exhausted")),
    deed("stack-wide", End::Trap("")),
    deed("unreachable", End::Trap("unreachable")),
    deed("divide", End::Trap("unreachable")),
    deed("outside", End::Trap("out of bounds memory access")),
    deed("abort", End::Trap("unreachable")),
    deed("exit-255", End::Code(255)),
    text("long-name", End::Trap("unreachable"), long_name),
    // Memory.
    deed("memory", End::OutOfMemory),
    deed("memory-at-once", End::OutOfMemory),
    deed("memory-slowly", End::OutOfMemory),
    deed("memory-untouched", End::OutOfMemory),
    deed("memory-and-stay", End::OutOfMemory),
    deed("memory-and-success", End::OutOfMemory),
    deed("memory-again-and-again", End::OutOfMemory),
    deed("memory-crumbs", End::OutOfMemory),
    deed("memory-double", End::OutOfMemory),
    text("memory-from-the-start", End::OutOfMemory, memory_from_the_start),
    text("memories", End::NotStarted("memories"), memories),
    text("table-growth", End::Held, table_growth),
    text("tables", End::NotStarted("tables"), tables),
    text("table-from-the-start", End::NotStarted("table"), table_from_the_start),
    // What the host has to remember.
    deed("handles-pollables", TOO_MANY),
    deed("handles-streams", TOO_MANY),
    deed("handles-fields", TOO_MANY),
    deed("handles-fat-fields", End::OutOfMemory),
    deed("handles-requests", TOO_MANY),
    deed("handles-responses", TOO_MANY),
    deed("handles-files", End::Held),
    deed("handles-directories", End::OutOfMemory),
    deed("handles-tcp", End::Held),
    deed("handles-udp", End::Held),
    deed("handles-names", TOO_MANY),
    // The disk.
    deed("disk-fill", End::Held),
    deed("disk-sparse", End::Held),
    deed("disk-rewrite", End::Held),
    deed("disk-many-files", End::Held),
    deed("disk-deep", End::Held),
    deed("disk-unlinked", End::Held),
    // Paths.
    deed("path-dots", End::Held),
    deed("path-absolute", End::Held),
    deed("path-symlink", End::Held),
    deed("path-symlink-deep", End::Held),
    deed("path-symlink-loop", End::Held),
    deed("path-hard-link", End::Held),
    deed("path-rename", End::Held),
    deed("path-long", End::Held),
    deed("path-odd", End::Held),
    deed("path-read-only", End::Held),
    // Neighbours.
    deed("net-connect-flood", End::Runs),
    deed("net-silent-connections", End::Runs),
    deed("net-udp-flood", End::Runs),
    deed("net-name-flood", End::Runs),
    deed("net-own-backlog", End::Held),
    deed("net-listeners", End::Held),
    deed("net-node", End::Held),
    deed("net-endless-head", End::Held),
    deed("net-endless-body", End::Held),
    deed("net-garbage", End::Held),
    deed("net-request-flood", End::Runs),
    deed("net-pipeline-flood", End::Runs),
    deed("net-half-open", End::Runs),
    deed("net-deaf", End::Runs),
    deed("net-endless-zeros", End::Held),
    deed("net-call-flood", End::Runs),
    // Huge lists.
    deed("list-headers", TOO_MUCH),
    deed("list-header-value", TOO_MUCH),
    deed("list-random", End::Trap("")),
    deed("list-write", TOO_MUCH),
    deed("list-zeroes", End::Trap("")),
    deed("list-read", End::Held),
    deed("list-poll-nothing", End::Trap("empty poll list")),
    deed("list-poll", TOO_MUCH),
];

/// The programs in text, by name.
pub(super) fn programs() -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    OFFENCES.iter().filter_map(|offence| {
        let text = offence.text?();
        Some((offence.deed, wat::parse_str(&text).unwrap_or_else(|error| panic!("{}: {error}", offence.deed))))
    })
}

/// A command of these modules, the last of which has its program.
fn command(modules: &str, program: &str) -> String {
    format!(
        r#"(component
            {modules}
            (core module $program {program})
            (core instance $instance (instantiate $program))
            (func $run (result (result)) (canon lift (core func $instance "run")))
            (instance (export "wasi:cli/run@0.2.0") (export "run" (func $run))))"#
    )
}

const WELL: &str = r#"(func (export "run") (result i32) (i32.const 0))"#;

fn start_spins() -> String {
    command("", &format!("(func $spin (loop (br 0))) (start $spin) {WELL}"))
}

/// The name would be told in the status, and kept by the whole cluster.
fn long_name() -> String {
    let name = "n".repeat(50_000);
    command(
        "",
        &format!(r#"(func ${name} unreachable) (func (export "run") (result i32) (call ${name}) (i32.const 0))"#),
    )
}

fn memory_from_the_start() -> String {
    command("", &format!("(memory 40000) {WELL}"))
}

fn many(what: &str, count: usize) -> String {
    let one = |number: usize| {
        format!("(core module $m{number} {what}) (core instance $i{number} (instantiate $m{number}))\n")
    };
    (0..count).map(one).collect()
}

fn memories() -> String {
    command(&many("(memory 1)", 40), WELL)
}

fn tables() -> String {
    let tables = "(table 1 funcref)".repeat(4);
    command(&many(&tables, 30), WELL)
}

/// Grows it until it is told no.
fn table_growth() -> String {
    command(
        "",
        r#"(table $t 1 funcref)
           (func (export "run") (result i32)
             (loop (br_if 0 (i32.ne (table.grow $t (ref.null func) (i32.const 100)) (i32.const -1))))
             (i32.const 0))"#,
    )
}

fn table_from_the_start() -> String {
    command("", &format!("(table 10000000 funcref) {WELL}"))
}
