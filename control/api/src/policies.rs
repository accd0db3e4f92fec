//! Admission that objects configure: which requests rules speak of, and what policies in CEL say of them.
//!
//! Everything here is pure: a request and the objects it touches come in as values, refusals and warnings go out. Who keeps
//! the compiled rules, finds parameters and calls webhooks is the API server.

mod checking;
mod compile;
mod matching;
mod policy;
mod request;

#[cfg(test)]
mod tests;

pub use checking::{Doubt, doubts};
pub use compile::{Wrong, compile_conditions, environment};
pub use matching::{Matcher, Verdict};
pub use policy::{Denial, Judged, Policy};
pub use request::{Action, Asked};

/// The API group of what configures admission; its own objects are never asked about, or a broken one could not be removed.
pub const GROUP: &str = "admissionregistration.k8s.io";
