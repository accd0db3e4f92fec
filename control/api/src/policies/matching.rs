//! Which requests rules speak of.

use std::collections::BTreeMap;

use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MatchResources, NamedRuleWithOperations, RuleWithOperations,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use serde_json::Value as Json;

use super::GROUP;
use super::compile::{compile_conditions, environment};
use super::request::Asked;
use crate::cel::{Authorizer, Budget, Fault, Program, Question, Scope};
use crate::selector::LabelSelector;
use crate::{Names, catalog};

/// As Kubernetes has it: what all conditions of one rule may cost together.
const CONDITIONS_COST_MAX: u64 = 2_500_000;

/// Compiled rules.
#[derive(Clone, Debug)]
pub struct Matcher {
    rules: Vec<Rule>,
    /// Whether no rule at all means every request: so it is with bindings.
    is_open: bool,
    excluded: Vec<Rule>,
    is_equivalent: bool,
    namespaces: LabelSelector,
    objects: LabelSelector,
    conditions: Vec<Program>,
}

#[derive(Clone, Debug, Default)]
struct Rule {
    groups: Vec<String>,
    versions: Vec<String>,
    operations: Vec<String>,
    resources: Vec<String>,
    names: Vec<String>,
    scope: Option<String>,
}

/// What conditions say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They hold.
    Holds,
    /// One of them does not.
    Fails,
    /// They cannot be computed; why not.
    Faulty(String),
}

// === impl Matcher ===

impl Matcher {
    /// The rules of a policy, with its conditions.
    pub fn of_policy(resources: &MatchResources, conditions: Vec<Program>) -> Result<Self, String> {
        let named = |rules: &Option<Vec<NamedRuleWithOperations>>| {
            rules.iter().flatten().map(Rule::of_named).collect::<Vec<_>>()
        };
        Self::new(
            named(&resources.resource_rules),
            named(&resources.exclude_resource_rules),
            resources.match_policy.as_deref(),
            (resources.namespace_selector.as_ref(), resources.object_selector.as_ref()),
            conditions,
        )
    }

    /// The rules of a binding; without any it is about whatever its policy is about.
    pub fn of_binding(resources: Option<&MatchResources>) -> Result<Self, String> {
        let none = MatchResources::default();
        let mut matcher = Self::of_policy(resources.unwrap_or(&none), Vec::new())?;
        matcher.is_open = matcher.rules.is_empty();
        Ok(matcher)
    }

    /// The rules of a webhook.
    pub fn of_webhook(
        rules: Option<&[RuleWithOperations]>,
        match_policy: Option<&str>,
        selectors: (Option<&meta::LabelSelector>, Option<&meta::LabelSelector>),
        conditions: Option<&[MatchCondition]>,
    ) -> Result<Self, String> {
        let rules = rules.unwrap_or_default().iter().map(Rule::of).collect();
        let environment = environment(false, true);
        let conditions = compile_conditions(conditions.unwrap_or_default(), &environment);
        let conditions =
            conditions.map_err(|wrong| wrong.into_iter().map(|one| one.why).collect::<Vec<_>>().join(", "))?;
        Self::new(rules, Vec::new(), match_policy, selectors, conditions)
    }

    fn new(
        rules: Vec<Rule>,
        excluded: Vec<Rule>,
        match_policy: Option<&str>,
        (namespaces, objects): (Option<&meta::LabelSelector>, Option<&meta::LabelSelector>),
        conditions: Vec<Program>,
    ) -> Result<Self, String> {
        // An absent selector is an empty one here: the default has been filled in for whatever was stored.
        let selector = |selector: Option<&meta::LabelSelector>| match selector {
            None => Ok(LabelSelector::everything()),
            some => LabelSelector::of(some).map_err(|error| error.to_string()),
        };
        Ok(Self {
            rules,
            is_open: false,
            excluded,
            is_equivalent: match_policy != Some("Exact"),
            namespaces: selector(namespaces)?,
            objects: selector(objects)?,
            conditions,
        })
    }

    /// Whether a request is one of those the rules are about; its conditions are not asked yet.
    pub fn is_about(&self, asked: &Asked<'_>) -> bool {
        if asked.names.group == GROUP {
            return false;
        }
        let names = |rule: &Rule| rule.matches(asked, self.is_equivalent);
        (self.is_open || self.rules.iter().any(names))
            && !self.excluded.iter().any(names)
            && self.selects_namespace(asked)
            && self.selects_object(asked)
    }

    fn selects_namespace(&self, asked: &Asked<'_>) -> bool {
        if self.namespaces.is_everything() {
            return true;
        }
        let labelled = match asked.is_namespace() {
            true if !asked.object.is_null() => asked.object,
            true => asked.old,
            false if asked.is_namespaced() => asked.namespace_object,
            // What is in no namespace is not chosen by one.
            false => return true,
        };
        self.namespaces.matches(&labels_of(labelled))
    }

