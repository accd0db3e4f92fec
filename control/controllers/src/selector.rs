//! The selectors of controllers.

use api::selector::LabelSelector;
use k8s_openapi::apimachinery::pkg::apis::meta::v1;

/// The selector as controllers take it: an empty one selects nothing, because no controller may claim a whole namespace, and
/// neither does one that cannot be read.
pub(crate) fn read(selector: &v1::LabelSelector) -> LabelSelector {
    let read = LabelSelector::try_from(selector).ok().filter(|selector| !selector.is_everything());
    read.unwrap_or_else(LabelSelector::nothing)
}
