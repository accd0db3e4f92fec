//! The words of Coracle: Kubernetes objects, their kinds, and the rules that make them valid.
//!
//! Pure: no clock, no chance, no input or output. What a request means is decided here; carrying it out is for others.

mod key;
pub mod kind;
pub mod kinds;
mod object;
mod status;

pub use key::{GroupKind, Key};
pub use kind::{Admission, Admitted, Column, FieldValidation, Kind, Names, Operation, Scope, Subresource};
pub use object::{DecodeError, Meta, NotAnObject, Object, Owner, Revision};
pub use status::{Cause, Details, Reason, StatusError};