    fn selects_object(&self, asked: &Asked<'_>) -> bool {
        self.objects.is_everything()
            || [asked.object, asked.old]
                .into_iter()
                .any(|object| !object.is_null() && self.objects.matches(&labels_of(object)))
    }

    /// Whether there are conditions at all.
    pub fn has_conditions(&self) -> bool {
        !self.conditions.is_empty()
    }

    /// Whether the conditions hold. One that fails is enough, even if others cannot be computed.
    pub fn conditions(&self, scope: &Scope<'_>) -> Verdict {
        let mut budget = Budget::of(CONDITIONS_COST_MAX);
        let mut faults = Vec::new();
        for condition in &self.conditions {
            match condition.evaluate(scope, &mut budget) {
                Ok(value) if value.as_bool() == Some(true) => {}
                Ok(value) if value.as_bool() == Some(false) => return Verdict::Fails,
                Ok(_) => faults.push(told(condition, &Fault::Error("not a bool".into()))),
                Err(fault) => faults.push(told(condition, &fault)),
            }
        }
        match faults.len() {
            0 => Verdict::Holds,
            1 => Verdict::Faulty(faults.remove(0)),
            _ => Verdict::Faulty(format!("[{}]", faults.join(", "))),
        }
    }

    /// Whether the conditions of a webhook hold.
    pub fn conditions_of(&self, asked: &Asked<'_>, authorizer: &dyn Authorizer) -> Verdict {
        if self.conditions.is_empty() {
            return Verdict::Holds;
        }
        let request = asked.request();
        let scope = super::policy::scope_of(asked, &request, None, authorizer);
        self.conditions(&scope)
    }
}

/// How a fault in an expression is told.
pub(super) fn told(program: &Program, fault: &Fault) -> String {
    match fault {
        Fault::ObjectCost => fault.to_string(),
        fault => format!("expression '{}' resulted in error: {fault}", program.source()),
    }
}

/// What the request would have to be allowed for `authorizer.requestResource`.
pub(super) fn question_of(asked: &Asked<'_>) -> Question {
    Question {
        group: asked.names.group.into(),
        resource: asked.names.plural.into(),
        subresource: asked.subresource.into(),
        namespace: asked.namespace.into(),
        name: asked.name.into(),
        ..Question::default()
    }
}

fn labels_of(object: &Json) -> BTreeMap<String, String> {
    let labels = object.pointer("/metadata/labels").and_then(Json::as_object);
    let label = |(key, value): (&String, &Json)| Some((key.clone(), value.as_str()?.to_owned()));
    labels.into_iter().flatten().filter_map(label).collect()
}

// === impl Rule ===

impl Rule {
    fn of(rule: &RuleWithOperations) -> Self {
        let all = |words: &Option<Vec<String>>| words.clone().unwrap_or_default();
        Self {
            groups: all(&rule.api_groups),
            versions: all(&rule.api_versions),
            operations: all(&rule.operations),
            resources: all(&rule.resources),
            names: Vec::new(),
            scope: rule.scope.clone(),
        }
    }

    fn of_named(rule: &NamedRuleWithOperations) -> Self {
        let all = |words: &Option<Vec<String>>| words.clone().unwrap_or_default();
        Self {
            groups: all(&rule.api_groups),
            versions: all(&rule.api_versions),
            operations: all(&rule.operations),
            resources: all(&rule.resources),
            names: all(&rule.resource_names),
            scope: rule.scope.clone(),
        }
    }

    fn matches(&self, asked: &Asked<'_>, is_equivalent: bool) -> bool {
        let names = asked.names;
        one_of(&self.operations, asked.action.name())
            && one_of(&self.groups, names.group)
            && (one_of(&self.versions, names.version) || is_equivalent && self.names_another_version(asked))
            && self.resources.iter().any(|resource| is_resource(resource, names.plural, asked.subresource))
            && (self.names.is_empty() || self.names.iter().any(|name| name == asked.name))
            && match self.scope.as_deref() {
                Some("Namespaced") => asked.is_namespaced(),
                Some("Cluster") => !asked.is_namespaced(),
                _ => true,
            }
    }

    /// Whether the rule names a version in which the same objects are served too.
    fn names_another_version(&self, asked: &Asked<'_>) -> bool {
        let Names { group, plural, .. } = asked.names;
        let is_taught = !catalog::all().iter().any(|kind| kind.names().group == *group);
        // Of what the cluster was taught all versions hold the same.
        is_taught || self.versions.iter().any(|version| catalog::by_resource(group, version, plural).is_some())
    }
}

fn one_of(words: &[String], wanted: &str) -> bool {
    words.iter().any(|word| word == "*" || word == wanted)
}

/// `pods`, `pods/status`, `pods/*`, `*/scale`, `*`, `*/*`.
fn is_resource(rule: &str, resource: &str, subresource: &str) -> bool {
    let (wanted, wanted_part) = rule.split_once('/').unwrap_or((rule, ""));
    (wanted == "*" || wanted == resource) && (wanted_part == "*" || wanted_part == subresource)
}
