//! The one control loop, on the leader.
//!
//! Events become keys, keys are looked at on the latest snapshot, and what a look wants is proposed. Controllers decide; this
//! only carries out: it never looks into an object. A key is looked at once at a time, many keys side by side. A refusal means
//! look again, later each time; a slow full scan finds what no event told of.

mod figures;
mod gate;
mod leader;
mod round;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use api::pod_spec::Outages;
use controllers::Signers;
use ipnet::Ipv4Net;
use jiff::Timestamp;
use store::{ReadError, Store};
use tracing::info;

pub use figures::{Figures, Waiting};
pub use gate::Gate;

/// How the loop goes.
#[derive(Clone, Debug)]
pub struct Config {
    /// What makes this process's choices unlike those of any other: from the system's randomness.
    pub seed: u64,
    /// How many keys are looked at side by side.
    pub looks_max: usize,
    /// How often every key is looked at though nothing happened to it.
    pub scan_every: Duration,
    /// How long a lease holds that nobody renews.
    pub node_grace: Duration,
    /// How long new pods stay on a lost node.
    pub outages: Outages,
    /// Of which every pod's address is.
    pub pod_network: Ipv4Net,
    /// The certificate of the cluster's authority in PEM, for every namespace to know the API by.
    pub root_certificate: Option<Arc<str>>,
    /// Those who hold the cluster's keys.
    pub signers: Signers,
    /// Who rules about what controllers create; nobody, if none.
    pub gate: Option<Arc<dyn Gate>>,
    /// Who measures; without, nobody decides by what pods use.
    pub figures: Option<Arc<dyn Figures>>,
}

/// Why the loop ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The store was shut down, or its disk failed.
    #[error("the store is closed")]
    Closed,
}

/// How long to wait before asking again whether this member leads.
const LEADERSHIP_POLL: Duration = Duration::from_millis(200);

// === impl Config ===

impl Config {
    /// The defaults, with chance from `seed`.
    pub fn seeded(seed: u64) -> Self {
        Self {
            seed,
            // Enough for one group commit to carry a rollout, few enough that a look is never old.
            looks_max: 128,
            scan_every: Duration::from_mins(5),
            node_grace: Duration::from_secs(40),
            outages: Outages::default(),
            pod_network: controllers::POD_NETWORK,
            root_certificate: None,
            signers: Signers::default(),
            gate: None,
            figures: None,
        }
    }
}

/// Controls the cluster whenever this member leads, until `shutdown`.
pub async fn run<C>(config: Config, store: Store, clock: C, shutdown: impl Future<Output = ()>) -> Result<(), RunError>
where
    C: Fn() -> Timestamp + Send + Sync + Clone + 'static,
{
    tokio::pin!(shutdown);
    let lead = async {
        loop {
            match store.leads().await {
                Ok(true) => {
                    info!("leading: controllers start");
                    leader::lead(&config, &store, &clock).await?;
                    info!("not leading: controllers stop");
                }
                Ok(false) | Err(ReadError::NotLeader { .. }) => {}
                Err(ReadError::Closed) => return Err(RunError::Closed),
            }
            tokio::time::sleep(LEADERSHIP_POLL).await;
        }
    };
    tokio::select! {
        () = &mut shutdown => Ok(()),
        ended = lead => ended,
    }
}
