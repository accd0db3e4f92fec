//! Sets of paths, as `fieldsV1` has them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde_json::{Map, Value};

use super::Element;

/// A set of paths: a tree in which some nodes are members.
///
/// No node is there for nothing: it is a member, or has members below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    is_member: bool,
    children: BTreeMap<Element, FieldSet>,
}

// === impl FieldSet ===

impl FieldSet {
    /// The set of the path to here alone.
    pub(super) fn leaf() -> Self {
        Self { is_member: true, children: BTreeMap::new() }
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        !self.is_member && self.children.is_empty()
    }

    /// Whether the path to here is in it.
    pub fn is_member(&self) -> bool {
        self.is_member
    }

    pub(super) fn mark(&mut self, is_member: bool) {
        self.is_member = is_member;
    }

    /// What is in it one step down.
    pub fn child(&self, element: &Element) -> Option<&Self> {
        self.children.get(element)
    }

    pub(super) fn put(&mut self, element: Element, child: Self) {
        if !child.is_empty() {
            self.children.insert(element, child);
        }
    }

    /// Adds all of another set.
    pub fn extend(&mut self, other: &Self) {
        self.is_member |= other.is_member;
        for (element, child) in &other.children {
            match self.children.entry(element.clone()) {
                Entry::Vacant(place) => drop(place.insert(child.clone())),
                Entry::Occupied(mut mine) => mine.get_mut().extend(child),
            }
        }
    }

    /// What is in this set and not in the other.
    pub fn difference(&self, other: &Self) -> Self {
        let mut left = Self { is_member: self.is_member && !other.is_member, children: BTreeMap::new() };
        for (element, child) in &self.children {
            let rest = other.child(element).map_or_else(|| child.clone(), |other| child.difference(other));
            left.put(element.clone(), rest);
        }
        left
    }

    /// What is in both.
    pub fn intersection(&self, other: &Self) -> Self {
        let mut both = Self { is_member: self.is_member && other.is_member, children: BTreeMap::new() };
        for (element, child) in &self.children {
            if let Some(other) = other.child(element) {
                both.put(element.clone(), child.intersection(other));
            }
        }
        both
    }

    /// Every path in it, as messages have them: `.spec.template.spec.containers[name="main"].image`.
    pub fn paths(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.collect(&mut String::new(), &mut found);
        found
    }

    fn collect(&self, path: &mut String, found: &mut Vec<String>) {
        if self.is_member {
            found.push(path.clone());
        }
        let here = path.len();
        for (element, child) in &self.children {
            path.push_str(&element.to_string());
            child.collect(path, found);
            path.truncate(here);
        }
    }

    /// The set as `fieldsV1`.
    pub fn to_value(&self) -> Value {
        let mut members = Map::new();
        if self.is_member && !self.children.is_empty() {
            members.insert(".".into(), Value::Object(Map::new()));
        }
        members.extend(self.children.iter().map(|(element, child)| (element.to_text(), child.to_value())));
        Value::Object(members)
    }

    /// Reads `fieldsV1`; nothing when it is not well-formed.
    pub fn from_value(value: &Value) -> Option<Self> {
        let mut root = Self::below(value)?;
        if root.children.is_empty() {
            root.is_member = false;
        }
        Some(root)
    }

    fn below(value: &Value) -> Option<Self> {
        let members = value.as_object()?;
        let mut set = Self { is_member: members.is_empty(), children: BTreeMap::new() };
        for (step, child) in members {
            if step == "." {
                set.is_member = true;
            } else {
                set.children.insert(Element::parse(step)?, Self::below(child)?);
            }
        }
        Some(set)
    }
}
