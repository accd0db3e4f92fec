//! A run's last words: what it leaves in its termination log, or else the end of what it printed, for its status to tell.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use host::{Folder, Mode};
use k8s_openapi::api::core::v1::Container;

use crate::beneath::{Links, Root};
use crate::logs;
use crate::pod::Exit;

/// Where a run leaves its last words.
pub(super) struct LastWords {
    /// The directory, and the file in it.
    file: Option<(Folder, PathBuf)>,
    /// The log, if its end may speak for a run that failed in silence.
    log: Option<PathBuf>,
}

/// As much of a message is told, as with a kubelet.
const MESSAGE_BYTES_MAX: u64 = 4096;
/// Where a log speaks instead, as with a kubelet.
const LOG_BYTES_MAX: usize = 2048;
const LOG_LINES_MAX: usize = 80;

// === impl LastWords ===

impl LastWords {
    /// Finds the place for them among what is mounted; where nothing is, `fresh` makes a directory for it.
    pub(super) fn prepare(
        container: &Container,
        path: Option<&Path>,
        mounts: &mut Vec<host::Mount>,
        log: PathBuf,
        fresh: impl FnOnce() -> io::Result<host::Mount>,
    ) -> io::Result<Self> {
        let falls_back = container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError");
        let log = falls_back.then_some(log);
        let Some((path, parent, name)) = path.and_then(|path| Some((path, path.parent()?, path.file_name()?))) else {
            return Ok(Self { file: None, log });
        };
        let around = mounts.iter().filter_map(|mount| Some((mount, path.strip_prefix(&mount.guest).ok()?)));
        let nearest = around.min_by_key(|(_, inner)| inner.components().count());
        if let Some((mount, inner)) = nearest {
            let file = (mount.mode == Mode::ReadWrite).then(|| (mount.host.clone(), inner.to_owned()));
            return Ok(Self { file, log });
        }
        let mount = host::Mount { guest: parent.display().to_string(), ..fresh()? };
        fs::write(mount.host.path().join(name), "")?;
        let file = Some((mount.host.clone(), PathBuf::from(name)));
        mounts.push(mount);
        Ok(Self { file, log })
    }

    /// What is told of a run that ended so.
    pub(super) fn read(&self, exit: &Exit) -> Option<String> {
        let left = self.file.as_ref().and_then(|(directory, file)| left(directory.path(), file).ok());
        let left = left.filter(|words| !words.is_empty());
        let failed = !matches!(exit, Exit::Code(0) | Exit::Stopped);
        left.or_else(|| logs::end_of(self.log.as_ref().filter(|_| failed)?, LOG_LINES_MAX, LOG_BYTES_MAX))
    }
}

/// What is in the file. A guest may have put a link there, which leads nowhere else.
fn left(directory: &Path, file: &Path) -> io::Result<String> {
    let mut words = Vec::new();
    Root::open(directory)?.file(file, Links::Within)?.take(MESSAGE_BYTES_MAX).read_to_end(&mut words)?;
    Ok(String::from_utf8_lossy(&words).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told of a run of a container that mounts `mount` and leaves words at `path`.
    fn check(mount: &str, path: &str, exit: &Exit, expected: Option<&str>) {
        let folder = tempfile::tempdir().expect("a folder");
        let (volume, own, log) = (folder.path().join("volume"), folder.path().join("own"), folder.path().join("0.log"));
        for directory in [&volume, &own] {
            fs::create_dir_all(directory).expect("a directory");
        }
        fs::write(folder.path().join("elsewhere"), "a secret").expect("written");
        fs::write(&log, "2026-11-22T00:00:00.000000000Z stdout F one\n2026-11-22T00:00:00.000000000Z stderr F two\n")
            .expect("written");
        let at = |host: &Path, guest: &str| host::Mount {
            host: Folder::at(host),
            guest: guest.to_owned(),
            mode: Mode::ReadWrite,
            quota: None,
        };
        let mut mounts = vec![at(&volume, mount)];
        let policy = Some("FallbackToLogsOnError".to_owned());
        let container = Container { termination_message_policy: policy, ..Container::default() };
        let words = LastWords::prepare(&container, Some(Path::new(path)), &mut mounts, log, || Ok(at(&own, "")));
        let words = words.expect("prepared");
        let guest = Path::new(path);
        let shown = mounts.iter().rev().find(|mount| guest.starts_with(&mount.guest)).expect("a mount for it");
        let file = shown.host.path().join(guest.strip_prefix(&shown.guest).expect("below it"));
        match exit {
            Exit::Code(1) => fs::write(file, "words").expect("written"),
            Exit::Code(2) => std::os::unix::fs::symlink("../elsewhere", file).expect("linked"),
            _ => {}
        }
        assert_eq!(words.read(exit).as_deref(), expected, "{mount} {path} {exit:?}");
    }

    #[test]
    fn last_words_are_read_where_they_were_left() {
        check("/data", "/dev/termination-log", &Exit::Code(1), Some("words"));
        check("/data", "/data/log", &Exit::Code(1), Some("words"));
        check("/data", "/data/log", &Exit::Code(2), Some("one\ntwo\n"));
        check("/data", "/dev/termination-log", &Exit::Code(3), Some("one\ntwo\n"));
        check("/data", "/dev/termination-log", &Exit::Code(0), None);
    }
}
