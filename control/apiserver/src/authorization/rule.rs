//! One rule of a role: what it allows, and what it covers.
//!
//! The words are those of <https://kubernetes.io/docs/reference/access-authn-authz/rbac/>: `*` is everything, `pods/log` a part,
//! `*/scale` that part of anything, a path may end in `*`, and a rule with names is about those names alone.

use std::fmt;

use k8s_openapi::api::rbac::v1::PolicyRule;

use super::question::{About, Question, Resource};

const ALL: &str = "*";

/// A rule in one line, as refusals tell it.
pub(crate) struct Told<'a>(pub(crate) &'a PolicyRule);

/// Whether a rule allows what is asked.
pub(super) fn allows(rule: &PolicyRule, question: &Question) -> bool {
    has(&rule.verbs, &question.verb)
        && match &question.about {
            About::Path(path) => list(rule.non_resource_urls.as_deref()).iter().any(|url| covers_path(url, path)),
            About::Resource(asked) => {
                let names = list(rule.resource_names.as_deref());
                has(list(rule.api_groups.as_deref()), &asked.group)
                    && list(rule.resources.as_deref()).iter().any(|resource| is_meant(resource, asked))
                    && (names.is_empty() || names.contains(&asked.name))
            }
        }
}

/// What of `wanted` is allowed by none of `held`, in pieces of one verb and one resource, name or path each.
pub(crate) fn uncovered<'a>(
    held: impl Iterator<Item = &'a PolicyRule> + Clone,
    wanted: &[PolicyRule],
) -> Vec<PolicyRule> {
    let pieces = wanted.iter().flat_map(pieces);
    pieces.filter(|piece| !held.clone().any(|rule| covers(rule, piece))).collect()
}

/// The rules, with those that differ in nothing but their verbs made one.
pub(crate) fn compact(rules: Vec<PolicyRule>) -> Vec<PolicyRule> {
    let is_simple = |rule: &PolicyRule| {
        list(rule.resource_names.as_deref()).len() <= 1 && list(rule.non_resource_urls.as_deref()).is_empty()
    };
    let is_alike = |one: &PolicyRule, other: &PolicyRule| {
        one.api_groups == other.api_groups
            && one.resources == other.resources
            && one.resource_names == other.resource_names
    };
    let mut compacted: Vec<PolicyRule> = Vec::new();
    for rule in rules {
        let known = compacted.iter_mut().find(|known| is_simple(known) && is_simple(&rule) && is_alike(known, &rule));
        match known {
            Some(known) => {
                let new: Vec<String> = rule.verbs.into_iter().filter(|verb| !known.verbs.contains(verb)).collect();
                known.verbs.extend(new);
            }
            None => compacted.push(rule),
        }
    }
    compacted
}

/// A rule broken into the smallest rules that say the same together.
fn pieces(rule: &PolicyRule) -> Vec<PolicyRule> {
    let one = |word: &String| Some(vec![word.clone()]);
    let mut pieces = Vec::new();
    for group in list(rule.api_groups.as_deref()) {
        for resource in list(rule.resources.as_deref()) {
            for verb in &rule.verbs {
                let piece = PolicyRule {
                    api_groups: one(group),
                    resources: one(resource),
                    verbs: vec![verb.clone()],
                    ..PolicyRule::default()
                };
                match list(rule.resource_names.as_deref()) {
                    [] => pieces.push(piece),
                    names => pieces
                        .extend(names.iter().map(|name| PolicyRule { resource_names: one(name), ..piece.clone() })),
                }
            }
        }
    }
    for url in list(rule.non_resource_urls.as_deref()) {
        let piece = |verb: &String| PolicyRule {
            non_resource_urls: one(url),
            verbs: vec![verb.clone()],
            ..PolicyRule::default()
        };
        pieces.extend(rule.verbs.iter().map(piece));
    }
    pieces
}

/// Whether a rule allows all that a piece of one does.
fn covers(rule: &PolicyRule, piece: &PolicyRule) -> bool {
    let names = list(rule.resource_names.as_deref());
    piece.verbs.iter().all(|verb| has(&rule.verbs, verb))
        && list(piece.api_groups.as_deref()).iter().all(|group| has(list(rule.api_groups.as_deref()), group))
        && list(piece.resources.as_deref())
            .iter()
            .all(|resource| covers_resource(list(rule.resources.as_deref()), resource))
        && list(piece.non_resource_urls.as_deref())
            .iter()
            .all(|path| list(rule.non_resource_urls.as_deref()).iter().any(|url| covers_path(url, path)))
        && match list(piece.resource_names.as_deref()) {
            [] => names.is_empty(),
            wanted => names.is_empty() || wanted.iter().all(|name| names.contains(name)),
        }
}

