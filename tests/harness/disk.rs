//! A disk so small that a story can fill it.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Output;

/// A file system of its own, gone with the value; whoever uses it has to have ended by then.
#[derive(Debug)]
pub struct SmallDisk {
    place: PathBuf,
}

/// What fills it.
const BALLAST: &str = "ballast";

// === impl SmallDisk ===

impl SmallDisk {
    /// A disk of so many bytes, at this place.
    pub(crate) fn at(place: &Path, bytes: u64) -> Self {
        fs::create_dir_all(place).unwrap_or_else(|error| panic!("{}: {error}", place.display()));
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={bytes},mode=700"), "none"]).arg(place);
        Output::of(command, None).ok();
        Self { place: place.into() }
    }

    /// Leaves no room on it.
    pub fn fill(&self) {
        let path = self.place.join(BALLAST);
        let mut file = fs::File::create(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let piece = vec![1; 64 << 10];
        // Until nothing more goes in.
        while file
            .write(&piece)
            .and_then(|written| if written == 0 { Err(io::Error::other("full")) } else { Ok(()) })
            .is_ok()
        {}
    }

    /// Makes room again.
    pub fn clear(&self) {
        let path = self.place.join(BALLAST);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => panic!("{}: {error}", path.display()),
            _ => {}
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let mut command = Command::new("umount");
        command.arg("--lazy").arg(&self.place);
        let _ = Output::of(command, None);
    }
}
