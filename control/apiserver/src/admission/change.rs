//! What may change: webhooks, one after the other, each seeing what those before it have made of the object.

use api::StatusError;
use serde_json::Value;

use super::Candidate;

/// What webhooks have made of an object.
pub(crate) struct Remade {
    /// The object; nothing if it is as it was.
    pub(crate) object: Option<Value>,
    pub(crate) warnings: Vec<String>,
}

// === impl Candidate ===

impl Candidate<'_> {
    /// Lets webhooks change the object. Those that want to see what others have made of it are asked once more.
    pub(crate) async fn remake(&self) -> Result<Remade, StatusError> {
        let mut remade = Remade { object: None, warnings: Vec::new() };
        let Some(table) = self.table().filter(|table| !table.mutating.is_empty()) else { return Ok(remade) };
        let beside = self.beside();
        let mut object = self.object.clone();
        // Of each webhook what it last saw, if it was asked.
        let mut seen: Vec<Option<Value>> = vec![None; table.mutating.len()];
        for round in 0..2 {
            for (webhook, seen) in table.mutating.iter().zip(&mut seen) {
                let is_due = match &seen {
                    _ if round == 0 => true,
                    Some(before) => webhook.is_reinvoked && *before != object,
                    None => false,
                };
                let asked = self.asked(&object, &beside);
                if !is_due || !webhook.is_about(&asked, &self.permissions())? {
                    continue;
                }
                let answered = webhook.ask(self, &asked).await?;
                remade.warnings.extend(answered.warnings);
                if let Some(patch) = answered.patch {
                    object = webhook.patched(object, &patch)?;
                }
                *seen = Some(object.clone());
            }
            if object == self.object {
                break;
            }
        }
        if object != self.object {
            remade.object = Some(object);
        }
        Ok(remade)
    }
}
