//! One program for all targets; `FUZZ_TARGET` says which. `run` builds and runs it.

#![no_main]

use std::sync::OnceLock;

#[path = "targets.rs"]
mod targets;

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let target = TARGET.get_or_init(|| {
        let wanted = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
        let found = targets::TARGETS.iter().find(|(name, _)| *name == wanted);
        found.unwrap_or_else(|| panic!("there is no target {wanted}")).1
    });
    target(bytes);
});
