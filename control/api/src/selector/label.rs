//! Label selectors: `app=web,tier in (a,b),!legacy`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;

use super::NotASelector;
use crate::rules::qualified_name;

/// What labels must be like; every requirement must hold. Without any, everything matches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

/// One thing asked of labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// The label is there with one of these values.
    In(String, BTreeSet<String>),
    /// The label is not there, or has none of these values.
    NotIn(String, BTreeSet<String>),
    /// The label is there.
    Exists(String),
    /// The label is not there.
    DoesNotExist(String),
    /// The label is there and a greater number.
    GreaterThan(String, i64),
    /// The label is there and a lesser number.
    LessThan(String, i64),
}

// === impl LabelSelector ===

impl LabelSelector {
    /// Matches everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Matches nothing: what an absent selector object means.
    pub fn nothing() -> Self {
        Self { requirements: Vec::new(), nothing: true }
    }

    /// Exactly these labels, among others.
    pub fn equal_to(labels: &BTreeMap<String, String>) -> Self {
        let one = |(key, value): (&String, &String)| Requirement::In(key.clone(), BTreeSet::from([value.clone()]));
        Self { requirements: labels.iter().map(one).collect(), nothing: false }
    }

    /// Whether the labels are what is asked for.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        !self.nothing && self.requirements.iter().all(|requirement| requirement.holds(labels))
    }

    /// Whether everything matches.
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// What is asked for.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// The selector of an object's field, where absence selects nothing.
    pub fn of(selector: Option<&meta::LabelSelector>) -> Result<Self, NotASelector> {
        selector.map_or_else(|| Ok(Self::nothing()), Self::try_from)
    }
}

impl TryFrom<&meta::LabelSelector> for LabelSelector {
    type Error = NotASelector;

    fn try_from(selector: &meta::LabelSelector) -> Result<Self, NotASelector> {
        let mut found = selector.match_labels.as_ref().map(Self::equal_to).unwrap_or_default();
        for wanted in selector.match_expressions.iter().flatten() {
            let key = wanted.key.clone();
            let values = || wanted.values.iter().flatten().cloned().collect::<BTreeSet<_>>();
            found.requirements.push(match wanted.operator.as_str() {
                "In" => Requirement::In(key, values()),
                "NotIn" => Requirement::NotIn(key, values()),
                "Exists" => Requirement::Exists(key),
                "DoesNotExist" => Requirement::DoesNotExist(key),
                other => return Err(NotASelector(format!("{other:?} is not a valid label selector operator"))),
            });
        }
        found.requirements.sort_by(|one, other| one.key().cmp(other.key()));
        Ok(found)
    }
}

impl FromStr for LabelSelector {
    type Err = NotASelector;

    fn from_str(text: &str) -> Result<Self, NotASelector> {
        let mut reader = Reader { tokens: tokens(text), at: 0 };
        let mut requirements = Vec::new();
        while !reader.is_done() {
            requirements
                .push(reader.requirement().map_err(|why| NotASelector(format!("unable to parse requirement: {why}")))?);
            match reader.next() {
                None => break,
                Some(",") if !reader.is_done() => {}
                Some(",") => {
                    return Err(NotASelector("found '', expected: identifier after ','".into()));
                }
                Some(other) => {
                    return Err(NotASelector(format!("found '{other}', expected: ',' or 'end of string'")));
                }
            }
        }
        requirements.sort_by(|one, other| one.key().cmp(other.key()));
        Ok(Self { requirements, nothing: false })
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{requirement}")?;
        }
        Ok(())
    }
}

// === impl Requirement ===

