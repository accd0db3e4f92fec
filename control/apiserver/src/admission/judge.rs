//! What may refuse: policies, then webhooks, all at once.

use api::StatusError;
use futures::future::join_all;

use super::policies::Said;
use super::{Candidate, policies};

// === impl Candidate ===

impl Candidate<'_> {
    /// Refuses what policies or webhooks refuse; what they have to say otherwise are warnings.
    pub(crate) async fn judge(&self) -> Result<Vec<String>, StatusError> {
        let Some(table) = self.table() else { return Ok(Vec::new()) };
        let beside = self.beside();
        let asked = self.asked(&self.object, &beside);
        let permissions = self.permissions();
        let surface = self.door.surfaces.of(self.world);
        let mut said = Said::default();
        let judged = policies::judge(&table, &asked, self.world, &surface.kinds, &permissions, &mut said);
        // Also of a request that is refused.
        for (name, value) in said.annotations() {
            self.trail.annotate(&name, &value);
        }
        judged?;
        let mut warnings = said.warnings;
        let mut called = Vec::new();
        for webhook in &table.validating {
            if webhook.is_about(&asked, &permissions)? {
                called.push(webhook.ask(self, &asked));
            }
        }
        for answered in join_all(called).await {
            warnings.extend(answered?.warnings);
        }
        Ok(warnings)
    }
}