fn covers_resource(resources: &[String], wanted: &str) -> bool {
    let part = wanted.split_once('/').map(|(_, part)| part);
    has(resources, wanted)
        || part.is_some_and(|part| resources.iter().any(|resource| resource.strip_prefix("*/") == Some(part)))
}

fn covers_path(url: &str, path: &str) -> bool {
    match url.strip_suffix('*') {
        Some(_) => path.starts_with(url.trim_end_matches('*')),
        None => url == path,
    }
}

/// Whether the resource that a rule names is the one asked for.
fn is_meant(resource: &str, asked: &Resource) -> bool {
    if resource == ALL {
        return true;
    }
    match asked.subresource.as_str() {
        "" => resource == asked.plural,
        part => {
            let of = resource.strip_suffix(part).and_then(|of| of.strip_suffix('/'));
            of.is_some_and(|of| of == ALL || of == asked.plural)
        }
    }
}

fn has(words: &[String], wanted: &str) -> bool {
    words.iter().any(|word| word == ALL || word == wanted)
}

fn list(words: Option<&[String]>) -> &[String] {
    words.unwrap_or_default()
}

// === impl Told ===

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(rule) = self;
        let members = [
            ("APIGroups", list(rule.api_groups.as_deref())),
            ("Resources", list(rule.resources.as_deref())),
            ("NonResourceURLs", list(rule.non_resource_urls.as_deref())),
            ("ResourceNames", list(rule.resource_names.as_deref())),
            ("Verbs", &rule.verbs),
        ];
        let told = members.iter().filter(|(_, words)| !words.is_empty());
        let told: Vec<String> = told.map(|(name, words)| format!("{name}:{}", quoted(words))).collect();
        write!(f, "{{{}}}", told.join(", "))
    }
}

/// Words as Go prints a list of them with `%q`.
pub(crate) fn quoted(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    format!("[{}]", quoted.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authorization::defaults::{at, named, on};

    fn check(held: &[PolicyRule], wanted: &[PolicyRule], missing: &[&str]) {
        let mut told: Vec<String> =
            compact(uncovered(held.iter(), wanted)).iter().map(|rule| Told(rule).to_string()).collect();
        told.sort();
        assert_eq!(told, missing);
    }

    #[test]
    fn rights_cover_rights() {
        let reads = on("get list watch", "core", "pods configmaps");
        check(std::slice::from_ref(&reads), &[on("get", "core", "pods")], &[]);
        check(&[on("*", "*", "*")], std::slice::from_ref(&reads), &[]);
        check(&[on("get", "*", "*/scale")], &[on("get", "apps", "deployments/scale")], &[]);
        check(&[at("get", "/api*")], &[at("get", "/apis/apps")], &[]);
        check(&[named("get", "core", "pods", "web db")], &[named("get", "core", "pods", "db")], &[]);
        // Neither of two covers what needs both; each piece is covered by one.
        check(&[on("get", "core", "pods"), on("list", "core", "pods")], &[on("get list", "core", "pods")], &[]);
    }

    #[test]
    fn what_is_not_covered_is_told_in_few_lines() {
        let held = [on("get", "core", "pods"), named("get", "core", "secrets", "mine")];
        check(
            &held,
            &[on("get list watch", "core", "pods secrets"), at("get", "/metrics")],
            &[
                r#"{APIGroups:[""], Resources:["pods"], Verbs:["list" "watch"]}"#,
                r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get" "list" "watch"]}"#,
                r#"{NonResourceURLs:["/metrics"], Verbs:["get"]}"#,
            ],
        );
        check(
            &held,
            &[named("get", "core", "secrets", "mine other")],
            &[r#"{APIGroups:[""], Resources:["secrets"], ResourceNames:["other"], Verbs:["get"]}"#],
        );
        check(&[], &[on("*", "*", "*")], &[r#"{APIGroups:["*"], Resources:["*"], Verbs:["*"]}"#]);
    }
}
