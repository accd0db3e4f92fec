//! Things of which the node has a number, and of which nobody may take so many that others get none.
//!
//! Who has none gets one as long as there is any; who has some may have at most as many as are left. So one who asks for all gets
//! half, two get a third each, and there is always something left for those who come later.

use std::sync::atomic::{AtomicUsize, Ordering};

/// All there is of one sort.
pub(crate) struct Shares {
    total: usize,
    taken: AtomicUsize,
}

/// What one container has of it.
#[derive(Default)]
pub(crate) struct Share(AtomicUsize);

/// One has as much as one may while others want some, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the container has {own} of what there is, and only {left} are left for all others")]
pub(crate) struct NoMore {
    own: usize,
    left: usize,
}

// === impl Shares ===

impl Shares {
    pub(crate) fn new(total: usize) -> Self {
        Self { total, taken: AtomicUsize::new(0) }
    }

    pub(crate) fn take(&self, share: &Share, count: usize) -> Result<(), NoMore> {
        let own = share.0.fetch_add(count, Ordering::Relaxed);
        let left = self.total.saturating_sub(self.taken.fetch_add(count, Ordering::Relaxed));
        if may_take(own, left, count) {
            return Ok(());
        }
        self.give(share, count);
        Err(NoMore { own, left })
    }

    pub(crate) fn give(&self, share: &Share, count: usize) {
        share.0.fetch_sub(count, Ordering::Relaxed);
        self.taken.fetch_sub(count, Ordering::Relaxed);
    }
}

fn may_take(own: usize, left: usize, count: usize) -> bool {
    own == 0 || own.saturating_add(count) <= left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_gets_half_and_the_next_a_third_of_what_is_left() {
        let shares = Shares::new(90);
        let greedy = [Share::default(), Share::default()];
        let take_all = |share: &Share| (0..1_000).filter(|_| shares.take(share, 1).is_ok()).count();
        assert_eq!(take_all(&greedy[0]), 45);
        assert_eq!(take_all(&greedy[1]), 23);
        assert!(shares.take(&Share::default(), 1).is_ok(), "who comes last gets one");
        shares.give(&greedy[0], 45);
        shares.give(&greedy[1], 23);
        assert_eq!(take_all(&greedy[1]), 45);
    }

    #[test]
    fn the_first_is_never_refused() {
        let shares = Shares::new(0);
        assert!(shares.take(&Share::default(), 3).is_ok());
    }
}
