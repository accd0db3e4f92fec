//! What an operator says about the audit log.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

#[derive(Debug, Clone, Args)]
pub(crate) struct Audit {
    /// Write a line of JSON per request to the API, an Event of audit.k8s.io/v1, to this file; `-` is the standard output
    #[arg(long = "audit-log", env = "CORACLE_AUDIT_LOG", value_name = "FILE")]
    log: Option<PathBuf>,
    /// What is written: a Policy of audit.k8s.io/v1 [default: who asked for what, and what came of it]
    #[arg(long = "audit-policy", env = "CORACLE_AUDIT_POLICY", value_name = "FILE", requires = "log")]
    policy: Option<PathBuf>,
}

// === impl Audit ===

impl Audit {
    /// What is written, if anything is.
    pub(crate) fn config(&self) -> anyhow::Result<Option<apiserver::Audit>> {
        let Some(log) = &self.log else { return Ok(None) };
        let policy = match &self.policy {
            None => apiserver::AuditPolicy::default(),
            Some(file) => {
                let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
                apiserver::AuditPolicy::parse(&text).with_context(|| format!("in {}", file.display()))?
            }
        };
        Ok(Some(apiserver::Audit { policy, log: log.as_path().into() }))
    }
}