impl Requirement {
    /// The label it asks about.
    pub fn key(&self) -> &str {
        match self {
            Self::In(key, _)
            | Self::NotIn(key, _)
            | Self::Exists(key)
            | Self::DoesNotExist(key)
            | Self::GreaterThan(key, _)
            | Self::LessThan(key, _) => key,
        }
    }

    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(self.key());
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match self {
            Self::In(_, values) => value.is_some_and(|value| values.contains(value)),
            Self::NotIn(_, values) => value.is_none_or(|value| !values.contains(value)),
            Self::Exists(_) => value.is_some(),
            Self::DoesNotExist(_) => value.is_none(),
            Self::GreaterThan(_, bound) => number().is_some_and(|number| number > *bound),
            Self::LessThan(_, bound) => number().is_some_and(|number| number < *bound),
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |values: &BTreeSet<String>| values.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        match self {
            Self::In(key, values) if values.len() == 1 => write!(f, "{key}={}", joined(values)),
            Self::In(key, values) => write!(f, "{key} in ({})", joined(values)),
            Self::NotIn(key, values) if values.len() == 1 => write!(f, "{key}!={}", joined(values)),
            Self::NotIn(key, values) => write!(f, "{key} notin ({})", joined(values)),
            Self::Exists(key) => f.write_str(key),
            Self::DoesNotExist(key) => write!(f, "!{key}"),
            Self::GreaterThan(key, bound) => write!(f, "{key}>{bound}"),
            Self::LessThan(key, bound) => write!(f, "{key}<{bound}"),
        }
    }
}

/// Reads tokens one after the other.
struct Reader<'a> {
    tokens: Vec<&'a str>,
    at: usize,
}

/// Words, and the signs between them.
fn tokens(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let length = match rest.as_bytes() {
            [b'=' | b'!', b'=', ..] => 2,
            [first, ..] if is_sign(char::from(*first)) => 1,
            _ => rest.find(|c: char| is_sign(c) || c.is_whitespace()).unwrap_or(rest.len()),
        };
        let (token, after) = rest.split_at(length);
        found.push(token);
        rest = after.trim_start();
    }
    found
}

fn is_sign(c: char) -> bool {
    matches!(c, '=' | '!' | '(' | ')' | ',' | '<' | '>')
}

fn is_word(token: &str) -> bool {
    !token.starts_with(is_sign)
}

// === impl Reader ===

impl<'a> Reader<'a> {
    fn is_done(&self) -> bool {
        self.at >= self.tokens.len()
    }

    fn peek(&self) -> Option<&'a str> {
        self.tokens.get(self.at).copied()
    }

    fn next(&mut self) -> Option<&'a str> {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        if self.peek() == Some("!") {
            self.next();
            return Ok(Requirement::DoesNotExist(self.key()?));
        }
        let key = self.key()?;
        match self.peek() {
            None | Some(",") => Ok(Requirement::Exists(key)),
            Some("=" | "==") => {
                self.next();
                let value = self.value(&key)?;
                Ok(Requirement::In(key, BTreeSet::from([value])))
            }
            Some("!=") => {
                self.next();
                let value = self.value(&key)?;
                Ok(Requirement::NotIn(key, BTreeSet::from([value])))
            }
            Some("in") => {
                self.next();
                let values = self.values(&key)?;
                Ok(Requirement::In(key, values))
            }
            Some("notin") => {
                self.next();
                let values = self.values(&key)?;
                Ok(Requirement::NotIn(key, values))
            }
            Some(">") => {
                self.next();
                let number = self.number(&key)?;
                Ok(Requirement::GreaterThan(key, number))
            }
            Some("<") => {
                self.next();
                let number = self.number(&key)?;
                Ok(Requirement::LessThan(key, number))
            }
            Some(other) => Err(format!("found '{other}', expected: in, notin, =, ==, !=, gt, lt")),
        }
    }

    fn key(&mut self) -> Result<String, String> {
        let key = self.next().unwrap_or_default();
        if !is_word(key) || key.is_empty() {
            return Err(format!("found '{key}', expected: !, identifier, or 'end of string'"));
        }
        match qualified_name(key).first() {
            None => Ok(key.into()),
            Some(problem) => Err(format!("<nil>: Invalid value: {key:?}: {problem}")),
        }
    }

    /// A value, which may be empty.
    fn value(&mut self, key: &str) -> Result<String, String> {
        match self.peek() {
            None | Some(",") => Ok(String::new()),
            Some(word) if is_word(word) => {
                self.next();
                checked(key, 0, word)
            }
            Some(other) => Err(format!("found '{other}', expected: identifier")),
        }
    }

    fn number(&mut self, key: &str) -> Result<i64, String> {
        let word = self.value(key)?;
        word.parse().map_err(|_| {
            format!("values[0]: Invalid value: {word:?}: for 'Gt', 'Lt' operators, the value must be an integer")
        })
    }

    fn values(&mut self, key: &str) -> Result<BTreeSet<String>, String> {
        match self.next() {
            Some("(") => {}
            other => return Err(format!("found '{}' expected: '('", other.unwrap_or_default())),
        }
        let mut values = BTreeSet::new();
        loop {
            match self.peek() {
                Some("," | ")") => drop(values.insert(String::new())),
                Some(word) if is_word(word) => {
                    self.next();
                    values.insert(checked(key, values.len(), word)?);
                }
                other => {
                    return Err(format!("found '{}', expected: ',', ')' or identifier", other.unwrap_or_default()));
                }
            }
            match self.next() {
                Some(",") => {}
                Some(")") => return Ok(values),
                other => return Err(format!("found '{}', expected: ',' or ')'", other.unwrap_or_default())),
            }
        }
    }
}

