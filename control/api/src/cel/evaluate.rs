//! The evaluation: a walk over a compiled expression, in which every step is charged.

use std::collections::BTreeMap;
use std::sync::Arc;

use regex::Regex;

use super::access::{Access, Stage};
use super::budget::Fault;
use super::node::{Asks, Becomes, Call, Each, Inside, Node, Select};
use super::parser::{DEPTH_MAX, Literal};
use super::scope::Scope;
use super::signature::Answer;
use super::value::{Key, Text, Value};

/// One evaluation while it goes on.
pub(super) struct Machine<'s, 'a> {
    scope: &'s Scope<'a>,
    /// What macros go through, innermost last.
    locals: Vec<Value<'a>>,
    spent: u64,
    limit: u64,
    depth: usize,
    /// The regular expression of the call that is made, if it was written down.
    pub(super) pattern: Option<Regex>,
}

/// What making them costs beside their contents, as Kubernetes has it.
const LIST_COST: u64 = 10;
const MAP_COST: u64 = 30;
/// So many bytes are gone through or copied in one step, as Kubernetes has it.
const BYTES_PER_STEP: usize = 10;

// === impl Machine ===

impl<'s, 'a> Machine<'s, 'a> {
    pub(super) const fn new(scope: &'s Scope<'a>, limit: u64) -> Self {
        Self { scope, locals: Vec::new(), spent: 0, limit, depth: 0, pattern: None }
    }

    pub(super) const fn spent(&self) -> u64 {
        self.spent
    }

    /// Takes so many steps.
    pub(super) fn spend(&mut self, steps: u64) -> Result<(), Fault> {
        self.spent = self.spent.saturating_add(steps);
        if self.spent > self.limit { Err(Fault::ExpressionCost) } else { Ok(()) }
    }

    /// Goes through so many bytes.
    pub(super) fn spend_bytes(&mut self, bytes: usize) -> Result<(), Fault> {
        self.spend(bytes.div_ceil(BYTES_PER_STEP) as u64)
    }

    /// Looks something up by a key: text is compared, and perhaps copied.
    pub(super) fn spend_key(&mut self, key: &Value<'_>) -> Result<(), Fault> {
        key.as_str().map_or(Ok(()), |text| self.spend_bytes(text.len()))
    }

    pub(super) fn equal(&mut self, one: &Value<'a>, two: &Value<'a>) -> Result<bool, Fault> {
        one.equals(two, &mut |steps| self.spend(steps))
    }

