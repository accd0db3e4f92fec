//! Public names told to a name server elsewhere: dynamic updates (RFC 2136), signed with a shared key (RFC 8945).
//!
//! Nothing is remembered here. Each round reads the zone from the server (a transfer), compares it with what is wanted, and
//! sends the difference. What is ours says so in the zone itself: beside each set of records stands a text record in the
//! words of external-dns, and a set without one is never touched. Every change rests on what was read: if somebody else was
//! faster, the server refuses it, and the next round looks again.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::ProtoError;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::Name;
use state::Snapshot;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::Error;
use crate::public::{SOURCES, wanted};

mod key;
mod plan;
mod wire;

pub use key::{Key, KeyError};
use plan::Plan;

/// How often the server's zone is read if nothing has changed here.
const INTERVAL: Duration = Duration::from_secs(60);
/// The least time between two rounds.
const PAUSE: Duration = Duration::from_secs(1);
/// How long one round may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Changes in one message; all of them happen or none.
const CHANGES_MAX: usize = 64;

/// Whom to tell, and how.
#[derive(Clone, Debug)]
pub struct Config {
    /// The zone's first server.
    pub server: SocketAddr,
    /// The zones there in which names of this cluster are kept.
    pub zones: Vec<String>,
    /// What the server knows this cluster by.
    pub key: Key,
    /// What tells this cluster's records from those of others in the zone.
    pub owner: String,
}

/// Why a round failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpdateError {
    #[error("the server cannot be reached")]
    Io(#[from] std::io::Error),
    #[error("the server's words are not understood, or not signed as they should be")]
    Proto(#[from] ProtoError),
    #[error("the server says {0}")]
    Refused(ResponseCode),
    #[error("the server's zone is larger than {0} bytes")]
    TooLarge(usize),
    #[error("no answer in time")]
    TimedOut,
}

/// Tells the server what is public, until `shutdown`.
pub async fn run(
    config: Config,
    mut view: watch::Receiver<Snapshot>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    let mut zones = Vec::new();
    for name in &config.zones {
        let unreadable = |source| Error::Domain { domain: name.clone(), source };
        let mut zone = Name::from_ascii(name.trim_end_matches('.')).map_err(unreadable)?.to_lowercase();
        zone.set_fqdn(true);
        zones.push(zone);
    }
    let keep = async {
        loop {
            let seen = view.borrow_and_update().clone();
            for zone in &zones {
                if let Err(error) = settle(&config, zone, &seen).await {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(%zone, server = %config.server, error, "public names are not told");
                }
            }
            sleep(PAUSE).await;
            let _ = timeout(INTERVAL, changed(&mut view, &seen)).await;
        }
    };
    tokio::select! {
        () = shutdown => Ok(()),
        () = keep => Ok(()),
    }
}

/// Makes the server's zone what it is to be. A name that changes from an alias to addresses takes two steps.
async fn settle(config: &Config, zone: &Name, view: &Snapshot) -> Result<(), UpdateError> {
    let wanted = wanted(zone, view);
    for _ in 0..2 {
        let there = in_time(wire::transfer(config, zone)).await?;
        let plan = Plan::new(zone, &wanted, &there, &config.owner);
        for (name, kind, why) in &plan.conflicts {
            tracing::warn!(%name, %kind, "not told: {why}");
        }
        if plan.changes.is_empty() {
            return Ok(());
        }
        for changes in plan.changes.chunks(CHANGES_MAX) {
            in_time(wire::send(config, zone, changes)).await?;
        }
        for change in &plan.changes {
            tracing::info!(name = %change.name, kind = %change.kind, server = %config.server, "{}", change.what);
        }
    }
    Ok(())
}

async fn in_time<T>(round: impl Future<Output = Result<T, UpdateError>>) -> Result<T, UpdateError> {
    timeout(PATIENCE, round).await.unwrap_or(Err(UpdateError::TimedOut))
}

/// Returns when something is different that public names are made of.
async fn changed(view: &mut watch::Receiver<Snapshot>, seen: &Snapshot) {
    loop {
        if view.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        let now = view.borrow_and_update().clone();
        if !SOURCES.iter().all(|kind| now.agrees(seen, *kind)) {
            return;
        }
    }
}