fn checked(key: &str, index: usize, value: &str) -> Result<String, String> {
    match crate::rules::label_value(value).first() {
        None => Ok(value.into()),
        Some(problem) => Err(format!("values[{index}][{key}]: Invalid value: {value:?}: {problem}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> BTreeMap<String, String> {
        let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    fn check(selector: &str, yes: &[&str], no: &[&str]) {
        let selector: LabelSelector = selector.parse().expect("a selector");
        for one in yes {
            assert!(selector.matches(&labels(one)), "{selector} matches {one}");
        }
        for one in no {
            assert!(!selector.matches(&labels(one)), "{selector} does not match {one}");
        }
        let again: LabelSelector = selector.to_string().parse().expect("what is printed can be read");
        assert_eq!(again, selector);
    }

    #[test]
    fn every_form_selects() {
        check("", &["", "a=1"], &[]);
        check("a=1", &["a=1", "a=1,b=2"], &["", "a=2"]);
        check(" a == 1 , b!=2 ", &["a=1", "a=1,b=3"], &["a=1,b=2", "b=1"]);
        check("a in (1, 2),!c", &["a=1", "a=2"], &["a=3", "a=1,c=x"]);
        check("a notin (1,2)", &["", "a=3"], &["a=1"]);
        check("a", &["a=", "a=1"], &["b=1"]);
        check("n>5,n<9", &["n=6"], &["n=5", "n=9", "n=x", ""]);
        check("a=", &["a="], &["", "a=1"]);
        check("example.com/x=y", &["example.com/x=y"], &[""]);
    }

    #[test]
    fn what_is_no_selector_is_refused_in_kubernetes_words() {
        let refused = |text: &str| text.parse::<LabelSelector>().expect_err(text).to_string();
        for text in ["a in", "a in (", "a b", "=x", "a in (b", "a=!", "-a=b", "n>x", "a in (b, -c)"] {
            assert!(refused(text).starts_with("unable to parse requirement: "), "{}", refused(text));
        }
        assert_eq!(refused("a=b=c"), "found '=', expected: ',' or 'end of string'");
        assert_eq!(refused("a,"), "found '', expected: identifier after ','");
        assert!(refused("a in (b, -c)").contains("values[1][a]: Invalid value: \"-c\": "));
    }

    #[test]
    fn the_object_form_selects_nothing_when_absent_and_everything_when_empty() {
        assert!(!LabelSelector::of(None).expect("fine").matches(&labels("a=1")));
        assert!(LabelSelector::of(Some(&meta::LabelSelector::default())).expect("fine").matches(&labels("a=1")));
    }
}
