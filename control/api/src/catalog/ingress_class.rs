//! Who serves an ingress.

use jiff::Timestamp;
use k8s_openapi::api::networking::v1::{IngressClass, IngressClassParametersReference};
use serde_json::Value;

use super::{AGE, NAME, text};
use crate::rules::{self, Causes};
use crate::{Column, Names, Resource, Scope, cells};

/// The kind.
#[derive(Debug)]
pub struct IngressClasses;

impl Resource for IngressClasses {
    type Object = IngressClass;

    const NAMES: &'static Names = &Names {
        group: "networking.k8s.io",
        version: "v1",
        kind: "IngressClass",
        plural: "ingressclasses",
        singular: "ingressclass",
        short: &[],
        categories: &[],
        scope: Scope::Cluster,
    };
    const COUNTS_GENERATIONS: bool = true;
    const COLUMNS: &'static [Column] =
        &[NAME, text("Controller", "Who serves it."), text("Parameters", "More configuration for its server."), AGE];

    fn default(class: &mut IngressClass) {
        if let Some(parameters) = class.spec.as_mut().and_then(|spec| spec.parameters.as_mut()) {
            parameters.scope.get_or_insert_with(|| "Cluster".into());
        }
    }

    fn validate(class: &IngressClass, causes: &mut Causes) {
        let Some(spec) = &class.spec else { return };
        if let Some(controller) = spec.controller.as_ref().filter(|controller| !controller.is_empty()) {
            for problem in rules::domain_prefixed_path(controller) {
                causes.invalid("spec.controller", controller, &problem);
            }
        } else {
            causes.required("spec.controller", "");
        }
        if let Some(parameters) = &spec.parameters {
            validate_parameters(parameters, causes);
        }
    }

    fn validate_update(class: &IngressClass, old: &IngressClass, causes: &mut Causes) {
        let controller = |class: &IngressClass| class.spec.as_ref().and_then(|spec| spec.controller.clone());
        causes.immutable("spec.controller", &controller(class), &controller(old));
    }

    fn cells(class: &IngressClass, now: Timestamp) -> Vec<Value> {
        let spec = class.spec.as_ref();
        let parameters = spec.and_then(|spec| spec.parameters.as_ref()).map(|parameters| {
            let group = parameters.api_group.as_deref().filter(|group| !group.is_empty());
            let group = group.map(|group| format!(".{group}")).unwrap_or_default();
            format!("{}{group}/{}", parameters.kind, parameters.name)
        });
        vec![
            cells::name(&class.metadata),
            spec.and_then(|spec| spec.controller.as_deref()).unwrap_or_default().into(),
            cells::text(parameters.as_deref()),
            cells::age(&class.metadata, now),
        ]
    }
}

fn validate_parameters(parameters: &IngressClassParametersReference, causes: &mut Causes) {
    let path = "spec.parameters";
    if parameters.kind.is_empty() {
        causes.required(format!("{path}.kind"), "");
    }
    if parameters.name.is_empty() {
        causes.required(format!("{path}.name"), "");
    }
    let scope = parameters.scope.as_deref().unwrap_or_default();
    causes.one_of(format!("{path}.scope"), scope, &["Cluster", "Namespace"]);
    match (scope, parameters.namespace.as_deref()) {
        ("Namespace", None | Some("")) => {
            causes.required(format!("{path}.namespace"), "`parameters.scope` is set to 'Namespace'");
        }
        ("Cluster", Some(_)) => {
            causes.forbidden(format!("{path}.namespace"), "`parameters.scope` is set to 'Cluster'");
        }
        _ => {}
    }
}
