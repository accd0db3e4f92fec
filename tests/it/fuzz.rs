//! What fuzzing has found worth keeping, `tests/fuzz/corpus`, is fed to every parser again. `tests/fuzz/run` finds more.

use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

#[path = "../fuzz/targets.rs"]
mod targets;

/// No input of the corpus is so long that its parser may take longer, on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is kept for a target: inputs that were written, a file each, and such as were found, a line of base64 each.
fn kept(corpus: &Path, name: &str) -> Vec<Vec<u8>> {
    let folder = corpus.join(name);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let written = files.map(|entry| std::fs::read(entry.expect("readable").path()).expect("readable"));
    let found = std::fs::read_to_string(corpus.join(format!("{name}.found"))).expect("readable");
    written.chain(found.lines().map(|line| BASE64_STANDARD.decode(line).expect("base64"))).collect()
}

#[test]
fn the_corpus_harms_no_parser() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, target) in targets::TARGETS {
        let inputs = kept(&corpus, name);
        assert!(!inputs.is_empty(), "nothing is kept for {name}");
        for bytes in inputs {
            let text = || String::from_utf8_lossy(&bytes).into_owned();
            let begun = Instant::now();
            assert!(std::panic::catch_unwind(|| target(&bytes)).is_ok(), "{name} breaks: {}", text());
            assert!(begun.elapsed() < PATIENCE, "{name} is held up: {}", text());
        }
    }
}
