//! Mistakes that the store could have, to see whether its proof would find them.
//!
//! Each is what somebody might write in that place. Outside of tests none of them is ever planted, and the question costs nothing.

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code, reason = "planted in tests only"))]
pub(crate) enum Bug {
    /// A batch of the log is acknowledged although it was never synced.
    AcknowledgedBeforeSync,
    /// What a killed process left in memory counts as if it were on disk.
    TailNotSynced,
    /// Damage of what was synced is taken for what a crash leaves.
    DamageCut,
    /// The checksum of a record is not looked at: a torn tail is believed.
    ChecksumIgnored,
    /// A vote is not written down.
    VoteForgotten,
    /// A new segment does not repeat the vote that went with an old one.
    VoteNotRepeated,
    /// A truncation is not written down.
    TruncationForgotten,
    /// What was let go at the front is not written down.
    PurgeForgotten,
    /// A segment gets its name before what is in it is on disk.
    NamedBeforeWritten,
    /// The name of a file that was written whole is not synced.
    NameNotSynced,
    /// Whoever does not answer counts as if it had what it was sent: one fewer is enough for a quorum.
    QuorumMinusOne,
    /// Members are what is in the log, committed or not.
    MembershipTooEarly,
    /// A learner gets a vote before it has caught up.
    PromotedTooEarly,
    /// What is proposed twice happens twice.
    AppliedTwice,
    /// Which proposals have happened is no part of a transfer.
    SessionsNotTransferred,
    /// Whoever thinks that it leads answers reads without asking the others.
    StaleRead,
    /// A read is answered before all that it must see is applied.
    ReadTooEarly,
    /// The image says that it is further than it is.
    ImageAhead,
    /// The image forgets the row that took the place of another.
    ForgottenRow,
    /// The sums of the image are not looked at.
    SumsIgnored,
    /// A transfer is installed without its last object.
    TransferCut,
    /// Of events that come together the history keeps the first.
    EventLost,
    /// An event is told twice.
    EventTwice,
    /// A bookmark is ahead of what was told.
    BookmarkAhead,
    /// A watch goes on although what it missed is forgotten.
    ResumedTooLate,
    /// The history goes on after a transfer as if nothing were missing.
    HistoryNotRestarted,
}

#[cfg(not(test))]
pub(crate) const fn planted(_: Bug) -> bool {
    false
}

#[cfg(test)]
pub(crate) use planting::{plant, planted};

#[cfg(test)]
mod planting {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Takes the mistake out again.
    pub(crate) struct Planted(());

    /// Has the store make this mistake, in this thread, until what is returned is dropped.
    pub(crate) fn plant(bug: Option<Bug>) -> Planted {
        PLANTED.set(bug);
        Planted(())
    }

    pub(crate) fn planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    impl Drop for Planted {
        fn drop(&mut self) {
            PLANTED.set(None);
        }
    }
}
