//! Whose turn it is to be charged to the quotas of a namespace.
//!
//! The quotas' revisions alone keep the count exact, but of all who are charged at once one gets through, and the others look again: what
//! that costs grows with the square of how many there are. So those who ask the same server wait for each other. Other servers and
//! the controllers do not, and may still be faster.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Mutex as Turn;

/// The turns, by namespace; one that nobody waits for is forgotten.
#[derive(Default)]
pub(crate) struct Turns(Mutex<HashMap<String, Weak<Turn<()>>>>);

// === impl Turns ===

impl Turns {
    /// What to take for the time that it takes to be charged.
    pub(crate) fn of(&self, namespace: &str) -> Arc<Turn<()>> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(namespace).and_then(Weak::upgrade) {
            return turn;
        }
        if turns.len() == turns.capacity() {
            turns.retain(|_, turn| turn.strong_count() > 0);
        }
        let turn = Arc::<Turn<()>>::default();
        turns.insert(namespace.to_owned(), Arc::downgrade(&turn));
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_of_one_namespace_wait_for_each_other() {
        let turns = Turns::default();
        let shop = turns.of("shop");
        let taken = shop.try_lock().expect("nobody has it");
        assert!(turns.of("shop").try_lock().is_err());
        assert!(turns.of("home").try_lock().is_ok());
        drop(taken);
        assert!(turns.of("shop").try_lock().is_ok());
        drop(shop);
        (0..100).for_each(|number| drop(turns.of(&number.to_string())));
        assert!(turns.0.lock().expect("whole").len() < 50, "nobody waits for them");
    }
}
