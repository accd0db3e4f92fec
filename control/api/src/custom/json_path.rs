//! Kubernetes' dialect of JSONPath, as printer columns are written in it: `.spec.replicas`, `.spec.ports[*].port`,
//! `.status.conditions[?(@.type=="Ready")].status`.
//!
//! Reading never fails on a value: what is not there is nothing.

use serde_json::Value;

/// A path through a value.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath {
    steps: Vec<Step>,
}

/// Text that is no path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotAPath(&'static str);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Member(String),
    /// Several members, one after the other.
    Members(Vec<String>),
    Every,
    /// Everything below, however deep.
    Deep,
    Index(i64),
    Indices(Vec<i64>),
    Slice {
        from: Option<i64>,
        to: Option<i64>,
        by: i64,
    },
    Where(Filter),
}

/// Which items: those whose value at a path compares so with another.
#[derive(Clone, Debug, PartialEq)]
struct Filter {
    left: Operand,
    comparison: Option<(Comparison, Operand)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Path(JsonPath),
    Value(Value),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Paths within filters within paths: no more than this.
const DEPTH_MAX: u32 = 8;
/// More than anyone writes; every step may look at all of an object.
const STEPS_MAX: usize = 64;
/// Only the first of what is found is shown; several steps that each find everything must not multiply.
const FOUND_MAX: usize = 1024;

// === impl JsonPath ===

impl JsonPath {
    /// Reads a path, with the braces that `kubectl` wants around it or without.
    pub fn parse(text: &str) -> Result<Self, NotAPath> {
        let text = text.trim();
        let text = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
        let mut reader = Reader { rest: text, depth: 0 };
        let path = reader.path()?;
        if reader.rest.is_empty() { Ok(path) } else { Err(NotAPath("unexpected text after the path")) }
    }

    /// What there is at the end of it.
    pub fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        self.steps.iter().fold(vec![value], |found, step| {
            found.into_iter().flat_map(|value| step.take(value)).take(FOUND_MAX).collect()
        })
    }
}

// === impl Step ===

impl Step {
    fn take<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match self {
            Self::Member(name) => value.get(name).into_iter().collect(),
            Self::Members(names) => names.iter().filter_map(|name| value.get(name)).collect(),
            Self::Every => children(value),
            Self::Deep => deep(value),
            Self::Index(index) => at(value, *index).into_iter().collect(),
            Self::Indices(indices) => indices.iter().filter_map(|index| at(value, *index)).collect(),
            Self::Slice { from, to, by } => slice(value, *from, *to, *by),
            Self::Where(filter) => match value {
                Value::Array(items) => items.iter().filter(|item| filter.matches(item)).collect(),
                _ => Vec::new(),
            },
        }
    }
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(members) => members.values().collect(),
        _ => Vec::new(),
    }
}

fn deep(value: &Value) -> Vec<&Value> {
    let mut found = vec![value];
    for child in children(value) {
        found.extend(deep(child));
    }
    found
}

/// Negative indices count from the end.
fn at(value: &Value, index: i64) -> Option<&Value> {
    let items = value.as_array()?;
    let index = if index < 0 { index + items.len() as i64 } else { index };
    items.get(usize::try_from(index).ok()?)
}

fn slice(value: &Value, from: Option<i64>, to: Option<i64>, by: i64) -> Vec<&Value> {
    let Some(items) = value.as_array() else { return Vec::new() };
    let length = items.len() as i64;
    let bound = |at: i64| if at < 0 { (at + length).max(0) } else { at.min(length) } as usize;
    let (from, to) = (bound(from.unwrap_or(0)), bound(to.unwrap_or(length)));
    if from >= to {
        return Vec::new();
    }
    items[from..to].iter().step_by(by.max(1) as usize).collect()
}

// === impl Filter ===

