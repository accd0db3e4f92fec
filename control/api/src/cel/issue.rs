//! What is wrong with an expression, and where: printed as the compiler of Kubernetes prints it.

use std::fmt::Write as _;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Issue {
    /// In bytes from the beginning.
    at: usize,
    message: String,
}

// === impl Issue ===

impl Issue {
    pub(super) fn new(at: usize, message: String) -> Self {
        Self { at, message }
    }

    pub(super) fn syntax(at: usize, message: String) -> Self {
        Self { at, message: format!("Syntax error: {message}") }
    }

    pub(super) fn undeclared(at: usize, name: &str) -> Self {
        Self { at, message: format!("undeclared reference to '{name}' (in container '')") }
    }

    /// The message, the line it is about, and a mark under the place.
    fn told(&self, source: &str) -> String {
        let at = self.at.min(source.len());
        let before = source.get(..at).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before[start..].chars().count();
        let text = source[start..].lines().next().unwrap_or_default().replace('\t', " ");
        let dots = ".".repeat(column);
        format!("ERROR: <input>:{line}:{}: {}\n | {text}\n | {dots}^", column + 1, self.message)
    }
}

/// All of them, in the order of their places.
pub(super) fn told(issues: &mut [Issue], source: &str) -> String {
    issues.sort_by_key(|issue| issue.at);
    issues.iter().enumerate().fold(String::new(), |mut text, (position, issue)| {
        let _ = write!(text, "{}{}", if position == 0 { "" } else { "\n" }, issue.told(source));
        text
    })
}
