//! Which objects are meant: selectors over labels and over fields.

mod field;
mod label;

pub use field::{FieldSelector, exact_name};
pub use label::{LabelSelector, Requirement};

/// A selector that cannot be read; the message is Kubernetes' own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotASelector(pub(crate) String);

impl From<NotASelector> for crate::StatusError {
    fn from(refusal: NotASelector) -> Self {
        Self::bad_request(refusal.0)
    }
}
