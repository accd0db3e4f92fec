//! Field selectors: `metadata.name=web,status.phase!=Running`.

use super::NotASelector;
use crate::{Kind, Object};

/// What fields must be like; every requirement must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    requirements: Vec<(String, bool, String)>,
}

const NAME: &str = "metadata.name";
const NAMESPACE: &str = "metadata.namespace";

// === impl FieldSelector ===

impl FieldSelector {
    /// Reads a selector over fields that objects of `kind` have.
    pub fn parse(text: &str, kind: &dyn Kind) -> Result<Self, NotASelector> {
        let mut requirements = Vec::new();
        for term in split(text) {
            let (field, equal, value) = requirement(term)
                .ok_or_else(|| NotASelector(format!("invalid selector: '{text}'; can't understand '{term}'")))?;
            if field != NAME && field != NAMESPACE && !kind.selectable().contains(&field) {
                return Err(NotASelector(if kind.selectable().is_empty() {
                    format!("{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
                } else {
                    format!("field label not supported: {field}")
                }));
            }
            requirements.push((field.to_owned(), equal, unescaped(value)?));
        }
        Ok(Self { requirements })
    }

    /// Whether the object, of the kind the selector was read for, is what is asked for.
    pub fn matches(&self, kind: &dyn Kind, object: &Object) -> bool {
        if self.requirements.is_empty() {
            return true;
        }
        let only_identity = self.requirements.iter().all(|(field, ..)| field == NAME || field == NAMESPACE);
        let fields = if only_identity { Vec::new() } else { kind.fields(object) };
        self.requirements.iter().all(|(field, equal, wanted)| {
            let value = match field.as_str() {
                NAME => object.key().name(),
                NAMESPACE => object.key().namespace(),
                field => fields.iter().find(|(name, _)| *name == field).map_or("", |(_, value)| value),
            };
            (value == wanted) == *equal
        })
    }

    /// Whether everything matches.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// The one name that objects must have, when the selector asks for one.
    pub fn name(&self) -> Option<&str> {
        let (_, _, name) = self.requirements.iter().find(|(field, equal, _)| field == NAME && *equal)?;
        Some(name)
    }
}

/// The one name that a selector over fields of any kind asks for, if it asks for one.
pub fn exact_name(text: &str) -> Option<String> {
    let terms = split(text).into_iter().filter_map(requirement);
    let mut names = terms.filter(|(field, equal, _)| *field == NAME && *equal);
    let name = names.find_map(|(_, _, name)| unescaped(name).ok())?;
    let is_segment = !matches!(name.as_str(), "" | "." | "..") && !name.contains(['/', '%']);
    is_segment.then_some(name)
}

/// The terms between commas that are not escaped.
fn split(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let mut start = 0;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        if c == ',' && !escaped {
            terms.push(&text[start..at]);
            start = at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    terms.push(&text[start..]);
    terms.retain(|term| !term.is_empty());
    terms
}

fn requirement(term: &str) -> Option<(&str, bool, &str)> {
    let at = term.find(['=', '!'])?;
    let (field, rest) = term.split_at(at);
    let signs = [("!=", false), ("==", true), ("=", true)];
    signs.iter().find_map(|(sign, equal)| Some((field, *equal, rest.strip_prefix(sign)?)))
}

fn unescaped(value: &str) -> Result<String, NotASelector> {
    let mut plain = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(escaped @ ('\\' | ',' | '=')) => plain.push(escaped),
                other => {
                    let sequence: String = ['\\'].into_iter().chain(other).collect();
                    return Err(NotASelector(format!("invalid field selector: invalid escape sequence: {sequence}")));
                }
            },
            '=' | ',' => {
                return Err(NotASelector(format!("invalid field selector: unescaped character in value: {c}")));
            }
            c => plain.push(c),
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{catalog, kinds};
    use serde_json::json;

    fn check(selector: &str, expect: Result<bool, &str>) {
        let kind = catalog::by_kind(kinds::POD).expect("in the catalog");
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"},
            "spec": {"nodeName": "n=1", "containers": []}, "status": {"phase": "Running"}});
        let pod = Object::from_value(kinds::POD, &pod).expect("an object");
        let found = FieldSelector::parse(selector, kind).map(|selector| selector.matches(kind, &pod));
        assert_eq!(found.map_err(|refused| refused.to_string()), expect.map_err(str::to_owned), "{selector}");
    }

    #[test]
    fn fields_select() {
        check("", Ok(true));
        check("metadata.name=p,metadata.namespace==n", Ok(true));
        check("status.phase!=Running", Ok(false));
        check("status.phase=Running,spec.nodeName=n\\=1", Ok(true));
        check("status.podIP=", Ok(true));
        check("metadata.name!=p", Ok(false));
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        check("status.colour=red", Err("field label not supported: status.colour"));
        check("status.phase", Err("invalid selector: 'status.phase'; can't understand 'status.phase'"));
        check("spec.nodeName=a=b", Err("invalid field selector: unescaped character in value: ="));
        check("spec.nodeName=a\\b", Err("invalid field selector: invalid escape sequence: \\b"));
    }
}
