//! What a controller wants: transactions, and a moment to look again.

use jiff::Timestamp;
use state::Txn;

/// The outcome of one look at a key. The transactions stand on their own: each may be refused without harm to the others,
/// and they may be proposed side by side.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// What should change; none of them is empty.
    pub txns: Vec<Txn>,
    /// When to look again even if nothing happens until then.
    pub again: Option<Timestamp>,
}

// === impl Plan ===

impl Plan {
    /// Nothing to do, nothing to wait for.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// One transaction.
    pub fn of(txn: Txn) -> Self {
        Self::nothing().also(txn)
    }

    /// Also wants `txn`, unless it is empty.
    pub fn also(mut self, txn: Txn) -> Self {
        if !txn.is_empty() {
            self.txns.push(txn);
        }
        self
    }

    /// Also looks again at `at`, or earlier if it meant to.
    pub fn again_at(mut self, at: Option<Timestamp>) -> Self {
        self.again = [self.again, at].into_iter().flatten().min();
        self
    }
}

impl FromIterator<Txn> for Plan {
    fn from_iter<I: IntoIterator<Item = Txn>>(txns: I) -> Self {
        txns.into_iter().fold(Self::nothing(), Self::also)
    }
}
