//! What somebody wants to do, in the words of RBAC.

/// What somebody wants to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    /// Such as `get`, or of no request at all: `bind`, `impersonate`.
    pub(crate) verb: String,
    /// To what.
    pub(crate) about: About,
}

/// What a question is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum About {
    /// Objects.
    Resource(Resource),
    /// What is no resource, by its path.
    Path(String),
}

/// Objects, or one of them, or a part of one. What is empty is not said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resource {
    pub(crate) group: String,
    pub(crate) plural: String,
    pub(crate) subresource: String,
    /// The namespace; of a namespace itself, too.
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// The label selector of a list or a watch, as it is written.
    pub(crate) labels: String,
}

// === impl Question ===

impl Question {
    /// Whether one may do something to objects.
    pub(crate) fn of_resource(verb: &str, resource: Resource) -> Self {
        Self { verb: verb.into(), about: About::Resource(resource) }
    }

    /// Whether one may do something to what is no resource.
    pub(crate) fn of_path(verb: &str, path: &str) -> Self {
        Self { verb: verb.into(), about: About::Path(path.into()) }
    }

    /// The namespace it is about; empty if it is about none.
    pub(crate) fn namespace(&self) -> &str {
        match &self.about {
            About::Resource(resource) => &resource.namespace,
            About::Path(_) => "",
        }
    }
}

// === impl Resource ===

impl Resource {
    /// All objects of a resource, everywhere.
    pub(crate) fn new(group: &str, plural: &str) -> Self {
        Self { group: group.into(), plural: plural.into(), ..Self::default() }
    }

    /// In a namespace.
    pub(crate) fn within(mut self, namespace: &str) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// Only the one of this name.
    pub(crate) fn named(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }

    /// Only this part.
    pub(crate) fn part(mut self, subresource: &str) -> Self {
        self.subresource = subresource.into();
        self
    }

    /// Whether this is the resource called so, in any namespace, by any name.
    pub(crate) fn is(&self, group: &str, plural: &str) -> bool {
        self.group == group && self.plural == plural
    }
}
