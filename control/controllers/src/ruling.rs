//! What was ruled about new objects: controllers create as everybody does, and others may have a say.
//!
//! A controller decides without asking anybody. Whoever carries out its plan has the new objects in it ruled about and lets it look
//! again, at the same world with the same chance: it then wants the same objects, and gets what was made of them or hears why
//! they are refused. So that the answer of a webhook is one more thing that a look is a function of.

use std::collections::BTreeMap;

use api::{Key, Object};

/// What an object was ruled to be, or why it may not be.
pub type Ruling = Result<Object, String>;

/// Rulings, by the objects that they are about.
#[derive(Clone, Debug, Default)]
pub struct Rulings(BTreeMap<Key, Ruling>);

/// Nobody has ruled about anything.
pub(crate) static NONE: Rulings = Rulings(BTreeMap::new());

// === impl Rulings ===

impl Rulings {
    /// Whether there is a ruling about the object of this key.
    pub fn has(&self, key: &Key) -> bool {
        self.0.contains_key(key)
    }

    /// Adds a ruling.
    pub fn rule(&mut self, key: Key, ruling: Ruling) {
        self.0.insert(key, ruling);
    }

    /// The object as it was ruled to be; as it is, if nobody has ruled about it.
    pub(crate) fn apply(&self, object: Object) -> Ruling {
        self.0.get(object.key()).cloned().unwrap_or(Ok(object))
    }
}
