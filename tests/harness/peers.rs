//! Programs of others that a story needs.

use std::ffi::OsStr;
use std::path::Path;

/// Whether `program` is on the PATH. Where `CORACLE_REQUIRE_PEERS` is set it has to be.
pub fn peer_is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([Path::new("/usr/sbin").to_owned()]);
    let there = folders.into_iter().any(|folder| folder.join(program).is_file());
    let required = std::env::var_os("CORACLE_REQUIRE_PEERS").is_some_and(|value| value != OsStr::new(""));
    assert!(there || !required, "{program} is required here and not on the PATH");
    if !there {
        eprintln!("{program} is not on the PATH: its story is left out");
    }
    there
}
