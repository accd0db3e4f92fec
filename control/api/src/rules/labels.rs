//! What may be a label, an annotation, a selector.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::{Causes, NameRule};

const VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const NAME_PART: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const QUALIFIED: &str = "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";

/// The longest label value, and the longest name part of a key.
const PART_BYTES_MAX: usize = 63;
/// All annotations of an object together.
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;

fn is_part(text: &str) -> bool {
    let edge = |c: Option<u8>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    edge(text.bytes().next())
        && edge(text.bytes().last())
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'))
}

/// What is wrong with a qualified name such as `example.com/name`, in Kubernetes' words.
pub fn qualified_name(name: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let part = match name.split('/').collect::<Vec<_>>()[..] {
        [part] => part,
        [prefix, part] => {
            match prefix {
                "" => problems.push("prefix part must be non-empty".into()),
                prefix => problems.extend(
                    NameRule::Subdomain.problems(prefix).into_iter().map(|problem| format!("prefix part {problem}")),
                ),
            }
            part
        }
        _ => return vec![QUALIFIED.into()],
    };
    if part.is_empty() {
        problems.push("name part must be non-empty".into());
    } else if part.len() > PART_BYTES_MAX {
        problems.push(format!("name part must be no more than {PART_BYTES_MAX} bytes"));
    }
    if !is_part(part) {
        problems.push(NAME_PART.into());
    }
    problems
}

/// What is wrong with a label's value, in Kubernetes' words.
pub fn label_value(value: &str) -> Vec<String> {
    let too_long = (value.len() > PART_BYTES_MAX).then(|| format!("must be no more than {PART_BYTES_MAX} bytes"));
    let wrong = (!value.is_empty() && !is_part(value)).then(|| VALUE.to_owned());
    too_long.into_iter().chain(wrong).collect()
}

/// Labels, at `path`.
pub fn labels(path: &str, labels: &BTreeMap<String, String>, causes: &mut Causes) {
    for (key, value) in labels {
        for problem in qualified_name(key) {
            causes.invalid(path, key, &problem);
        }
        for problem in label_value(value) {
            causes.invalid(path, value, &problem);
        }
    }
}

/// Annotations, at `path`.
pub fn annotations(path: &str, annotations: &BTreeMap<String, String>, causes: &mut Causes) {
    for key in annotations.keys() {
        for problem in qualified_name(&key.to_lowercase()) {
            causes.invalid(path, key, &problem);
        }
    }
    let bytes: usize = annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > ANNOTATIONS_BYTES_MAX {
        causes.too_long(path, ANNOTATIONS_BYTES_MAX);
    }
}

/// A label selector, at `path`.
pub fn selector(path: &str, selector: &LabelSelector, causes: &mut Causes) {
    if let Some(wanted) = &selector.match_labels {
        labels(&format!("{path}.matchLabels"), wanted, causes);
    }
    for (index, wanted) in selector.match_expressions.iter().flatten().enumerate() {
        let path = format!("{path}.matchExpressions[{index}]");
        let values = wanted.values.as_deref().unwrap_or_default();
        match wanted.operator.as_str() {
            "In" | "NotIn" if values.is_empty() => {
                causes.required(format!("{path}.values"), "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                causes.forbidden(
                    format!("{path}.values"),
                    "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                );
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => causes.invalid(format!("{path}.operator"), other, "not a valid selector operator"),
        }
        for problem in qualified_name(&wanted.key) {
            causes.invalid(format!("{path}.key"), &wanted.key, &problem);
        }
        for (at, value) in values.iter().enumerate() {
            for problem in label_value(value) {
                causes.invalid(format!("{path}.values[{at}]"), value, &problem);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_follow_their_rules() {
        for good in ["app", "app.kubernetes.io/name", "A_b.c-1"] {
            assert!(qualified_name(good).is_empty(), "{good}");
        }
        for bad in ["", "/x", "a/b/c", "-a", "a b", "Example.com/x"] {
            assert!(!qualified_name(bad).is_empty(), "{bad}");
        }
        assert!(label_value("").is_empty() && label_value("a_B").is_empty());
        assert!(!label_value("a b").is_empty() && !label_value(&"a".repeat(64)).is_empty());
    }
}
