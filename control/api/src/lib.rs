//! The words of Coracle: Kubernetes objects, their kinds, and the rules that make them valid.
//!
//! Pure: no clock, no chance, no input or output. What a request means is decided here; carrying it out is for others.

mod admit;
pub mod authority;
pub mod blobstore;
pub mod catalog;
pub mod cel;
mod cells;
pub mod certificate_request;
pub mod custom;
pub mod decode;
pub mod default_storage;
pub mod duration;
pub mod egress_names;
pub mod image;
pub mod instances;
pub mod json;
pub mod jwt;
mod key;
pub mod keyvalue;
pub mod kind;
pub mod kinds;
pub mod level;
pub mod managed;
pub mod measured;
pub mod metadata;
pub mod node_link;
mod object;
pub mod patch;
pub mod pod_spec;
pub mod policies;
pub mod protobuf;
pub mod quantity;
pub mod quota;
pub mod references;
mod resource;
pub mod rules;
mod scale;
pub mod schedule;
pub mod schema;
pub mod selector;
pub mod snapshots;
mod status;
pub mod stdio;
pub mod storage;
pub mod time_zone;
pub mod version;
pub mod waking;

pub use admit::{blame_patch, identity_complaint, read};
pub use custom::Kinds;
pub use key::{GroupKind, Key};
pub use kind::{
    Admission, Admitted, Column, FieldValidation, Heading, Kind, Names, Operation, Scope, SharedKind, Subresource,
};
pub use object::{DecodeError, Meta, NotAnObject, Object, Owner, Revision};
pub use resource::Resource;
pub use status::{Cause, Details, Reason, StatusError};
