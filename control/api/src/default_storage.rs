//! Which class of storage a claim is of that names none.

use std::cmp::Reverse;

use crate::{Object, StatusError, kinds};

/// Marks the class of claims that name none.
const DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";
/// How a claim named its class before there was a field for it.
const OLD_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

/// A new claim, of the default among `classes` if it names none; of several the newest, as Kubernetes has it.
pub fn of_class<'a>(claim: Object, classes: impl Iterator<Item = &'a Object>) -> Result<Object, StatusError> {
    let is_default = |class: &&Object| class.meta().annotations.get(DEFAULT).is_some_and(|is| is == "true");
    let defaults = classes.filter(is_default);
    let class = defaults.max_by_key(|class| (class.meta().creation_timestamp, Reverse(class.key().name().to_owned())));
    let Some(class) = class else { return Ok(claim) };
    let mut value = claim.to_value().map_err(StatusError::internal)?;
    if value["spec"]["storageClassName"].is_string() || claim.meta().annotations.contains_key(OLD_CLASS) {
        return Ok(claim);
    }
    value["spec"]["storageClassName"] = class.key().name().into();
    Object::from_tree(kinds::PERSISTENT_VOLUME_CLAIM, value).map_err(StatusError::internal)
}
