//! Who manages which fields: server-side apply, and the `managedFields` by which it is remembered.
//!
//! Every manager has a set of fields. Applying merges what a manager wants into what is there: fields that somebody else manages
//! and that would change are conflicts, fields that it wanted before and that nobody wants now go. Other writes take over what
//! they change. Pure: time is an argument, and whether the result is a valid object is for admission to say.

mod apply;
mod element;
mod entry;
mod set;
mod shape;
mod tree;

pub use apply::{Applied, Conflict, Refused, Who, apply, update};
pub use element::Element;
pub use entry::{Entry, Managed, Manner, Said};
pub use set::FieldSet;
pub use shape::{Mismatch, Shape};

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
