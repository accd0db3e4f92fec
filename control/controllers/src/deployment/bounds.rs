//! How many pods a rolling update may have too many or too few.

use k8s_openapi::api::apps::v1::DeploymentSpec;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::share;

/// The bounds of a rolling update, in pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// How many pods there may be beyond the replicas.
    pub(super) surge: i32,
    /// How many of the replicas need not be available.
    pub(super) unavailable: i32,
}

// === impl Bounds ===

impl Bounds {
    /// The bounds that the deployment states: a quarter each if it does not, and never both zero, for then nothing could move.
    pub(super) fn of(spec: &DeploymentSpec) -> Self {
        let replicas = spec.replicas.unwrap_or(1).max(0);
        let strategy = spec.strategy.as_ref();
        if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate") {
            return Self { surge: 0, unavailable: replicas };
        }
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let quarter = IntOrString::String("25%".into());
        let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref()).unwrap_or(&quarter);
        let unavailable = rolling.and_then(|rolling| rolling.max_unavailable.as_ref()).unwrap_or(&quarter);
        let surge = share::up(surge, replicas);
        let unavailable = share::down(unavailable, replicas).min(replicas);
        match (surge, unavailable) {
            (0, 0) => Self { surge: 0, unavailable: 1.min(replicas) },
            (surge, unavailable) => Self { surge, unavailable },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::apps::v1::{DeploymentStrategy, RollingUpdateDeployment};

    fn check(replicas: i32, surge: &str, unavailable: &str, expected: (i32, i32)) {
        let read = |text: &str| text.parse().map_or_else(|_| IntOrString::String(text.into()), IntOrString::Int);
        let rolling =
            RollingUpdateDeployment { max_surge: Some(read(surge)), max_unavailable: Some(read(unavailable)) };
        let strategy = DeploymentStrategy { rolling_update: Some(rolling), type_: None };
        let spec = DeploymentSpec { replicas: Some(replicas), strategy: Some(strategy), ..DeploymentSpec::default() };
        let bounds = Bounds::of(&spec);
        assert_eq!((bounds.surge, bounds.unavailable), expected, "of {replicas} with {surge} and {unavailable}");
    }

    #[test]
    fn surge_rounds_up_and_unavailable_rounds_down() {
        check(10, "25%", "25%", (3, 2));
        check(3, "25%", "25%", (1, 0));
        check(1, "0", "25%", (0, 1));
        check(4, "0", "9", (0, 4));
        check(0, "25%", "25%", (0, 0));
        check(5, "100%", "0", (5, 0));
    }
}
