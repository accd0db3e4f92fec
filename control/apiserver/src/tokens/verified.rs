//! Tokens whose signatures were found to hold, so that a request pays for a look and not for a proof.

use std::collections::HashMap;
use std::sync::Arc;

use api::jwt::Claims;
use arc_swap::ArcSwap;

/// The tokens found to hold, by their text. Only tokens that were signed here ever come in.
#[derive(Default)]
pub(super) struct Verified {
    known: ArcSwap<HashMap<Arc<str>, Arc<Claims>>>,
}

/// Enough for every pod of a large node to speak at one time; about two MiB when full. A full map begins anew: those who go on
/// asking prove themselves once more.
const KNOWN_MAX: usize = 1024;

// === impl Verified ===

impl Verified {
    pub(super) fn get(&self, token: &str) -> Option<Arc<Claims>> {
        self.known.load().get(token).cloned()
    }

    pub(super) fn note(&self, token: &str, claims: Arc<Claims>) {
        let token: Arc<str> = token.into();
        self.known.rcu(|known| {
            let mut known = if known.len() < KNOWN_MAX { HashMap::clone(known) } else { HashMap::new() };
            known.insert(token.clone(), claims.clone());
            known
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_knows_much_and_not_more() {
        let verified = Verified::default();
        for number in 0..=KNOWN_MAX {
            verified.note(&number.to_string(), Arc::default());
            assert!(verified.get(&number.to_string()).is_some());
        }
        assert_eq!(verified.known.load().len(), 1);
    }
}
