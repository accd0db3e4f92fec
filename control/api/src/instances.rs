//! How the instances of a pod's servers live: the annotation `coracle.dev/instances` of pods.
//!
//! - `fresh`, as without it: one request, one instance, and nothing is carried over.
//! - `reuse`: an instance answers requests one after another, and is let go when none come.
//! - a number: so many instances are started before they are needed. Each answers one request, and another is started in its place.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::rules::Causes;

/// The annotation of pods.
pub const ANNOTATION: &str = "coracle.dev/instances";

/// More would be a node's whole memory for the sake of microseconds.
const WARM_MAX: usize = 1_000;

/// How the instances of a pod's servers live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Instances {
    /// One request, one instance.
    #[default]
    Fresh,
    /// An instance answers requests one after another.
    Reuse,
    /// So many wait, started, for a request each.
    Warm(usize),
}

/// A text that says nothing of the kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 'fresh', 'reuse' or a number of instances to keep warm, at most {WARM_MAX}")]
pub struct NotInstances;

/// What annotations say; what is wrong is as if nothing was said, for it was refused where it came in.
pub fn of(annotations: &BTreeMap<String, String>) -> Instances {
    annotations.get(ANNOTATION).and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Whether what the annotations at `path` say can be understood.
pub(crate) fn validate(path: &str, annotations: Option<&BTreeMap<String, String>>, causes: &mut Causes) {
    let Some(text) = annotations.and_then(|annotations| annotations.get(ANNOTATION)) else { return };
    if let Err(why) = text.parse::<Instances>() {
        causes.invalid(format!("{path}[{ANNOTATION}]"), text, &why.to_string());
    }
}

// === impl Instances ===

impl FromStr for Instances {
    type Err = NotInstances;

    fn from_str(text: &str) -> Result<Self, NotInstances> {
        match text {
            "fresh" => Ok(Self::Fresh),
            "reuse" => Ok(Self::Reuse),
            number => match number.parse() {
                Ok(0) => Ok(Self::Fresh),
                Ok(warm) if warm <= WARM_MAX => Ok(Self::Warm(warm)),
                _ => Err(NotInstances),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_word_or_a_number() {
        let check = |text: &str, expected: Option<Instances>| assert_eq!(text.parse().ok(), expected, "{text:?}");
        check("fresh", Some(Instances::Fresh));
        check("reuse", Some(Instances::Reuse));
        check("0", Some(Instances::Fresh));
        check("16", Some(Instances::Warm(16)));
        for wrong in ["", "-1", "1001", "many", "Reuse"] {
            check(wrong, None);
        }
    }
}