    pub(super) fn run(&mut self, node: &Node) -> Answer<'a> {
        if self.depth >= DEPTH_MAX {
            return Err(Fault::error(format!("expression recursion limit exceeded: {DEPTH_MAX}")));
        }
        self.depth += 1;
        let answer = self.step(node);
        self.depth -= 1;
        answer
    }

    // Each form has a function of its own, so that the stack holds of each level only what its form needs.
    fn step(&mut self, node: &Node) -> Answer<'a> {
        match node {
            Node::Literal(literal) => Ok(value_of(literal)),
            Node::Type(name) => Ok(Value::Type(Text::Borrowed(name))),
            Node::Local(place) => self.local(*place),
            Node::Name(name) => self.name(name),
            Node::Variable(place) => self.variable(*place),
            Node::Select(select) => self.select(select),
            Node::Index(parts) => self.index(parts),
            Node::OptionalIndex(parts) => self.optional_index(parts),
            Node::And(terms) => self.terms(terms, false),
            Node::Or(terms) => self.terms(terms, true),
            Node::If(parts) => self.conditional(parts),
            Node::Call(call) => self.call(call),
            Node::List(elements) => self.list(elements),
            Node::Map(entries) => self.map(entries),
            Node::Each(each) => self.each(each),
            Node::Inside(inside) => self.inside(inside),
        }
    }

    fn local(&mut self, place: usize) -> Answer<'a> {
        self.spend(1)?;
        self.locals.get(place).cloned().ok_or_else(|| Fault::error("a name of a macro stands for nothing"))
    }

    fn name(&mut self, name: &str) -> Answer<'a> {
        self.spend(1)?;
        self.scope.name(name).cloned().ok_or_else(|| Fault::error(format!("no such attribute(s): {name}")))
    }

    /// Computed once, whoever asks first.
    fn variable(&mut self, place: usize) -> Answer<'a> {
        self.spend(1)?;
        if let Some(Some(known)) = self.scope.computed.borrow().get(place) {
            return known.clone();
        }
        let program = self.scope.program(place).ok_or_else(|| Fault::error("a variable stands for nothing"))?;
        let locals = std::mem::take(&mut self.locals);
        let answer = self.run(program.node());
        self.locals = locals;
        if !matches!(answer, Err(ref fault) if fault.is_final())
            && let Some(slot) = self.scope.computed.borrow_mut().get_mut(place)
        {
            *slot = Some(answer.clone());
        }
        answer
    }

    fn select(&mut self, select: &Select) -> Answer<'a> {
        let operand = self.run(&select.operand)?;
        self.spend(1)?;
        let (operand, was_optional) = match operand {
            Value::Optional(None) => {
                return Ok(if select.asks == Asks::Presence { Value::Bool(false) } else { Value::NONE });
            }
            Value::Optional(Some(inner)) => (Value::clone(&inner), true),
            operand => (operand, false),
        };
        let found = match &operand {
            Value::Map(_) | Value::Members(..) => operand.field(&select.field),
            Value::Access(access) => request_resource(access, &select.field),
            _ => return Err(Fault::no_overload()),
        };
        // Bytes are read from their text each time.
        if let Some(Value::Bytes(bytes)) = &found {
            self.spend_bytes(bytes.len())?;
        }
        match (select.asks, found) {
            (Asks::Presence, found) => Ok(Value::Bool(found.is_some())),
            (Asks::Value, Some(found)) if !was_optional => Ok(found),
            (Asks::Value, None) if !was_optional => Err(Fault::no_such_key(&select.field)),
            (_, Some(found)) => Ok(Value::some(found)),
            (_, None) => Ok(Value::NONE),
        }
    }

    fn index(&mut self, parts: &[Node; 2]) -> Answer<'a> {
        let operand = self.run(&parts[0])?;
        let index = self.run(&parts[1])?;
        self.spend(1)?;
        self.spend_key(&index)?;
        at(&operand, &index)
    }

    fn optional_index(&mut self, parts: &[Node; 2]) -> Answer<'a> {
        let operand = self.run(&parts[0])?;
        let index = self.run(&parts[1])?;
        self.spend(1)?;
        self.spend_key(&index)?;
        let operand = match operand {
            Value::Optional(None) => return Ok(Value::NONE),
            Value::Optional(Some(inner)) => Value::clone(&inner),
            operand => operand,
        };
        match at(&operand, &index) {
            Ok(found) => Ok(Value::some(found)),
            Err(Fault::Error(_)) => Ok(Value::NONE),
            Err(fault) => Err(fault),
        }
    }

    /// One term that decides is enough, even if others fail.
    fn terms(&mut self, terms: &[Node], decisive: bool) -> Answer<'a> {
        self.spend(terms.len() as u64 / 10)?;
        let mut failed = None;
        for term in terms {
            match self.run(term) {
                Ok(Value::Bool(value)) if value == decisive => return Ok(Value::Bool(decisive)),
                Ok(Value::Bool(_)) => {}
                Ok(_) => failed = failed.or_else(|| Some(Fault::no_overload())),
                Err(fault) if fault.is_final() => return Err(fault),
                Err(fault) => failed = failed.or(Some(fault)),
            }
        }
        failed.map_or(Ok(Value::Bool(!decisive)), Err)
    }

    fn conditional(&mut self, parts: &[Node; 3]) -> Answer<'a> {
        match self.run(&parts[0])? {
            Value::Bool(true) => self.run(&parts[1]),
            Value::Bool(false) => self.run(&parts[2]),
            _ => Err(Fault::no_overload()),
        }
    }

    fn call(&mut self, call: &Call) -> Answer<'a> {
        let mut arguments = Vec::with_capacity(call.arguments.len());
        for argument in &call.arguments {
            arguments.push(self.run(argument)?);
        }
        self.spend(1)?;
        let Some(overload) = call.overloads.iter().find(|overload| overload.admits(&arguments)) else {
            return Err(Fault::no_overload());
        };
        self.pattern.clone_from(&call.pattern);
        (overload.run)(self, &arguments)
    }

    fn list(&mut self, elements: &[(Node, bool)]) -> Answer<'a> {
        self.spend(LIST_COST + elements.len() as u64 / 10)?;
        let mut values = Vec::with_capacity(elements.len());
        for (element, is_optional) in elements {
            match (self.run(element)?, is_optional) {
                (Value::Optional(inner), true) => values.extend(inner.as_deref().cloned()),
                (_, true) => return Err(Fault::no_overload()),
                (value, false) => values.push(value),
            }
        }
        Ok(Value::list(values))
    }

    fn map(&mut self, entries: &[(Node, Node, bool)]) -> Answer<'a> {
        self.spend(MAP_COST + entries.len() as u64 / 10)?;
        let mut map = BTreeMap::new();
        for (key, value, is_optional) in entries {
            let key = self.run(key)?;
            self.spend_key(&key)?;
            let value = match (self.run(value)?, is_optional) {
                (Value::Optional(None), true) => continue,
                (Value::Optional(Some(inner)), true) => Value::clone(&inner),
                (_, true) => return Err(Fault::no_overload()),
                (value, false) => value,
            };
            insert(&mut map, &key, value)?;
        }
        Ok(Value::Map(Arc::new(map)))
    }

    fn inside(&mut self, inside: &Inside) -> Answer<'a> {
        let Value::Optional(operand) = self.run(&inside.operand)? else { return Err(Fault::no_overload()) };
        let Some(held) = operand else { return Ok(Value::NONE) };
        self.locals.push(Value::clone(&held));
        let answer = self.run(&inside.transform);
        self.locals.pop();
        match answer? {
            value if !inside.is_flat => Ok(Value::some(value)),
            value @ Value::Optional(_) => Ok(value),
            _ => Err(Fault::no_overload()),
        }
    }

    fn each(&mut self, each: &Each) -> Answer<'a> {
        let over = self.run(&each.over)?;
        let depth = self.locals.len();
        let answer = self.go_through(each, &over);
        self.locals.truncate(depth);
        answer
    }

    fn go_through(&mut self, each: &Each, over: &Value<'a>) -> Answer<'a> {
        let mut gathered = Gathered::new(each.becomes);
        // The keys of a map are gathered before the first is looked at.
        self.spend(over.size().unwrap_or(0) as u64 / 10)?;
        if let Some(keys) = over.keys() {
            for key in keys {
                let value = if each.has_two { over.entry(&key).unwrap_or(Value::Null) } else { key.clone() };
                if self.visit(each, key, value, &mut gathered)? {
                    break;
                }
            }
        } else if let Some(elements) = over.elements() {
            for (place, element) in elements.enumerate() {
                if self.visit(each, Value::Int(place as i64), element, &mut gathered)? {
                    break;
                }
            }
        } else {
            return Err(Fault::no_overload());
        }
        gathered.answer()
    }

    /// Looks at one element; whether that decides the whole.
    fn visit(
        &mut self,
        each: &Each,
        key: Value<'a>,
        element: Value<'a>,
        gathered: &mut Gathered<'a>,
    ) -> Result<bool, Fault> {
        self.spend(1)?;
        let depth = self.locals.len();
        let map_key = if each.becomes == Becomes::Map { Some(key.clone()) } else { None };
        let kept = if each.transform.is_none() { Some(element.clone()) } else { None };
        if each.has_two {
            self.locals.push(key);
        }
        self.locals.push(element);
        let outcome = self.outcome(each, kept);
        self.locals.truncate(depth);
        gathered.take(outcome, map_key)
    }

    /// What an element becomes; nothing if it does not count.
    fn outcome(&mut self, each: &Each, kept: Option<Value<'a>>) -> Result<Option<Value<'a>>, Fault> {
        if let Some(filter) = &each.filter {
            match self.run(filter)? {
                Value::Bool(true) => {}
                Value::Bool(false) => return Ok(None),
                _ => return Err(Fault::no_overload()),
            }
        }
        match (&each.transform, kept) {
            (Some(transform), _) => self.run(transform).map(Some),
            (None, kept) => Ok(kept),
        }
    }
}

/// `authorizer.requestResource`.
fn request_resource<'a>(access: &Access<'a>, field: &str) -> Option<Value<'a>> {
    match &access.stage {
        Stage::Root(request, account) if field == "requestResource" => {
            let mut question = super::access::Question::clone(request);
            question.service_account.clone_from(account);
            Some(Value::Access(access.at(Stage::Resource(question)).into()))
        }
        _ => None,
    }
}