impl Filter {
    fn matches(&self, item: &Value) -> bool {
        let left = self.left.value(item);
        let Some((comparison, right)) = &self.comparison else { return left.is_some() };
        let (Some(left), Some(right)) = (left, right.value(item)) else { return false };
        let order = match (left, right) {
            (Value::Number(left), Value::Number(right)) => {
                left.as_f64().zip(right.as_f64()).and_then(|(left, right)| left.partial_cmp(&right))
            }
            (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
            (left, right) => (left == right).then_some(std::cmp::Ordering::Equal),
        };
        match comparison {
            Comparison::Equal => order.is_some_and(std::cmp::Ordering::is_eq),
            Comparison::NotEqual => order.is_none_or(std::cmp::Ordering::is_ne),
            Comparison::Less => order.is_some_and(std::cmp::Ordering::is_lt),
            Comparison::LessOrEqual => order.is_some_and(std::cmp::Ordering::is_le),
            Comparison::Greater => order.is_some_and(std::cmp::Ordering::is_gt),
            Comparison::GreaterOrEqual => order.is_some_and(std::cmp::Ordering::is_ge),
        }
    }
}

// === impl Operand ===

impl Operand {
    fn value<'a>(&'a self, item: &'a Value) -> Option<&'a Value> {
        match self {
            Self::Value(value) => Some(value),
            Self::Path(path) => path.find(item).first().copied(),
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
    depth: u32,
}

// === impl Reader ===

impl Reader<'_> {
    fn take(&mut self, word: &str) -> bool {
        match self.rest.strip_prefix(word) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn demand(&mut self, word: &'static str, otherwise: &'static str) -> Result<(), NotAPath> {
        if self.take(word) { Ok(()) } else { Err(NotAPath(otherwise)) }
    }

    fn blanks(&mut self) {
        self.rest = self.rest.trim_start_matches(' ');
    }

    /// Steps until something that is no step.
    fn path(&mut self) -> Result<JsonPath, NotAPath> {
        let mut steps = Vec::new();
        if !self.take("$") {
            self.take("@");
        }
        loop {
            if steps.len() > STEPS_MAX {
                return Err(NotAPath("the path has too many steps"));
            }
            if self.take("..") {
                steps.push(Step::Deep);
                if self.rest.starts_with(|c: char| c == '*' || is_name(c)) {
                    steps.push(self.member()?);
                }
            } else if self.take(".") {
                if self.rest.starts_with('[') || self.rest.is_empty() {
                    continue;
                }
                steps.push(self.member()?);
            } else if self.take("[") {
                steps.push(self.bracket()?);
            } else {
                return Ok(JsonPath { steps });
            }
        }
    }

    fn member(&mut self) -> Result<Step, NotAPath> {
        if self.take("*") {
            return Ok(Step::Every);
        }
        let mut name = String::new();
        let mut chars = self.rest.char_indices();
        let mut end = self.rest.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => name.extend(chars.next().map(|(_, escaped)| escaped)),
                c if is_name(c) => name.push(c),
                _ => {
                    end = at;
                    break;
                }
            }
        }
        self.rest = &self.rest[end..];
        if name.is_empty() { Err(NotAPath("a name is missing")) } else { Ok(Step::Member(name)) }
    }

    fn bracket(&mut self) -> Result<Step, NotAPath> {
        self.blanks();
        let step = if self.take("*") {
            Step::Every
        } else if self.take("?(") {
            let filter = self.filter()?;
            self.blanks();
            self.demand(")", "unterminated filter")?;
            Step::Where(filter)
        } else if self.rest.starts_with(['\'', '"']) {
            let mut names = vec![self.quoted()?];
            while self.comma() {
                names.push(self.quoted()?);
            }
            if names.len() == 1 { Step::Member(names.remove(0)) } else { Step::Members(names) }
        } else {
            self.numbers()?
        };
        self.blanks();
        self.demand("]", "unterminated array")?;
        Ok(step)
    }

    fn comma(&mut self) -> bool {
        self.blanks();
        let more = self.take(",");
        self.blanks();
        more
    }

    fn numbers(&mut self) -> Result<Step, NotAPath> {
        let first = self.number();
        if self.take(":") {
            let to = self.number();
            let by = if self.take(":") { self.number().unwrap_or(1) } else { 1 };
            if by < 1 {
                return Err(NotAPath("step must be > 0"));
            }
            return Ok(Step::Slice { from: first, to, by });
        }
        let mut indices = vec![first.ok_or(NotAPath("invalid array index"))?];
        while self.comma() {
            indices.push(self.number().ok_or(NotAPath("invalid array index"))?);
        }
        Ok(if indices.len() == 1 { Step::Index(indices[0]) } else { Step::Indices(indices) })
    }

    fn number(&mut self) -> Option<i64> {
        let unsigned = self.rest.strip_prefix('-').unwrap_or(self.rest);
        let digits = unsigned.len() - unsigned.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let length = self.rest.len() - unsigned.len() + digits;
        let number = self.rest[..length].parse().ok()?;
        self.rest = &self.rest[length..];
        Some(number)
    }

