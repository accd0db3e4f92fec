//! What the stories of Kubernetes' tasks share: a cluster whose registry has `box:v1`, a shell with small programs, and `probe:v1`,
//! a server, and the few questions that those pages ask.

use harness::{Cluster, Output, eventually, kubectl_is_there};

use crate::{example, with};

/// A cluster to do tasks on, with `kubectl`.
pub(crate) struct Desk {
    pub(crate) cluster: Cluster,
}

/// A loaded machine may take this long for anything.
const SECONDS_MAX: u64 = 60;

// === impl Desk ===

impl Desk {
    /// None where there is no `kubectl`.
    pub(crate) fn open() -> Option<Self> {
        if !kubectl_is_there() {
            return None;
        }
        let cluster = with(&[]);
        for name in ["box", "probe"] {
            let file = example(&format!("{name}/{name}.wasm")).display().to_string();
            cluster.coracle(&["push", &file, &format!("{name}:v1")]).ok();
        }
        Some(Self { cluster })
    }

    pub(crate) fn k(&self, words: &[&str]) -> Output {
        self.cluster.kubectl(words)
    }

    pub(crate) fn apply(&self, manifest: &str) -> Output {
        self.cluster.kubectl_in(&["apply", "-f", "-"], manifest)
    }

    /// Waits until what the path shows is as wanted.
    pub(crate) fn shows(&self, what: &str, path: &str, wanted: &str) {
        let question: Vec<&str> = ["get"].into_iter().chain(what.split(' ')).collect();
        let path = format!("-ojsonpath={path}");
        let words: Vec<&str> = question.into_iter().chain([path.as_str()]).collect();
        eventually(SECONDS_MAX, || match self.k(&words).stdout {
            found if found == wanted => Ok(()),
            found => Err(format!("{what} {path}: {found:?} instead of {wanted:?}")),
        });
    }

    /// Waits until a pod has ended like this, and gives what it printed.
    pub(crate) fn ended(&self, pod: &str, phase: &str) -> String {
        self.shows(&format!("pod {pod}"), "{.status.phase}", phase);
        self.k(&["logs", pod]).ok()
    }

    /// Waits until the description has all of this in it.
    pub(crate) fn describes(&self, what: &str, parts: &[&str]) {
        let words: Vec<&str> = ["describe"].into_iter().chain(what.split(' ')).collect();
        eventually(SECONDS_MAX, || {
            let told = self.k(&words).ok();
            match parts.iter().find(|part| !told.contains(**part)) {
                None => Ok(()),
                Some(part) => Err(format!("{part:?} is missing in\n{told}")),
            }
        });
    }
}

/// That each of these is a line of the text.
pub(crate) fn has_lines(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|other| other == *line), "{line:?} is missing in\n{text}");
    }
}
