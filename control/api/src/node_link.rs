//! What is written of a node's link, on its lease, where nodes do not see it and the leader does.
//!
//! The server that holds a link knows first when a node is gone: the connection breaks, or nothing is heard on it any more. It
//! writes which link is the node's, and later that this one ended. A node that went on to another server has another link by then,
//! so the end of the old one says nothing; and a server that ends writes nothing, so that its end is nobody else's.

use std::fmt;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};

use crate::Object;

/// Where nodes keep their leases.
pub const LEASES: &str = "kube-node-lease";
/// The link that is the node's.
pub const LINK: &str = "coracle.dev/link";
/// When that link ended, and how; missing while it lasts.
pub const ENDED: &str = "coracle.dev/link-ended";

/// Why a node is not ready that has been asked to stop: it may be back in a moment.
pub const STOPPING: &str = "NodeShutdown";

/// How a link ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The connection was closed: most likely nobody is left who had it.
    Closed,
    /// Nothing was heard any more: nobody knows.
    Silent,
}

/// The end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// When.
    pub at: Timestamp,
    /// How.
    pub how: How,
}

/// A node whose connection was reset by somebody between is back within this.
const CLOSED_GRACE: SignedDuration = SignedDuration::from_millis(500);
/// A node that was only slow is back within this; so are the ends of all links told that fell silent at one time.
const SILENT_GRACE: SignedDuration = SignedDuration::from_millis(1_200);

// === impl Ended ===

impl Ended {
    /// The end of a node's link, as its lease tells.
    pub fn of(lease: &Object) -> Option<Self> {
        lease.meta().annotations.get(ENDED)?.parse().ok()
    }

    /// When a node that has no other link by then counts as lost.
    pub fn lost_at(self) -> Timestamp {
        self.at
            + match self.how {
                How::Closed => CLOSED_GRACE,
                How::Silent => SILENT_GRACE,
            }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.how {
            How::Closed => "closed",
            How::Silent => "silent",
        };
        write!(f, "{:.3} {how}", self.at)
    }
}

impl FromStr for Ended {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (at, how) = text.split_once(' ').ok_or(())?;
        let how = match how {
            "closed" => How::Closed,
            "silent" => How::Silent,
            _ => return Err(()),
        };
        Ok(Self { at: at.parse().map_err(|_| ())?, how })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_read_as_it_was_written() {
        for how in [How::Closed, How::Silent] {
            let ended = Ended { at: "2026-11-21T12:00:00.123Z".parse().expect("a time"), how };
            assert_eq!(ended.to_string().parse(), Ok(ended));
        }
        assert!("yesterday closed".parse::<Ended>().is_err() && "2026-11-21T12:00:00Z".parse::<Ended>().is_err());
    }
}
