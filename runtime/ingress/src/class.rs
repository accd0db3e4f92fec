//! Which Ingresses are ours to serve.

use api::{Object, kinds};
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use state::Snapshot;

/// The name of the class served here.
pub const CLASS: &str = "coracle";
/// What an IngressClass that is served here names as its controller.
pub const CONTROLLER: &str = "coracle.dev/ingress";

/// By which the class was named before it was a field.
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
/// Marks the class of Ingresses that name none.
const DEFAULT_ANNOTATION: &str = "ingressclass.kubernetes.io/is-default-class";

/// The classes of a snapshot, as far as they matter here.
pub(crate) struct Classes {
    ours: Vec<String>,
    /// Whether Ingresses without a class are ours: the default class is, or there is none and nobody else would serve them.
    without: bool,
}

// === impl Classes ===

impl Classes {
    pub(crate) fn is_ours(&self, object: &Object, ingress: &Ingress) -> bool {
        let field = ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_deref());
        let annotation = object.meta().annotations.get(CLASS_ANNOTATION).map(String::as_str);
        match field.or(annotation) {
            Some(class) => class == CLASS || self.ours.iter().any(|ours| ours == class),
            None => self.without,
        }
    }
}

impl From<&Snapshot> for Classes {
    fn from(view: &Snapshot) -> Self {
        let mut classes = Self { ours: Vec::new(), without: true };
        let mut is_default_ours = false;
        for object in view.list(kinds::INGRESS_CLASS) {
            let Ok(class) = object.decode::<IngressClass>() else { continue };
            let controller = class.spec.as_ref().and_then(|spec| spec.controller.as_deref());
            let is_ours = controller == Some(CONTROLLER);
            if is_ours {
                classes.ours.push(object.key().name().to_owned());
            }
            if object.meta().annotations.get(DEFAULT_ANNOTATION).is_some_and(|value| value == "true") {
                classes.without = false;
                is_default_ours |= is_ours;
            }
        }
        classes.without |= is_default_ours;
        classes
    }
}
