//! From the tree that was written to the one that is computed: names find their places, macros unfold, calls find their
//! overloads, and what cannot be is said.

use std::sync::Arc;

use regex::Regex;

use super::environment::Environment;
use super::functions;
use super::issue::Issue;
use super::node::{Asks, Becomes, Call, Each, Inside, Node, Select};
use super::parser::{Expr, Form, Literal};
use super::signature::Overload;
use super::types::Type;

/// The types that can be named.
const TYPES: [(&str, &str); 14] = [
    ("bool", "bool"),
    ("int", "int"),
    ("uint", "uint"),
    ("double", "double"),
    ("string", "string"),
    ("bytes", "bytes"),
    ("list", "list"),
    ("map", "map"),
    ("null_type", "null_type"),
    ("type", "type"),
    ("optional_type", "optional_type"),
    ("google.protobuf.Timestamp", "google.protobuf.Timestamp"),
    ("google.protobuf.Duration", "google.protobuf.Duration"),
    ("net.IP", "net.IP"),
];

/// Compiles a tree, or says everything that is wrong with it.
pub(super) fn check(expr: &Expr, environment: &Environment) -> Result<(Node, Type), Vec<Issue>> {
    let mut checker = Checker { environment, locals: Vec::new(), issues: Vec::new() };
    let (node, gives) = checker.node(expr);
    if checker.issues.is_empty() { Ok((node, gives)) } else { Err(checker.issues) }
}

struct Checker<'e> {
    environment: &'e Environment,
    /// What macros go through, innermost last.
    locals: Vec<(String, Type)>,
    issues: Vec<Issue>,
}

type Checked = (Node, Type);

// === impl Checker ===

