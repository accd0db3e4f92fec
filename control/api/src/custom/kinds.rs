//! The catalog, and all that the cluster was taught.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::by_preference;
use super::definition::{CONDITION_ESTABLISHED, CONDITION_NAMES_ACCEPTED, CustomResourceDefinition, DefinitionSpec};
use super::kind::CustomKind;
use crate::{GroupKind, Kind, Object, Revision, SharedKind, catalog};

/// Every kind that is served.
#[derive(Clone)]
pub struct Kinds {
    taught: BTreeMap<Arc<str>, Taught>,
    /// By plural; few kinds share one.
    by_resource: HashMap<&'static str, Vec<SharedKind>>,
    /// In the order in which discovery lists them.
    all: Vec<SharedKind>,
}

/// What one definition teaches.
#[derive(Clone)]
struct Taught {
    revision: Revision,
    spec: DefinitionSpec,
    /// When it began to say so.
    since: Revision,
    kinds: Vec<Arc<CustomKind>>,
}

// === impl Kinds ===

impl Default for Kinds {
    fn default() -> Self {
        Self::with(BTreeMap::new())
    }
}

impl Kinds {
    /// The catalog, and what these definitions teach. Of a definition that these kinds know already nothing is made anew.
    pub fn after<'a>(&self, definitions: impl Iterator<Item = &'a Object>) -> Self {
        let taught = definitions.filter_map(|definition| {
            let name: Arc<str> = definition.key().name().into();
            let taught = match self.taught.get(&name) {
                Some(known) if known.revision == definition.revision() => known.clone(),
                known => Taught::new(definition, known)?,
            };
            Some((name, taught))
        });
        Self::with(taught.collect())
    }

    fn with(taught: BTreeMap<Arc<str>, Taught>) -> Self {
        let mut all: Vec<SharedKind> = catalog::all().iter().map(|kind| SharedKind::Known(*kind)).collect();
        let learned = taught.values().flat_map(|taught| &taught.kinds);
        all.extend(learned.map(|kind| SharedKind::Learned(kind.clone())));
        let mut by_resource: HashMap<_, Vec<SharedKind>> = HashMap::with_capacity(all.len());
        for kind in &all {
            by_resource.entry(kind.names().plural).or_default().push(kind.clone());
        }
        Self { taught, by_resource, all }
    }

    /// All kinds, each in every version that is served.
    pub fn all(&self) -> &[SharedKind] {
        &self.all
    }

    /// The kind whose objects are under `/apis/{group}/{version}/…/{plural}`; the core group is empty.
    pub fn by_resource(&self, group: &str, version: &str, plural: &str) -> Option<&SharedKind> {
        // Nobody teaches what the program knows by itself: its own kinds come first.
        self.by_resource.get(plural)?.iter().find(|kind| {
            let names = kind.names();
            names.group == group && names.version == version
        })
    }

    /// The kind of this group and name, in the version that clients should prefer.
    pub fn by_kind(&self, kind: GroupKind) -> Option<&SharedKind> {
        self.all.iter().find(|one| one.group_kind() == kind)
    }
}

// === impl Taught ===

impl Taught {
    fn new(object: &Object, known: Option<&Self>) -> Option<Self> {
        let definition = object.decode::<CustomResourceDefinition>().ok()?;
        let is_served = definition.is(CONDITION_ESTABLISHED) && definition.is(CONDITION_NAMES_ACCEPTED);
        // Objects of a kind that the program knows by itself are not another's to teach, whatever its definition says.
        let own = |kind: &CustomKind| catalog::by_kind(kind.group_kind()).is_none();
        let same = known.filter(|known| known.spec == definition.spec);
        let since = same.map_or(object.revision(), |same| same.since);
        let kinds = match same {
            Some(same) if is_served && !same.kinds.is_empty() => same.kinds.clone(),
            _ if is_served => {
                let mut versions: Vec<_> = definition.spec.versions.iter().filter(|version| version.served).collect();
                versions.sort_by(|one, other| by_preference(&one.name, &other.name));
                let kinds = versions.into_iter().filter_map(|version| CustomKind::new(&definition, version, since));
                let kinds = kinds.filter(own);
                kinds.map(Arc::new).collect()
            }
            _ => Vec::new(),
        };
        Some(Self { revision: object.revision(), spec: definition.spec.clone(), since, kinds })
    }
}
