//! What functions take and give. One table serves the compiler and the evaluation: the compiler keeps the overloads that may
//! fit what is declared, and the evaluation takes the one that fits the values.

use std::sync::Arc;

use super::budget::Fault;
use super::evaluate::Machine;
use super::types::Type;
use super::value::Value;

/// What came of it.
pub(super) type Answer<'a> = Result<Value<'a>, Fault>;

/// The function itself. It gets as many arguments as its overload takes, of the types that it takes.
pub(super) type Run = for<'s, 'a> fn(&mut Machine<'s, 'a>, &[Value<'a>]) -> Answer<'a>;

/// One way of calling a function.
pub(super) struct Overload {
    pub(super) name: &'static str,
    /// Whether the first argument stands before the dot.
    pub(super) is_member: bool,
    pub(super) takes: &'static [Kind],
    pub(super) gives: Kind,
    pub(super) run: Run,
}

/// A type in a signature; `A` and `B` are whatever they are, but the same wherever they stand.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Dyn,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Timestamp,
    Duration,
    Type,
    A,
    B,
    List(&'static Kind),
    Map(&'static Kind, &'static Kind),
    Optional(&'static Kind),
    Opaque(&'static str),
}

/// What `A` and `B` are in one call.
#[derive(Default)]
pub(super) struct Bound([Option<Type>; 2]);

pub(super) const fn function(name: &'static str, takes: &'static [Kind], gives: Kind, run: Run) -> Overload {
    Overload { name, is_member: false, takes, gives, run }
}

pub(super) const fn member(name: &'static str, takes: &'static [Kind], gives: Kind, run: Run) -> Overload {
    Overload { name, is_member: true, takes, gives, run }
}

// === impl Overload ===

impl Overload {
    /// What the call gives if its arguments are declared so; nothing if it cannot be called with them.
    pub(super) fn fits(&self, given: &[Type]) -> Option<Type> {
        if given.len() != self.takes.len() {
            return None;
        }
        let mut bound = Bound::default();
        let fit = self.takes.iter().zip(given).all(|(takes, given)| takes.takes(given, &mut bound));
        fit.then(|| self.gives.made(&bound))
    }

    /// Whether it can be called with these values.
    pub(super) fn admits(&self, given: &[Value<'_>]) -> bool {
        given.len() == self.takes.len() && self.takes.iter().zip(given).all(|(takes, given)| takes.admits(given))
    }
}

// === impl Kind ===

impl Kind {
    fn takes(self, given: &Type, bound: &mut Bound) -> bool {
        match (self, given) {
            (Self::A, given) => bound.bind(0, given),
            (Self::B, given) => bound.bind(1, given),
            (Self::Dyn, _)
            | (_, Type::Dyn)
            | (Self::Bool, Type::Bool)
            | (Self::Int, Type::Int)
            | (Self::Uint, Type::Uint)
            | (Self::Double, Type::Double)
            | (Self::String, Type::String)
            | (Self::Bytes, Type::Bytes)
            | (Self::Timestamp, Type::Timestamp | Type::Null)
            | (Self::Duration, Type::Duration | Type::Null)
            | (Self::Type, Type::Type) => true,
            (Self::List(takes), Type::List(given)) => takes.takes(given, bound),
            (Self::Map(key, value), Type::Map(given_key, given)) => {
                key.takes(given_key, bound) && value.takes(given, bound)
            }
            (Self::Optional(takes), Type::Optional(given)) => takes.takes(given, bound),
            (Self::Opaque(takes), Type::Opaque(given)) => takes == *given,
            _ => false,
        }
    }

    fn made(self, bound: &Bound) -> Type {
        match self {
            Self::Dyn => Type::Dyn,
            Self::Bool => Type::Bool,
            Self::Int => Type::Int,
            Self::Uint => Type::Uint,
            Self::Double => Type::Double,
            Self::String => Type::String,
            Self::Bytes => Type::Bytes,
            Self::Timestamp => Type::Timestamp,
            Self::Duration => Type::Duration,
            Self::Type => Type::Type,
            Self::A => bound.0[0].clone().unwrap_or_default(),
            Self::B => bound.0[1].clone().unwrap_or_default(),
            Self::List(element) => Type::List(Arc::new(element.made(bound))),
            Self::Map(key, value) => Type::Map(Arc::new(key.made(bound)), Arc::new(value.made(bound))),
            Self::Optional(inner) => Type::Optional(Arc::new(inner.made(bound))),
            Self::Opaque(name) => Type::Opaque(name),
        }
    }

    fn admits(self, given: &Value<'_>) -> bool {
        match self {
            Self::Dyn | Self::A | Self::B => true,
            Self::Bool => matches!(given, Value::Bool(_)),
            Self::Int => matches!(given, Value::Int(_)),
            Self::Uint => matches!(given, Value::Uint(_)),
            Self::Double => matches!(given, Value::Double(_)),
            Self::String => matches!(given, Value::String(_)),
            Self::Bytes => matches!(given, Value::Bytes(_)),
            Self::Timestamp => matches!(given, Value::Timestamp(_)),
            Self::Duration => matches!(given, Value::Duration(_)),
            Self::Type => matches!(given, Value::Type(_)),
            Self::List(_) => matches!(given, Value::List(_) | Value::Array(..)),
            Self::Map(..) => matches!(given, Value::Map(_) | Value::Members(..)),
            Self::Optional(_) => matches!(given, Value::Optional(_)),
            Self::Opaque(name) => given.type_name() == name,
        }
    }
}

// === impl Bound ===

impl Bound {
    /// Binds a parameter to one more type; false if it was bound to another that does not agree.
    fn bind(&mut self, place: usize, given: &Type) -> bool {
        let joined = match &self.0[place] {
            None => Some(given.clone()),
            Some(bound) => bound.joined(given),
        };
        let fits = joined.is_some();
        if fits {
            self.0[place] = joined;
        }
        fits
    }
}
