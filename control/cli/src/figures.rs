//! What nodes measure, for the controllers of this process: over the links that nodes keep to the API server.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use api::{Key, Object};
use apiserver::Links;
use manager::Waiting;
use state::Snapshot;
use tokio::sync::watch;

/// The nodes' figures.
pub(crate) struct Figures(pub(crate) Arc<Links>);

impl manager::Figures for Figures {
    fn of_pods(&self, world: Snapshot, pods: Vec<Key>) -> Pin<Box<dyn Future<Output = Vec<Object>> + Send + '_>> {
        Box::pin(async move { self.0.figures(&world, &pods).await })
    }

    fn waiting(&self) -> watch::Receiver<Waiting> {
        self.0.waiting()
    }
}

impl fmt::Debug for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Figures").finish_non_exhaustive()
    }
}
