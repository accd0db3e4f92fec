//! Which kinds are served, and everything that clients are told because of it.
//!
//! A function of the definitions of custom resources alone: made anew when one of them changes, and shared by all requests until
//! then. What is served ends with its definition: whoever watches is told so by the end of the watch.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use api::{GroupKind, Key, Kinds, kinds};
use arc_swap::ArcSwap;
use state::Snapshot;
use tokio_util::sync::CancellationToken;

use crate::Door;
use crate::discovery::{Document, Groups, Part};
use crate::openapi::{Known, OpenApi};

const DEFINITION: GroupKind = kinds::CUSTOM_RESOURCE_DEFINITION;

/// What is served while the definitions stay as they are.
pub(crate) struct Surface {
    /// The kinds.
    pub(crate) kinds: Kinds,
    /// How they are grouped.
    pub(crate) groups: Groups,
    /// Their documents in OpenAPI.
    pub(crate) openapi: OpenApi,
    aggregated: [OnceLock<Document>; 4],
    lives: HashMap<Key, Life>,
}

/// How long what a definition teaches is served.
#[derive(Clone)]
struct Life {
    uid: Arc<str>,
    end: CancellationToken,
}

/// The surface of the newest snapshot that somebody asked about.
pub(crate) struct Surfaces {
    current: ArcSwap<Current>,
    /// One makes the next surface; others wait for it rather than make it too.
    making: Mutex<()>,
    known: Arc<Known>,
    closing: CancellationToken,
}

struct Current {
    /// The definitions alone.
    definitions: Snapshot,
    surface: Arc<Surface>,
}

/// Keeps the surface as new as the snapshot, so that nobody's request has to and watches end when they should.
pub(crate) async fn follow(door: Arc<Door>) {
    let mut view = door.store.view();
    loop {
        let world = view.borrow_and_update().clone();
        door.surfaces.of(&world);
        tokio::select! {
            changed = view.changed() => if changed.is_err() { return },
            () = door.closing.cancelled() => return,
        }
    }
}

// === impl Surfaces ===

impl Surfaces {
    /// Nothing is taught yet; what is served ends at the latest with `closing`.
    pub(crate) fn new(closing: CancellationToken) -> Self {
        let known = Arc::<Known>::default();
        let surface = Arc::new(Surface::new(Kinds::default(), known.clone(), HashMap::new()));
        let current = ArcSwap::from_pointee(Current { definitions: Snapshot::default(), surface });
        Self { current, making: Mutex::new(()), known, closing }
    }

    /// The surface of a snapshot, or of a newer one that somebody else has seen.
    pub(crate) fn of(&self, world: &Snapshot) -> Arc<Surface> {
        let fits = |current: &Current| {
            current.definitions.agrees(world, DEFINITION) || current.definitions.revision() > world.revision()
        };
        let current = self.current.load();
        if fits(&current) {
            return current.surface.clone();
        }
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.current.load();
        if fits(&current) {
            return current.surface.clone();
        }
        let before = &current.surface;
        let lives: HashMap<Key, Life> = world
            .list(DEFINITION)
            .map(|definition| {
                let known = before.lives.get(definition.key()).filter(|life| life.uid == definition.meta().uid);
                let begins = || Life { uid: definition.meta().uid.clone(), end: self.closing.child_token() };
                (definition.key().clone(), known.cloned().unwrap_or_else(begins))
            })
            .collect();
        for (key, life) in &before.lives {
            if lives.get(key).is_none_or(|lives| lives.uid != life.uid) {
                life.end.cancel();
            }
        }
        let kinds = before.kinds.after(world.list(DEFINITION));
        let surface = Arc::new(Surface::new(kinds, self.known.clone(), lives));
        self.current.store(Arc::new(Current { definitions: world.part(&[DEFINITION]), surface: surface.clone() }));
        surface
    }
}

// === impl Surface ===

impl Surface {
    fn new(kinds: Kinds, known: Arc<Known>, lives: HashMap<Key, Life>) -> Self {
        let groups = Groups::new(&kinds);
        Self { groups, kinds, openapi: OpenApi::new(known), aggregated: Default::default(), lives }
    }

    /// An aggregated document of discovery, in this version of `apidiscovery.k8s.io`.
    pub(crate) fn aggregated(&self, part: Part, version: &str) -> &Document {
        let at = usize::from(part == Part::Core) * 2 + usize::from(version == "v2");
        self.aggregated[at].get_or_init(|| self.groups.aggregated(part, version))
    }

    /// The end of what a definition teaches, if it is there.
    pub(crate) fn end_of(&self, definition: &Key) -> Option<CancellationToken> {
        self.lives.get(definition).map(|life| life.end.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::{Object, Revision};
    use serde_json::json;

    fn world(revision: u64, uid: Option<&str>) -> Snapshot {
        let definition = uid.map(|uid| {
            let names = json!({"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"});
            let conditions = json!([{"type": "Established", "status": "True"}, {"type": "NamesAccepted", "status": "True"}]);
            let value = json!({
                "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {"name": "things.example.com", "uid": uid},
                "spec": {"group": "example.com", "scope": "Cluster", "names": names, "versions": [{"name": "v1", "served": true, "storage": true}]},
                "status": {"conditions": conditions},
            });
            Object::from_value(DEFINITION, &value).expect("an object").at(Revision(revision))
        });
        Snapshot::load(Revision(revision), definition)
    }

    #[test]
    fn what_is_served_ends_with_its_definition() {
        let surfaces = Surfaces::new(CancellationToken::new());
        let key = DEFINITION.cluster_key("things.example.com");
        let serves = |surface: &Surface| surface.kinds.by_resource("example.com", "v1", "things").is_some();
        let first = surfaces.of(&world(1, Some("u-1")));
        let end = first.end_of(&key).expect("it is there");
        assert!(serves(&first) && first.groups.one("example.com").is_some());
        let gone = surfaces.of(&world(2, None));
        assert!(end.is_cancelled() && !serves(&gone) && gone.groups.one("example.com").is_none());
        // Who looks at an older world does not bring it back.
        assert!(!serves(&surfaces.of(&world(1, Some("u-1")))));
        let again = surfaces.of(&world(3, Some("u-2")));
        assert!(serves(&again) && !again.end_of(&key).expect("it is there").is_cancelled());
        let tag = |surface: &Surface| surface.aggregated(Part::Groups, "v2").tag.clone();
        assert_eq!(tag(&first), tag(&again));
        assert_ne!(tag(&first), tag(&gone));
    }
}
