//! `authorizer`: asking from inside an expression who may do what.

use std::fmt;
use std::sync::Arc;

/// Answers whether somebody may do something. The caller of the evaluation knows who is asked about, unless it is a service
/// account that the expression names.
pub trait Authorizer: Sync {
    /// Whether it is allowed, and why.
    fn decide(&self, question: &Question) -> Decision;
}

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Namespace and name of the service account that is asked about; nothing for whoever made the request.
    pub service_account: Option<(String, String)>,
    /// What would be done, such as `create`.
    pub verb: String,
    /// A path that is no resource; then nothing below counts.
    pub path: Option<String>,
    #[allow(missing_docs, reason = "the names are Kubernetes' own and say it")]
    pub group: String,
    /// Lower case, plural.
    pub resource: String,
    /// Such as `status`.
    pub subresource: String,
    /// Empty for the cluster.
    pub namespace: String,
    /// Empty for any.
    pub name: String,
    /// Which of them, by their fields.
    pub field_selector: Option<String>,
    /// Which of them, by their labels.
    pub label_selector: Option<String>,
}

/// What is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Whether it may be done.
    pub is_allowed: bool,
    /// Why, as far as that is told.
    pub reason: String,
    /// What went wrong, if the question could not be answered.
    pub error: Option<String>,
}

/// A question while it is being put together, or its answer.
#[derive(Clone)]
pub struct Access<'a> {
    authorizer: &'a dyn Authorizer,
    pub(super) stage: Stage,
}

/// How far it is.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// Whom to ask; what the request itself is about.
    Root(Arc<Question>, Option<(String, String)>),
    Path(Question),
    Group(Question),
    Resource(Question),
    Decided(Decision),
}

pub(super) const AUTHORIZER: &str = "kubernetes.authorization.Authorizer";
pub(super) const PATH_CHECK: &str = "kubernetes.authorization.PathCheck";
pub(super) const GROUP_CHECK: &str = "kubernetes.authorization.GroupCheck";
pub(super) const RESOURCE_CHECK: &str = "kubernetes.authorization.ResourceCheck";
pub(super) const DECISION: &str = "kubernetes.authorization.Decision";

// === impl Access ===

impl<'a> Access<'a> {
    pub(super) fn root(authorizer: &'a dyn Authorizer, request: Question) -> Self {
        Self { authorizer, stage: Stage::Root(Arc::new(request), None) }
    }

    pub(super) fn at(&self, stage: Stage) -> Self {
        Self { authorizer: self.authorizer, stage }
    }

    pub(super) fn decide(&self, question: &Question) -> Self {
        self.at(Stage::Decided(self.authorizer.decide(question)))
    }

    pub(super) const fn type_name(&self) -> &'static str {
        match self.stage {
            Stage::Root(..) => AUTHORIZER,
            Stage::Path(_) => PATH_CHECK,
            Stage::Group(_) => GROUP_CHECK,
            Stage::Resource(_) => RESOURCE_CHECK,
            Stage::Decided(_) => DECISION,
        }
    }
}

impl fmt::Debug for Access<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.stage, f)
    }
}
