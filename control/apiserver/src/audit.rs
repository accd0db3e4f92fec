//! Who did what: a line of JSON per request, in the shape of `audit.k8s.io/v1` Events.
//!
//! What is told is the policy's; that nothing secret is told is not: of secrets, config maps and tokens no body is ever written,
//! and no message that could quote one. A request never waits for its line: lines that cannot be written as fast as they come
//! are left out, and counted in the program's own log and in `/metrics`.
//!
//! ```text
//! request ─► Trail (who, annotations) ─► policy::Policy (which level) ─► event::Event (what is told) ─► log::Recorder ─► log::Scribe
//! ```

mod event;
mod log;
mod policy;
mod subject;
mod trail;

pub use log::AuditLog;
pub(crate) use log::{Counts, Recorder, open};
pub use policy::{Policy, PolicyError};
pub(crate) use trail::{Diary, Trail, decided, follow, impersonated, refused};

/// What is written about requests, and where.
#[derive(Clone, Debug)]
pub struct Audit {
    /// What is told of which request.
    pub policy: Policy,
    /// Where it is written.
    pub log: AuditLog,
}

/// The name that a new object got; it goes along in the answer's extensions.
#[derive(Clone, Debug)]
pub(crate) struct Made(pub(crate) String);
