//! A disk that is full: nothing is broken by it, and what could not be written is written once there is room.

use std::io::{self, ErrorKind};
use std::time::Duration;

/// Between two attempts: somebody has to make room first.
pub(crate) const POLL: Duration = Duration::from_millis(200);

/// Whether something failed because there is no room for it.
pub(crate) fn is_lacking(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}
