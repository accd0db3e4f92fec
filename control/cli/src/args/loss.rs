//! When a node counts as lost, and for how long pods stay there. The words are Kubernetes'.

use std::time::Duration;

use api::pod_spec::Outages;
use apiserver::Patience;
use clap::Args;

#[derive(Debug, Clone, Args)]
pub(crate) struct Loss {
    /// A node that falls silent counts as lost within about this; one whose connection is closed, within half a second
    /// [default: 3s; 40s for `up`, whose node is the same process]
    #[arg(long, env = "CORACLE_NODE_MONITOR_GRACE_PERIOD", value_name = "DURATION", value_parser = grace)]
    node_monitor_grace_period: Option<Duration>,
    /// So long a new pod stays on a node that cannot be reached, unless it says otherwise
    /// [default: 0 for pods of a ReplicaSet, which are replaced; else 300]
    #[arg(long, env = "CORACLE_DEFAULT_UNREACHABLE_TOLERATION_SECONDS", value_name = "SECONDS")]
    default_unreachable_toleration_seconds: Option<u32>,
    /// The same on a node that says that it is not ready [default: 10 for pods of a ReplicaSet; else 300]
    #[arg(long, env = "CORACLE_DEFAULT_NOT_READY_TOLERATION_SECONDS", value_name = "SECONDS")]
    default_not_ready_toleration_seconds: Option<u32>,
}

/// Soon enough for replacements within five seconds.
const GRACE: Duration = Duration::from_secs(3);
/// Where nobody is there to replace anything, a machine that is only busy is left in peace.
const GRACE_OF_ONE_PROCESS: Duration = Duration::from_secs(40);
/// With less, a node that is only busy would be lost.
const GRACE_MIN: Duration = Duration::from_secs(1);

// === impl Loss ===

impl Loss {
    /// The same for a server and a node that are one process.
    pub(crate) fn of_one_process(mut self) -> Self {
        self.node_monitor_grace_period.get_or_insert(GRACE_OF_ONE_PROCESS);
        self
    }

    /// How soon a node is given up.
    pub(crate) fn patience(&self) -> Patience {
        Patience::within(self.node_monitor_grace_period.unwrap_or(GRACE))
    }

    /// How long a lease holds that nobody renews.
    pub(crate) fn lease_grace(&self, usual: Duration) -> Duration {
        self.node_monitor_grace_period.map_or(usual, |grace| grace.max(usual))
    }

    /// For how long new pods stay on a lost node.
    pub(crate) fn outages(&self) -> Outages {
        Outages {
            not_ready_seconds: self.default_not_ready_toleration_seconds,
            unreachable_seconds: self.default_unreachable_toleration_seconds,
        }
    }
}

fn grace(text: &str) -> anyhow::Result<Duration> {
    let grace = crate::durations::parse(text)?;
    anyhow::ensure!(grace >= GRACE_MIN, "must be at least {GRACE_MIN:?}");
    Ok(grace)
}