/// What a list or a map holds at an index.
pub(super) fn at<'a>(operand: &Value<'a>, index: &Value<'a>) -> Answer<'a> {
    if operand.elements().is_some() {
        let place = match index {
            Value::Int(place) => *place,
            Value::Uint(place) => i64::try_from(*place).unwrap_or(i64::MAX),
            Value::Double(place) if place.fract() == 0.0 && place.abs() < 9e15 => *place as i64,
            _ => return Err(Fault::no_overload()),
        };
        let found = usize::try_from(place).ok().and_then(|place| operand.element(place));
        return found.ok_or_else(|| Fault::error(format!("index out of bounds: {place}")));
    }
    match operand {
        Value::Map(_) | Value::Members(..) => {
            if Key::of(index).is_none() {
                return Err(Fault::no_overload());
            }
            operand.entry(index).ok_or_else(|| match index {
                Value::String(key) => Fault::no_such_key(&**key),
                Value::Int(key) => Fault::no_such_key(key),
                Value::Uint(key) => Fault::no_such_key(key),
                Value::Bool(key) => Fault::no_such_key(key),
                _ => Fault::no_overload(),
            })
        }
        _ => Err(Fault::no_overload()),
    }
}

fn insert<'a>(map: &mut BTreeMap<Key, Value<'a>>, key: &Value<'a>, value: Value<'a>) -> Result<(), Fault> {
    let key = match key {
        Value::Double(_) => None,
        key => Key::of(key),
    };
    let key = key.ok_or_else(|| Fault::error("unsupported key type"))?;
    let told = key.value();
    match map.insert(key, value) {
        None => Ok(()),
        Some(_) => Err(Fault::error(match told {
            Value::String(key) => format!("Failed with repeated key: {}", &*key),
            other => format!("Failed with repeated key: {other:?}"),
        })),
    }
}