    fn quoted(&mut self) -> Result<String, NotAPath> {
        let mut chars = self.rest.char_indices();
        let quote = chars.next().map(|(_, c)| c).filter(|c| matches!(c, '\'' | '"'));
        let quote = quote.ok_or(NotAPath("a quoted name is missing"))?;
        let mut text = String::new();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => text.extend(chars.next().map(|(_, escaped)| escaped)),
                c if c == quote => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(text);
                }
                c => text.push(c),
            }
        }
        Err(NotAPath("unterminated quoted string"))
    }

    fn filter(&mut self) -> Result<Filter, NotAPath> {
        let left = self.operand()?;
        self.blanks();
        let signs = [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        let Some((_, comparison)) = signs.into_iter().find(|(sign, _)| self.take(sign)) else {
            return Ok(Filter { left, comparison: None });
        };
        Ok(Filter { left, comparison: Some((comparison, self.operand()?)) })
    }

    fn operand(&mut self) -> Result<Operand, NotAPath> {
        self.blanks();
        if self.rest.starts_with(['\'', '"']) {
            return self.quoted().map(|text| Operand::Value(text.into()));
        }
        if self.rest.starts_with(['@', '$', '.', '[']) {
            self.depth += 1;
            if self.depth > DEPTH_MAX {
                return Err(NotAPath("filters are nested too deeply"));
            }
            let path = self.path()?;
            self.depth -= 1;
            return Ok(Operand::Path(path));
        }
        let length =
            self.rest.len() - self.rest.trim_start_matches(|c: char| is_name(c) || matches!(c, '-' | '.' | '+')).len();
        let (word, rest) = self.rest.split_at(length);
        self.rest = rest;
        match word {
            "true" => Ok(Operand::Value(true.into())),
            "false" => Ok(Operand::Value(false.into())),
            word => {
                let number: serde_json::Number = word.parse().map_err(|_| NotAPath("unrecognized value in filter"))?;
                Ok(Operand::Value(Value::Number(number)))
            }
        }
    }
}

fn is_name(c: char) -> bool {
    !matches!(
        c,
        '.' | '[' | ']' | '(' | ')' | ' ' | ',' | '=' | '!' | '<' | '>' | '?' | '@' | '\'' | '"' | '*' | '{' | '}'
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn check(path: &str, expect: Value) {
        let object = json!({
            "metadata": {"labels": {"app.kubernetes.io/name": "web"}},
            "spec": {"replicas": 3, "ports": [{"name": "http", "port": 80}, {"name": "tls", "port": 443}], "list": [1, 2, 3, 4]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Synced", "status": "False"}]},
        });
        let found = JsonPath::parse(path).map(|path| path.find(&object).into_iter().cloned().collect::<Vec<_>>());
        assert_eq!(found, Ok(serde_json::from_value(expect).expect("a list")), "{path}");
    }

    #[test]
    fn paths_lead_to_values() {
        check(".spec.replicas", json!([3]));
        check("{.spec.replicas}", json!([3]));
        check("$.spec['replicas']", json!([3]));
        check(".spec.missing.deeper", json!([]));
        check(r".metadata.labels.app\.kubernetes\.io/name", json!(["web"]));
        check(".metadata.labels['app.kubernetes.io/name']", json!(["web"]));
        check(".spec.ports[*].port", json!([80, 443]));
        check(".spec.ports[-1].name", json!(["tls"]));
        check(".spec.list[1:3]", json!([2, 3]));
        check(".spec.list[::2]", json!([1, 3]));
        check(".spec.list[0,3]", json!([1, 4]));
        check(r#".status.conditions[?(@.type=="Ready")].status"#, json!(["True"]));
        check(".status.conditions[?(@.type == 'Synced')].status", json!(["False"]));
        check(".spec.ports[?(@.port>100)].name", json!(["tls"]));
        check("..port", json!([80, 443]));
    }

    #[test]
    fn what_is_no_path_is_refused() {
        let deep = "..a".repeat(100);
        for text in [deep.as_str(), ".spec[", ".spec[x]", ".spec['a", ".a[?(@.b==", ".spec replicas", ".a[?(@.b==c)]"] {
            assert!(JsonPath::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reader(text in r#"[\[\]().@?*:'"=<>a-c0-3, \\{}$-]{0,40}"#) {
            if let Ok(path) = JsonPath::parse(&text) {
                path.find(&json!({"a": [{"b": 1}, {"c": "x"}], "b": {"a": [1, 2, 3]}}));
            }
        }
    }
}
