//! What volumes and claims share.

use super::Causes;

const ACCESS_MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const ALONE: &str = "ReadWriteOncePod";

/// Who may use storage at one time, at `path`; `needed` is what is said where nobody may.
pub fn access_modes(path: &str, modes: Option<&[String]>, needed: &str, causes: &mut Causes) {
    let modes = modes.unwrap_or_default();
    if modes.is_empty() {
        causes.required(path, needed);
    }
    for mode in modes.iter().filter(|mode| !ACCESS_MODES.contains(&mode.as_str())) {
        causes.unsupported(path, mode, ACCESS_MODES);
    }
    if modes.iter().any(|mode| mode == ALONE) && modes.iter().any(|mode| mode != ALONE) {
        causes.forbidden(path, "may not use ReadWriteOncePod with other access modes");
    }
}

/// Whether storage is a file system or a block device, at `path`.
pub fn volume_mode(path: &str, mode: Option<&str>, causes: &mut Causes) {
    if let Some(mode) = mode.filter(|mode| !matches!(*mode, "Block" | "Filesystem")) {
        causes.unsupported(path, mode, &["Block", "Filesystem"]);
    }
}
