//! A compiled expression: every name has its place, every call its overloads.

use std::sync::Arc;

use regex::Regex;

use super::parser::Literal;
use super::signature::Overload;

/// A step of the evaluation.
#[derive(Debug)]
pub(super) enum Node {
    Literal(Literal),
    /// A type, by its name.
    Type(&'static str),
    /// What a macro goes through, by its place from the bottom of the stack.
    Local(usize),
    /// What the caller brought.
    Name(Arc<str>),
    /// One of `variables`.
    Variable(usize),
    Select(Box<Select>),
    Index(Box<[Node; 2]>),
    /// Of an optional, or of what may not be there.
    OptionalIndex(Box<[Node; 2]>),
    And(Vec<Node>),
    Or(Vec<Node>),
    If(Box<[Node; 3]>),
    Call(Box<Call>),
    List(Vec<(Node, bool)>),
    Map(Vec<(Node, Node, bool)>),
    Each(Box<Each>),
    /// `optMap`, `optFlatMap`: what becomes of what an optional holds.
    Inside(Box<Inside>),
}

#[derive(Debug)]
pub(super) struct Select {
    pub(super) operand: Node,
    pub(super) field: Arc<str>,
    pub(super) asks: Asks,
}

/// What a selection wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    /// The field, which is to be there.
    Value,
    /// Whether it is there.
    Presence,
    /// The field, if it is there.
    Optional,
}

pub(super) struct Call {
    pub(super) name: Arc<str>,
    /// Those that may fit what is declared.
    pub(super) overloads: Vec<&'static Overload>,
    pub(super) arguments: Vec<Node>,
    /// The regular expression among the arguments, if it was written down.
    pub(super) pattern: Option<Regex>,
}

/// A macro over a list or a map.
#[derive(Debug)]
pub(super) struct Each {
    pub(super) over: Node,
    pub(super) becomes: Becomes,
    /// Whether it has two variables: places and elements, or keys and values.
    pub(super) has_two: bool,
    /// Which elements count.
    pub(super) filter: Option<Node>,
    /// What they become.
    pub(super) transform: Option<Node>,
}

/// What a macro makes of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Becomes {
    All,
    Exists,
    ExistsOne,
    /// A list of those that count, or of what they become.
    List,
    /// A map of the same keys.
    Map,
    /// A map of the entries that they become.
    MapOfEntries,
}

#[derive(Debug)]
pub(super) struct Inside {
    pub(super) operand: Node,
    pub(super) transform: Node,
    /// Whether the transformation gives an optional itself.
    pub(super) is_flat: bool,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple(&self.name).field(&self.arguments).finish()
    }
}
