//! What pods could be made of, kept for whoever makes them.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PodTemplate, PodTemplateSpec};
use serde_json::Value;

use super::{NAME, text};
use crate::pod_spec::template;
use crate::rules::Causes;
use crate::{Column, Names, Resource, Scope, cells};

/// The kind.
#[derive(Debug)]
pub struct PodTemplates;

impl Resource for PodTemplates {
    type Object = PodTemplate;

    const NAMES: &'static Names = &Names {
        group: "",
        version: "v1",
        kind: "PodTemplate",
        plural: "podtemplates",
        singular: "podtemplate",
        short: &[],
        categories: &[],
        scope: Scope::Namespaced,
    };
    const COUNTS_GENERATIONS: bool = true;
    const COLUMNS: &'static [Column] = &[
        NAME,
        text("Containers", "The names of its containers."),
        text("Images", "The images of its containers."),
        text("Pod Labels", "The labels of its pods."),
    ];

    fn default(kept: &mut PodTemplate) {
        template::default(kept.template.get_or_insert_default());
    }

    fn validate(kept: &PodTemplate, causes: &mut Causes) {
        let none = PodTemplateSpec::default();
        template::validate("template", kept.template.as_ref().unwrap_or(&none), causes);
    }

    fn warnings(kept: &PodTemplate) -> Vec<String> {
        kept.template.as_ref().map(|kept| template::warnings_at("template", kept)).unwrap_or_default()
    }

    fn cells(kept: &PodTemplate, _now: Timestamp) -> Vec<Value> {
        let template = kept.template.as_ref();
        let [containers, images] = cells::containers(template.and_then(|template| template.spec.as_ref()));
        let labels = cells::pairs(template.and_then(template::labels_of));
        vec![cells::name(&kept.metadata), containers, images, labels]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::catalog::testing::*;
    use crate::kinds::POD_TEMPLATE as TEMPLATE;

    #[test]
    fn a_template_is_completed_shown_and_judged() {
        let kept = || json!({"metadata": {"name": "web"}, "template": template()});
        let stored = completed(TEMPLATE, kept());
        assert_eq!(stored["template"]["spec"]["restartPolicy"], "Always");
        assert_eq!(row(TEMPLATE, &stored), json!(["web", "main", "web:v1", "app=web"]));
        assert_eq!(
            refusal(TEMPLATE, kept(), "/template/spec/containers/0/image", json!("")),
            "template.spec.containers[0].image: Required value"
        );
    }
}
