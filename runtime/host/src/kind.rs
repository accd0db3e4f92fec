//! What a component is, told by what it exports.

use std::fmt;

/// A generation of WASI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wasi {
    /// WASI 0.2.
    P2,
    /// WASI 0.3.
    P3,
}

/// What a component is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WorkloadKind {
    /// It answers requests: `wasi:http/incoming-handler@0.2` or `wasi:http/handler@0.3`.
    Server(Wasi),
    /// It runs and ends: `wasi:cli/run`.
    Command(Wasi),
}

/// Everything a component can be used for; most are one or the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Uses {
    pub(crate) server: Option<Wasi>,
    pub(crate) command: Option<Wasi>,
}

// === impl Uses ===

impl Uses {
    /// Reads the names of exported interfaces; the newer WASI is taken where both are offered.
    pub(crate) fn of<'a>(exports: impl IntoIterator<Item = &'a str>) -> Self {
        let mut uses = Self::default();
        for export in exports {
            let (interface, version) = export.split_once('@').unwrap_or((export, ""));
            match (interface, generation(version)) {
                ("wasi:http/handler", Some(Wasi::P3)) => uses.server = Some(Wasi::P3),
                ("wasi:http/incoming-handler", Some(Wasi::P2)) => uses.server = uses.server.or(Some(Wasi::P2)),
                ("wasi:cli/run", Some(Wasi::P3)) => uses.command = Some(Wasi::P3),
                ("wasi:cli/run", Some(Wasi::P2)) => uses.command = uses.command.or(Some(Wasi::P2)),
                _ => {}
            }
        }
        uses
    }

    /// A component that can be both is a server first.
    pub(crate) fn kind(self) -> Option<WorkloadKind> {
        self.server.map(WorkloadKind::Server).or(self.command.map(WorkloadKind::Command))
    }
}

/// Versions of one generation are compatible; release candidates are not.
fn generation(version: &str) -> Option<Wasi> {
    match version.split_once('.')? {
        _ if version.contains('-') => None,
        ("0", rest) if rest.starts_with("2.") => Some(Wasi::P2),
        ("0", rest) if rest.starts_with("3.") => Some(Wasi::P3),
        _ => None,
    }
}

impl fmt::Display for WorkloadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WorkloadKind::Server(wasi) => write!(f, "server (wasi {wasi})"),
            WorkloadKind::Command(wasi) => write!(f, "command (wasi {wasi})"),
        }
    }
}

impl fmt::Display for Wasi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Wasi::P2 => "0.2",
            Wasi::P3 => "0.3",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(exports: &str, kind: Option<WorkloadKind>) {
        assert_eq!(Uses::of(exports.split_whitespace()).kind(), kind, "{exports}");
    }

    #[test]
    fn exports_decide() {
        check("wasi:http/incoming-handler@0.2.3", Some(WorkloadKind::Server(Wasi::P2)));
        check("wasi:http/handler@0.3.0", Some(WorkloadKind::Server(Wasi::P3)));
        check("wasi:cli/run@0.2.0", Some(WorkloadKind::Command(Wasi::P2)));
        check("wasi:cli/run@0.3.1 wasi:cli/run@0.2.0", Some(WorkloadKind::Command(Wasi::P3)));
        check("wasi:cli/run@0.2.0 wasi:http/incoming-handler@0.2.0", Some(WorkloadKind::Server(Wasi::P2)));
        check("greet wasi:http/handler@0.2.0 wasi:http/handler@0.3.0-rc-1", None);
        check("", None);
    }
}
