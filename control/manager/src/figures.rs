//! What is measured in the cluster, brought to those who decide by it.
//!
//! Controllers look at a world and nothing else. So what is measured is put into the world that they look at, for one look; it is
//! never stored, and nobody else sees it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use api::quantity::Quantity;
use api::{Key, Object, measured};
use futures::future::BoxFuture;
use jiff::Timestamp;
use state::{Change, Event, Snapshot};
use tokio::sync::watch;

/// How many requests and connections wait for each service that has no endpoint and will be given one.
pub type Waiting = Arc<BTreeMap<Key, u64>>;

/// Who measures.
pub trait Figures: fmt::Debug + Send + Sync {
    /// What these pods of a world use and are asked, as objects; pods that nobody can measure now have none.
    fn of_pods(&self, world: Snapshot, pods: Vec<Key>) -> BoxFuture<'_, Vec<Object>>;

    /// Who waits, told as soon as somebody begins to.
    fn waiting(&self) -> watch::Receiver<Waiting>;
}

/// What is told of those who wait.
pub(crate) fn told(waiting: &Waiting, now: Timestamp) -> Vec<Object> {
    let at = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let figure = |(service, count): (&Key, &u64)| {
        let count = Quantity::units(i64::try_from(*count).unwrap_or(i64::MAX));
        measured::figure("services", service, measured::REQUESTS_WAITING, count, &at, 0)
    };
    waiting.iter().filter_map(figure).collect()
}

/// The world, and in it what was measured.
pub(crate) fn within(world: &Snapshot, measured: Vec<Object>) -> Snapshot {
    measured.into_iter().fold(world.clone(), |world, object| world.follow(&appearing(object, &world)))
}

/// That a figure is there, as if it were an object that was just added.
pub(crate) fn appearing(figure: Object, world: &Snapshot) -> Event {
    Event { revision: world.revision(), change: Change::Added(figure) }
}
