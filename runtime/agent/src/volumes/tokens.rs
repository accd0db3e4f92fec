//! The tokens in a pod's volumes: which it wants, which there are, and when each is to be replaced.
//!
//! Pure: asking for them is for the worker. A token is replaced when four fifths of its life are over, or after a day, as
//! Kubernetes has it; until its successor is there, the old one stays.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, ServiceAccountTokenProjection};

/// What tells one token of a pod from another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ask {
    /// Whom it is meant for; none for the API itself.
    pub audience: Option<String>,
    /// How long it is to live.
    pub seconds: i64,
}

/// A token that was given out.
#[derive(Clone, PartialEq, Eq)]
pub struct Held {
    /// The token itself.
    pub text: String,
    /// When it ends.
    pub expires: Timestamp,
}

/// The tokens that a pod has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens(BTreeMap<Ask, Held>);

/// As Kubernetes has it: what a volume asks for that does not say.
const SECONDS_DEFAULT: i64 = 3600;
/// As Kubernetes has it: no token is older.
const AGE_MAX: SignedDuration = SignedDuration::from_hours(24);
/// As Kubernetes has it: so much of its life is left when a token is replaced.
const LEFT_PERCENT: i64 = 20;

/// The name of the volume that asks for a token.
pub(crate) fn volume_of(pod: &Pod, ask: &Ask) -> String {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let mut asking = volumes.filter(|volume| {
        let sources = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
        sources.filter_map(|source| source.service_account_token.as_ref()).any(|source| Ask::of(source) == *ask)
    });
    asking.next().map(|volume| volume.name.clone()).unwrap_or_default()
}

// === impl Ask ===

impl Ask {
    /// What a volume asks for.
    pub fn of(source: &ServiceAccountTokenProjection) -> Self {
        let audience = source.audience.clone().filter(|audience| !audience.is_empty());
        Self { audience, seconds: source.expiration_seconds.unwrap_or(SECONDS_DEFAULT) }
    }

    /// Everything that a pod asks for.
    pub fn all(pod: &Pod) -> BTreeSet<Self> {
        let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        let sources = volumes.filter_map(|volume| volume.projected.as_ref()).flat_map(|it| it.sources.iter().flatten());
        sources.filter_map(|source| source.service_account_token.as_ref()).map(Self::of).collect()
    }

    /// When a token that was asked for so is to be replaced.
    fn due(&self, held: &Held) -> Timestamp {
        let life = SignedDuration::from_secs(self.seconds);
        let begun = held.expires.checked_sub(life).unwrap_or(Timestamp::MIN);
        let late = SignedDuration::from_secs(self.seconds.saturating_mul(100 - LEFT_PERCENT) / 100);
        begun.checked_add(late.min(AGE_MAX)).unwrap_or(Timestamp::MAX)
    }
}

// === impl Tokens ===

impl Tokens {
    /// The token that a volume asks for, if there is one.
    pub fn text(&self, ask: &Ask) -> Option<&str> {
        self.0.get(ask).map(|held| held.text.as_str())
    }

    /// Which of these are to be asked for now: those that are not there, and those whose time has come.
    pub fn due(&self, asks: BTreeSet<Ask>, now: Timestamp) -> Vec<Ask> {
        asks.into_iter().filter(|ask| self.0.get(ask).is_none_or(|held| ask.due(held) <= now)).collect()
    }

    /// Keeps a new one.
    pub fn keep(&mut self, ask: Ask, held: Held) {
        self.0.insert(ask, held);
    }

    /// When the first of them is to be replaced.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.0.iter().map(|(ask, held)| ask.due(held)).min()
    }
}

// === impl Held ===

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Held(until {})", self.expires)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::pod;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("a time")
    }

    fn ask(seconds: i64) -> Ask {
        Ask { audience: None, seconds }
    }

    fn with(seconds: i64) -> Tokens {
        let mut tokens = Tokens::default();
        tokens.keep(ask(seconds), Held { text: "t".into(), expires: at(seconds) });
        tokens
    }

    #[test]
    fn a_pod_wants_what_its_volumes_say() {
        let pod = pod(r#"{"containers":[],"volumes":[{"name":"a","projected":{"sources":[
            {"serviceAccountToken":{"path":"token","expirationSeconds":3607}},
            {"serviceAccountToken":{"path":"other","audience":"vault"}},{"configMap":{"name":"cfg"}}]}}]}"#);
        let vault = Ask { audience: Some("vault".into()), seconds: 3600 };
        assert_eq!(Ask::all(&pod), [ask(3607), vault].into());
    }

    #[test]
    fn a_token_is_replaced_when_most_of_its_life_is_over() {
        let check = |seconds: i64, now: i64, expect: bool| {
            let due = with(seconds).due([ask(seconds)].into(), at(now));
            assert_eq!(!due.is_empty(), expect, "{seconds} at {now}");
        };
        check(600, 0, false);
        check(600, 479, false);
        check(600, 480, true);
        check(3607, 2884, false);
        check(3607, 2885, true);
        // A long life does not matter: after a day there is a new one.
        check(365 * 86_400, 86_399, false);
        check(365 * 86_400, 86_400, true);
        assert_eq!(with(600).next_due(), Some(at(480)));
    }

    #[test]
    fn what_is_not_there_is_asked_for_at_once() {
        assert_eq!(with(600).due([ask(600), ask(700)].into(), at(0)), [ask(700)]);
        assert_eq!(Tokens::default().next_due(), None);
    }
}