fn value_of<'a>(literal: &Literal) -> Value<'a> {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(value) => Value::Bool(*value),
        Literal::Int(value) => Value::Int(*value),
        Literal::Uint(value) => Value::Uint(*value),
        Literal::Double(value) => Value::Double(*value),
        Literal::String(text) => Value::String(Text::Shared(text.clone())),
        Literal::Bytes(bytes) => Value::Bytes(bytes.clone()),
    }
}

/// What a macro has gathered so far.
struct Gathered<'a> {
    becomes: Becomes,
    list: Vec<Value<'a>>,
    map: BTreeMap<Key, Value<'a>>,
    count: usize,
    decided: bool,
    failed: Option<Fault>,
}

// === impl Gathered ===

impl<'a> Gathered<'a> {
    const fn new(becomes: Becomes) -> Self {
        Self { becomes, list: Vec::new(), map: BTreeMap::new(), count: 0, decided: false, failed: None }
    }

    fn take(&mut self, outcome: Result<Option<Value<'a>>, Fault>, key: Option<Value<'a>>) -> Result<bool, Fault> {
        match self.becomes {
            Becomes::All | Becomes::Exists => {
                let decisive = self.becomes == Becomes::Exists;
                match outcome {
                    Ok(Some(Value::Bool(value))) => self.decided = value == decisive,
                    Ok(_) => self.failed = self.failed.take().or_else(|| Some(Fault::no_overload())),
                    Err(fault) if fault.is_final() => return Err(fault),
                    Err(fault) => self.failed = self.failed.take().or(Some(fault)),
                }
                return Ok(self.decided);
            }
            Becomes::ExistsOne => match outcome? {
                Some(Value::Bool(value)) => self.count += usize::from(value),
                _ => return Err(Fault::no_overload()),
            },
            Becomes::List => self.list.extend(outcome?),
            Becomes::Map => {
                if let (Some(value), Some(key)) = (outcome?, key) {
                    insert(&mut self.map, &key, value)?;
                }
            }
            Becomes::MapOfEntries => {
                if let Some(made) = outcome? {
                    let keys = made.keys().ok_or_else(Fault::no_overload)?;
                    for key in keys {
                        let value = made.entry(&key).unwrap_or(Value::Null);
                        insert(&mut self.map, &key, value)?;
                    }
                }
            }
        }
        Ok(false)
    }

    fn answer(self) -> Answer<'a> {
        match self.becomes {
            Becomes::All | Becomes::Exists => match (self.decided, self.failed) {
                (true, _) => Ok(Value::Bool(self.becomes == Becomes::Exists)),
                (false, Some(fault)) => Err(fault),
                (false, None) => Ok(Value::Bool(self.becomes == Becomes::All)),
            },
            Becomes::ExistsOne => Ok(Value::Bool(self.count == 1)),
            Becomes::List => Ok(Value::list(self.list)),
            Becomes::Map | Becomes::MapOfEntries => Ok(Value::Map(Arc::new(self.map))),
        }
    }
}
