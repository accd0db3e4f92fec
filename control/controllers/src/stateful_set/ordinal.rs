//! Names and ordinals: `web-0` is the pod of `web` at ordinal 0.

use api::Object;
use k8s_openapi::api::apps::v1::StatefulSetSpec;

/// The ordinals at which a set is to have a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ordinals {
    pub(super) start: i64,
    pub(super) end: i64,
}

// === impl Ordinals ===

impl Ordinals {
    pub(super) fn of(spec: &StatefulSetSpec) -> Self {
        let start = spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or(0).max(0);
        let replicas = spec.replicas.unwrap_or(1).max(0);
        Self { start: start.into(), end: i64::from(start) + i64::from(replicas) }
    }

    pub(super) fn contains(self, ordinal: i64) -> bool {
        (self.start..self.end).contains(&ordinal)
    }
}

/// The name of a set's pod.
pub(super) fn name(set: &Object, ordinal: i64) -> String {
    format!("{}-{ordinal}", set.key().name())
}

/// The ordinal of one of the set's pods; nothing for a pod of another name.
pub(super) fn of(pod: &Object, set: &Object) -> Option<i64> {
    parse(pod.key().name()).filter(|(parent, _)| *parent == set.key().name()).map(|(_, ordinal)| ordinal)
}

/// The set and the ordinal that a pod's name speaks of. There is one way to write an ordinal, so that no two names mean the same.
pub(super) fn parse(name: &str) -> Option<(&str, i64)> {
    let (set, digits) = name.rsplit_once('-')?;
    let ordinal: i32 = digits.parse().ok()?;
    (ordinal.to_string() == digits).then_some((set, ordinal.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_the_set_and_the_ordinal() {
        let check = |name: &str, expected: Option<(&str, i64)>| assert_eq!(parse(name), expected, "{name}");
        check("web-0", Some(("web", 0)));
        check("my-web-12", Some(("my-web", 12)));
        check("web-007", None);
        check("web-", None);
        check("web", None);
        check("web-99999999999", None);
    }
}