impl Checker<'_> {
    /// What stands where something is wrong.
    fn wrong(&mut self, issue: Issue) -> Checked {
        self.issues.push(issue);
        (Node::Literal(Literal::Null), Type::Dyn)
    }

    fn node(&mut self, expr: &Expr) -> Checked {
        match &expr.form {
            Form::Literal(literal) => (Node::Literal(literal.clone()), type_of(literal)),
            Form::Ident(name) => self.ident(expr.at, name),
            Form::Select { operand, field, is_optional } => {
                let asks = if *is_optional { Asks::Optional } else { Asks::Value };
                self.select(expr, operand, field, asks)
            }
            Form::Index { operand, index, is_optional } => self.index(expr.at, operand, index, *is_optional),
            Form::And(terms) => (Node::And(self.terms("_&&_", expr.at, terms)), Type::Bool),
            Form::Or(terms) => (Node::Or(self.terms("_||_", expr.at, terms)), Type::Bool),
            Form::If(parts) => self.conditional(expr.at, parts),
            Form::List(elements) => self.list(elements),
            Form::Map(entries) => self.map(entries),
            Form::Call { target: Some(target), name, arguments } => self.member(expr.at, target, name, arguments),
            Form::Call { target: None, name, arguments } => self.function(expr.at, name, arguments),
        }
    }

    fn ident(&mut self, at: usize, name: &str) -> Checked {
        if let Some(place) = self.locals.iter().rposition(|(known, _)| known == name) {
            return (Node::Local(place), self.locals[place].1.clone());
        }
        if let Some(declared) = self.environment.name(name) {
            return (Node::Name(name.into()), declared.clone());
        }
        if let Some((_, name)) = TYPES.iter().find(|(known, _)| *known == name) {
            return (Node::Type(name), Type::Type);
        }
        self.wrong(Issue::undeclared(at, name))
    }

    fn is_local(&self, name: &str) -> bool {
        self.locals.iter().any(|(known, _)| known == name)
    }

    fn select(&mut self, expr: &Expr, operand: &Expr, field: &str, asks: Asks) -> Checked {
        if let Form::Ident(name) = &operand.form
            && name == "variables"
            && self.environment.has_variables()
            && !self.is_local(name)
        {
            return match self.environment.variable(field) {
                Some((place, declared)) if asks == Asks::Value => (Node::Variable(place), declared.clone()),
                Some(_) if asks == Asks::Presence => (Node::Literal(Literal::Bool(true)), Type::Bool),
                _ => self.wrong(Issue::new(expr.at, format!("undefined field '{field}'"))),
            };
        }
        if let Some(name) = dotted(expr)
            && let Some((_, name)) = TYPES.iter().find(|(known, _)| *known == name)
        {
            return (Node::Type(name), Type::Type);
        }
        let (operand, declared) = self.node(operand);
        // Selections on what may not be there give what may not be there.
        let (inner, is_optional) = match &declared {
            Type::Optional(inner) => (Type::clone(inner), true),
            other => (other.clone(), false),
        };
        let found = match &inner {
            Type::Dyn => Some(Type::Dyn),
            Type::Map(_, holds) => Some(Type::clone(holds)),
            Type::Object(object) => match object.fields.get(field) {
                Some(known) => Some(known.holds.clone()),
                None => {
                    return self.wrong(Issue::new(expr.at, format!("undefined field '{field}'")));
                }
            },
            // The one field of an opaque type.
            Type::Opaque(super::access::AUTHORIZER) if field == "requestResource" && asks == Asks::Value => {
                Some(Type::Opaque(super::access::RESOURCE_CHECK))
            }
            _ => None,
        };
        let Some(found) = found else {
            return self.wrong(Issue::new(expr.at, format!("type '{inner}' does not support field selection")));
        };
        let gives = match asks {
            Asks::Presence => Type::Bool,
            Asks::Value if !is_optional => found,
            _ => Type::Optional(found.into()),
        };
        (Node::Select(Box::new(Select { operand, field: field.into(), asks })), gives)
    }

    fn index(&mut self, at: usize, operand: &Expr, index: &Expr, is_optional: bool) -> Checked {
        let (operand, declared) = self.node(operand);
        let (index, by) = self.node(index);
        let (inner, was_optional) = match &declared {
            Type::Optional(inner) => (Type::clone(inner), true),
            other => (other.clone(), false),
        };
        let found = match &inner {
            Type::Dyn => Some(Type::Dyn),
            Type::List(element) if by.joined(&Type::Int).is_some() => Some(Type::clone(element)),
            Type::Map(key, holds) if by.joined(key).is_some() => Some(Type::clone(holds)),
            _ => None,
        };
        let Some(found) = found else {
            let sign = if is_optional { "_[?_]" } else { "_[_]" };
            let message = format!("found no matching overload for '{sign}' applied to '({declared}, {by})'");
            return self.wrong(Issue::new(at, message));
        };
        let parts = Box::new([operand, index]);
        if is_optional || was_optional {
            (Node::OptionalIndex(parts), Type::Optional(found.into()))
        } else {
            (Node::Index(parts), found)
        }
    }

    fn terms(&mut self, sign: &str, at: usize, terms: &[Expr]) -> Vec<Node> {
        let checked: Vec<Checked> = terms.iter().map(|term| self.node(term)).collect();
        for pair in checked.windows(2) {
            let is_bool = |declared: &Type| matches!(declared, Type::Bool | Type::Dyn);
            if !is_bool(&pair[0].1) || !is_bool(&pair[1].1) {
                let (one, two) = (&pair[0].1, &pair[1].1);
                let message = format!("found no matching overload for '{sign}' applied to '({one}, {two})'");
                self.issues.push(Issue::new(at, message));
                break;
            }
        }
        checked.into_iter().map(|(node, _)| node).collect()
    }

    fn conditional(&mut self, at: usize, parts: &[Expr; 3]) -> Checked {
        let [condition, then, otherwise] = parts;
        let (condition, asked) = self.node(condition);
        let (then, one) = self.node(then);
        let (otherwise, two) = self.node(otherwise);
        match one.joined(&two) {
            Some(gives) if matches!(asked, Type::Bool | Type::Dyn) => {
                (Node::If(Box::new([condition, then, otherwise])), gives)
            }
            _ => {
                let message = format!("found no matching overload for '_?_:_' applied to '({asked}, {one}, {two})'");
                self.wrong(Issue::new(at, message))
            }
        }
    }

    fn list(&mut self, elements: &[(Expr, bool)]) -> Checked {
        let mut gives: Option<Type> = None;
        let mut nodes = Vec::with_capacity(elements.len());
        for (element, is_optional) in elements {
            let (node, declared) = self.element(element, *is_optional);
            gives = Some(self.aggregate(element.at, gives, declared));
            nodes.push((node, *is_optional));
        }
        (Node::List(nodes), Type::list(gives.unwrap_or_default()))
    }

    fn map(&mut self, entries: &[(Expr, Expr, bool)]) -> Checked {
        let (mut keys, mut values): (Option<Type>, Option<Type>) = (None, None);
        let mut nodes = Vec::with_capacity(entries.len());
        for (key, value, is_optional) in entries {
            let (key_node, key_type) = self.node(key);
            let (node, declared) = self.element(value, *is_optional);
            keys = Some(self.aggregate(key.at, keys, key_type));
            values = Some(self.aggregate(value.at, values, declared));
            nodes.push((key_node, node, *is_optional));
        }
        (Node::Map(nodes), Type::Map(keys.unwrap_or_default().into(), values.unwrap_or_default().into()))
    }

    /// An element that may be left out is what the optional holds.
    fn element(&mut self, expr: &Expr, is_optional: bool) -> Checked {
        let (node, declared) = self.node(expr);
        match declared {
            declared if !is_optional => (node, declared),
            Type::Optional(inner) => (node, Type::clone(&inner)),
            Type::Dyn => (node, Type::Dyn),
            other => self.wrong(Issue::new(expr.at, format!("expected type 'optional_type(dyn)' but found '{other}'"))),
        }
    }

    /// Lists and maps that are written down hold things of one type, as Kubernetes demands.
    fn aggregate(&mut self, at: usize, known: Option<Type>, next: Type) -> Type {
        let Some(known) = known else { return next };
        known.joined(&next).unwrap_or_else(|| {
            self.issues.push(Issue::new(at, format!("expected type '{known}' but found '{next}'")));
            Type::Dyn
        })
    }

    fn function(&mut self, at: usize, name: &str, arguments: &[Expr]) -> Checked {
        if name == "has" && arguments.len() == 1 {
            return match &arguments[0].form {
                Form::Select { operand, field, is_optional: false } => {
                    self.select(&arguments[0], operand, field, Asks::Presence)
                }
                _ => self.wrong(Issue::new(at, "invalid argument to has() macro".into())),
            };
        }
        let arguments: Vec<Checked> = arguments.iter().map(|argument| self.node(argument)).collect();
        self.call(at, name, false, arguments)
    }

    fn member(&mut self, at: usize, target: &Expr, name: &str, arguments: &[Expr]) -> Checked {
        if let Some(qualified) = dotted(target)
            && !self.is_local(qualified.split('.').next().unwrap_or_default())
        {
            let qualified = format!("{qualified}.{name}");
            if functions::named(&qualified, false).next().is_some() {
                let arguments: Vec<Checked> = arguments.iter().map(|argument| self.node(argument)).collect();
                return self.call(at, &qualified, false, arguments);
            }
        }
        if let Some(unfolded) = self.unfolded(at, target, name, arguments) {
            return unfolded;
        }
        let mut checked = vec![self.node(target)];
        checked.extend(arguments.iter().map(|argument| self.node(argument)));
        self.call(at, name, true, checked)
    }

    fn call(&mut self, at: usize, name: &str, is_member: bool, arguments: Vec<Checked>) -> Checked {
        let (nodes, given): (Vec<Node>, Vec<Type>) = arguments.into_iter().unzip();
        let known: Vec<&'static Overload> = functions::named(name, is_member).collect();
        if known.is_empty() {
            return self.wrong(Issue::undeclared(at, name));
        }
        let fitting: Vec<(&'static Overload, Type)> =
            known.into_iter().filter_map(|overload| Some((overload, overload.fits(&given)?))).collect();
        let Some((_, first)) = fitting.first() else {
            let told: Vec<String> = given.iter().map(Type::to_string).collect();
            let told = match (is_member, told.split_first()) {
                (true, Some((target, rest))) => format!("{target}.({})", rest.join(", ")),
                _ => format!("({})", told.join(", ")),
            };
            let message = format!("found no matching overload for '{name}' applied to '{told}'");
            return self.wrong(Issue::new(at, message));
        };
        let gives = if fitting.iter().all(|(_, gives)| gives == first) { first.clone() } else { Type::Dyn };
        let pattern = match Self::pattern(at, name, &nodes) {
            Ok(pattern) => pattern,
            Err(issue) => return self.wrong(issue),
        };
        let overloads = fitting.into_iter().map(|(overload, _)| overload).collect();
        (Node::Call(Box::new(Call { name: name.into(), overloads, arguments: nodes, pattern })), gives)
    }

    /// A regular expression that was written down is read once.
    fn pattern(at: usize, name: &str, arguments: &[Node]) -> Result<Option<Regex>, Issue> {
        match (name, arguments.get(1)) {
            ("matches" | "find" | "findAll", Some(Node::Literal(Literal::String(pattern)))) => {
                functions::patterns::compiled(pattern).map(Some).map_err(|fault| Issue::new(at, fault.to_string()))
            }
            _ => Ok(None),
        }
    }

    /// The macro, if the call is one.
    fn unfolded(&mut self, at: usize, target: &Expr, name: &str, arguments: &[Expr]) -> Option<Checked> {
        let variable = |argument: &Expr| match &argument.form {
            Form::Ident(name) => Some(name.clone()),
            _ => None,
        };
        match (name, arguments) {
            ("optMap" | "optFlatMap", [name_of, transform]) => {
                let Some(local) = variable(name_of) else {
                    return Some(
                        self.wrong(Issue::new(
                            name_of.at,
                            format!("{name}() variable name must be a simple identifier"),
                        )),
                    );
                };
                Some(self.inside(at, target, name == "optFlatMap", local, transform))
            }
            (
                "all" | "exists" | "exists_one" | "existsOne" | "filter" | "map" | "transformList" | "transformMap"
                | "transformMapEntry",
                [first, rest @ ..],
            ) => {
                let (has_two, becomes, filter, transform) = match (name, rest) {
                    ("all", [test]) => (false, Becomes::All, None, Some(test)),
                    ("exists", [test]) => (false, Becomes::Exists, None, Some(test)),
                    ("exists_one" | "existsOne", [test]) => (false, Becomes::ExistsOne, None, Some(test)),
                    ("filter", [test]) => (false, Becomes::List, Some(test), None),
                    ("map", [transform]) => (false, Becomes::List, None, Some(transform)),
                    ("map", [test, transform]) => (false, Becomes::List, Some(test), Some(transform)),
                    ("all", [_, test]) => (true, Becomes::All, None, Some(test)),
                    ("exists", [_, test]) => (true, Becomes::Exists, None, Some(test)),
                    ("exists_one" | "existsOne", [_, test]) => (true, Becomes::ExistsOne, None, Some(test)),
                    ("transformList", [_, transform]) => (true, Becomes::List, None, Some(transform)),
                    ("transformList", [_, test, transform]) => (true, Becomes::List, Some(test), Some(transform)),
                    ("transformMap", [_, transform]) => (true, Becomes::Map, None, Some(transform)),
                    ("transformMap", [_, test, transform]) => (true, Becomes::Map, Some(test), Some(transform)),
                    ("transformMapEntry", [_, transform]) => (true, Becomes::MapOfEntries, None, Some(transform)),
                    ("transformMapEntry", [_, test, transform]) => {
                        (true, Becomes::MapOfEntries, Some(test), Some(transform))
                    }
                    _ => return None,
                };
                let mut names = Vec::with_capacity(2);
                for named in std::iter::once(first).chain(rest.first().filter(|_| has_two)) {
                    match variable(named) {
                        Some(local) => names.push(local),
                        None => {
                            return Some(self.wrong(Issue::new(named.at, "argument must be a simple name".into())));
                        }
                    }
                }
                Some(self.each(target, becomes, names, filter, transform))
            }
            _ => None,
        }
    }

    fn inside(&mut self, at: usize, target: &Expr, is_flat: bool, local: String, transform: &Expr) -> Checked {
        let (operand, declared) = self.node(target);
        let inner = match declared {
            Type::Optional(inner) => Type::clone(&inner),
            Type::Dyn => Type::Dyn,
            other => {
                let name = if is_flat { "optFlatMap" } else { "optMap" };
                let message = format!("found no matching overload for '{name}' applied to '{other}.()'");
                return self.wrong(Issue::new(at, message));
            }
        };
        self.locals.push((local, inner));
        let (transform, gives) = self.node(transform);
        self.locals.pop();
        let gives = match gives {
            gives if !is_flat => Type::Optional(gives.into()),
            gives => gives,
        };
        (Node::Inside(Box::new(Inside { operand, transform, is_flat })), gives)
    }

    fn each(
        &mut self,
        target: &Expr,
        becomes: Becomes,
        names: Vec<String>,
        filter: Option<&Expr>,
        transform: Option<&Expr>,
    ) -> Checked {
        let (over, declared) = self.node(target);
        let has_two = names.len() == 2;
        let (key, element) = match &declared {
            Type::Dyn => (Type::Dyn, Type::Dyn),
            Type::List(element) => (Type::Int, Type::clone(element)),
            Type::Map(key, value) => (Type::clone(key), Type::clone(value)),
            other => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                return self.wrong(Issue::new(target.at, message));
            }
        };
        let only = if matches!(declared, Type::Map(..)) { key.clone() } else { element.clone() };
        let types = if has_two { vec![key.clone(), element] } else { vec![only.clone()] };
        let depth = self.locals.len();
        self.locals.extend(names.into_iter().zip(types));
        let filter = filter.map(|filter| {
            let (node, gives) = self.node(filter);
            self.demand_bool(filter, &gives);
            node
        });
        let is_test = matches!(becomes, Becomes::All | Becomes::Exists | Becomes::ExistsOne);
        let mut gives = only;
        let transform = transform.map(|transform| {
            let (node, found) = self.node(transform);
            if is_test {
                self.demand_bool(transform, &found);
            }
            gives = found;
            node
        });
        self.locals.truncate(depth);
        let gives = match becomes {
            Becomes::All | Becomes::Exists | Becomes::ExistsOne => Type::Bool,
            Becomes::List => Type::list(gives),
            Becomes::Map => Type::Map(Arc::new(key), Arc::new(gives)),
            Becomes::MapOfEntries => gives,
        };
        (Node::Each(Box::new(Each { over, becomes, has_two, filter, transform })), gives)
    }

    fn demand_bool(&mut self, expr: &Expr, gives: &Type) {
        if !matches!(gives, Type::Bool | Type::Dyn) {
            self.issues.push(Issue::new(expr.at, format!("expected type 'bool' but found '{gives}'")));
        }
    }
}

fn type_of(literal: &Literal) -> Type {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::String(_) => Type::String,
        Literal::Bytes(_) => Type::Bytes,
    }
}

/// `a.b.c`, if the expression is nothing but that.
fn dotted(expr: &Expr) -> Option<String> {
    match &expr.form {
        Form::Ident(name) => Some(name.clone()),
        Form::Select { operand, field, is_optional: false } => Some(format!("{}.{field}", dotted(operand)?)),
        _ => None,
    }
}
