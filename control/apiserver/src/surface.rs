//! Which kinds are served, and everything that clients are told because of it.
//!
//! A function of the definitions of custom resources alone: made anew when one of them changes, and shared by all requests until
//! then.

use std::sync::{Arc, OnceLock};

use api::{Kinds, kinds};
use arc_swap::ArcSwap;
use state::Snapshot;

use crate::discovery::{Document, Groups, Part};
use crate::openapi::{Known, OpenApi};

/// What is served while the definitions stay as they are.
pub(crate) struct Surface {
    /// The kinds.
    pub(crate) kinds: Kinds,
    /// How they are grouped.
    pub(crate) groups: Groups,
    /// Their documents in OpenAPI.
    pub(crate) openapi: OpenApi,
    aggregated: [OnceLock<Document>; 4],
}

/// The surface of the newest snapshot that somebody asked about.
pub(crate) struct Surfaces {
    current: ArcSwap<(Snapshot, Arc<Surface>)>,
    known: Arc<Known>,
}

// === impl Surfaces ===

impl Default for Surfaces {
    fn default() -> Self {
        let known = Arc::<Known>::default();
        let nothing = (Snapshot::default(), Arc::new(Surface::new(Kinds::default(), known.clone())));
        Self { current: ArcSwap::from_pointee(nothing), known }
    }
}

impl Surfaces {
    /// The surface of a snapshot.
    pub(crate) fn of(&self, world: &Snapshot) -> Arc<Surface> {
        const DEFINITIONS: api::GroupKind = kinds::CUSTOM_RESOURCE_DEFINITION;
        let current = self.current.load();
        if current.0.agrees(world, DEFINITIONS) {
            return current.1.clone();
        }
        let kinds = current.1.kinds.after(world.list(DEFINITIONS));
        let surface = Arc::new(Surface::new(kinds, self.known.clone()));
        self.current.store(Arc::new((world.part(DEFINITIONS), surface.clone())));
        surface
    }
}

// === impl Surface ===

impl Surface {
    fn new(kinds: Kinds, known: Arc<Known>) -> Self {
        Self { groups: Groups::new(&kinds), kinds, openapi: OpenApi::new(known), aggregated: Default::default() }
    }

    /// An aggregated document of discovery, in this version of `apidiscovery.k8s.io`.
    pub(crate) fn aggregated(&self, part: Part, version: &str) -> &Document {
        let at = usize::from(part == Part::Core) * 2 + usize::from(version == "v2");
        self.aggregated[at].get_or_init(|| self.groups.aggregated(part, version))
    }
}
