//! What fuzzing has found worth keeping, `tests/fuzz/corpus`, is fed to every parser again. `tests/fuzz/run` finds more.

use std::path::Path;
use std::time::{Duration, Instant};

#[path = "../fuzz/targets.rs"]
mod targets;

/// No input of the corpus is so long that its parser may take longer, on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn the_corpus_harms_no_parser() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, target) in targets::TARGETS {
        let folder = corpus.join(name);
        let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut count = 0;
        for file in files.map(|entry| entry.expect("readable").path()) {
            let bytes = std::fs::read(&file).expect("readable");
            let begun = Instant::now();
            assert!(std::panic::catch_unwind(|| target(&bytes)).is_ok(), "{} breaks {name}", file.display());
            assert!(begun.elapsed() < PATIENCE, "{} holds {name} up", file.display());
            count += 1;
        }
        assert!(count > 0, "nothing is kept for {name}");
    }
}
