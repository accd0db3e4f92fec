//! Which class of storage a claim is of that names none.

use crate::{Object, StatusError, kinds, storage};

/// A new claim, of the default among `classes` if it names none.
pub fn of_class<'a>(claim: Object, classes: impl Iterator<Item = &'a Object>) -> Result<Object, StatusError> {
    let Some(class) = storage::default_class(classes) else { return Ok(claim) };
    let mut value = claim.to_value().map_err(StatusError::internal)?;
    if value["spec"]["storageClassName"].is_string() || claim.meta().annotations.contains_key(storage::OLD_CLASS) {
        return Ok(claim);
    }
    value["spec"]["storageClassName"] = class.key().name().into();
    Object::from_tree(kinds::PERSISTENT_VOLUME_CLAIM, value).map_err(StatusError::internal)
}
