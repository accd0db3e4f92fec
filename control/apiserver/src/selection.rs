//! Which objects of a kind a list or a watch is about.

use api::selector::{FieldSelector, LabelSelector};
use api::{Object, Scope, SharedKind, StatusError};
use state::Snapshot;
use store::Interest;

use crate::query::ListOptions;
use crate::target::Target;

/// Objects of one kind, perhaps in one namespace, perhaps with certain labels and fields.
#[derive(Clone)]
pub(crate) struct Selection {
    /// The kind.
    pub(crate) kind: SharedKind,
    /// The namespace; empty for all, and for cluster-scoped kinds.
    pub(crate) namespace: String,
    labels: LabelSelector,
    fields: FieldSelector,
    narrow: bool,
}

// === impl Selection ===

impl Selection {
    /// What a request's path and query select.
    pub(crate) fn new(target: &Target, options: &ListOptions) -> Result<Self, StatusError> {
        Ok(Self {
            kind: target.kind.clone(),
            namespace: target.namespace.clone(),
            labels: options.labels.parse()?,
            fields: FieldSelector::parse(&options.fields, &*target.kind)?,
            narrow: !(options.labels.is_empty() && options.fields.is_empty()),
        })
    }

    /// Whether there is a selector at all.
    pub(crate) fn is_narrow(&self) -> bool {
        self.narrow
    }

    /// Whose changes can be of interest, as narrow as the store files them.
    pub(crate) fn interest(&self) -> Interest {
        let kind = self.kind.group_kind();
        let is_everywhere = self.namespace.is_empty() && self.kind.names().scope == Scope::Namespaced;
        match (is_everywhere, self.fields.name()) {
            (true, _) => Interest::Kind(kind),
            (false, Some(name)) => Interest::Object(kind.key(&self.namespace, name)),
            (false, None) if self.namespace.is_empty() => Interest::Kind(kind),
            (false, None) => Interest::Namespace(kind, self.namespace.as_str().into()),
        }
    }

    /// Whether the object is selected.
    pub(crate) fn matches(&self, object: &Object) -> bool {
        (self.namespace.is_empty() || *self.namespace == *object.key().namespace())
            && self.labels.matches(&object.meta().labels)
            && self.fields.matches(&*self.kind, object)
    }

    /// The selected objects behind this place, in order.
    pub(crate) fn after<'a>(
        &'a self,
        world: &'a Snapshot,
        place: (&'a str, &'a str),
    ) -> impl Iterator<Item = &'a Object> {
        self.stretch(world, place).filter(|object| self.matches(object))
    }

    /// The objects behind this place among which are all that are selected, in order.
    pub(crate) fn stretch<'a>(
        &'a self,
        world: &'a Snapshot,
        (namespace, name): (&str, &str),
    ) -> impl Iterator<Item = &'a Object> + use<'a> {
        let kind = self.kind.group_kind();
        // Keys are ordered by namespace, so a namespace is one stretch of them.
        let start = if namespace < self.namespace.as_str() { (self.namespace.as_str(), "") } else { (namespace, name) };
        world
            .list_after(kind, start.0, start.1)
            .take_while(|object| self.namespace.is_empty() || *object.key().namespace() == *self.namespace)
    }
}
