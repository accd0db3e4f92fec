//! What a schema demands in words of CEL: `x-kubernetes-validations`.
//!
//! A rule stands at one place of a schema and speaks of the value there as `self`. A rule that also speaks of `oldSelf` is about
//! changes: it is asked only where it can be told what the value was. All rules about one object share one budget.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::lists::Before;
use super::schema::{Of, Schema};
use super::validate::{below, field};
use crate::Cause;
use crate::cel::{Budget, Environment, Fault, Program, Scope, Type, Value as Celled};
use crate::rules::Causes;

/// A rule, ready to be asked.
#[derive(Clone, Debug)]
pub struct Rule {
    written: Written,
    of: Type,
    program: Program,
    message: Option<Program>,
    /// Whether it speaks of what the value was.
    is_transition: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Written {
    rule: String,
    message: String,
    message_expression: String,
    reason: String,
    field_path: String,
    optional_old_self: bool,
}

/// Whether what a value was can be told where a schema stands: items of lists without keys are not told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Past {
    Known,
    Unknown,
}

const REASONS: [&str; 4] = ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
const MESSAGE_CHARS_MAX: usize = 2048;

/// The rules of a schema, as far as they can be understood.
pub(super) fn compile(written: &[Value], schema: &Schema, is_root: bool) -> Vec<Rule> {
    if written.is_empty() {
        return Vec::new();
    }
    let of = type_of(schema, is_root);
    written.iter().filter_map(|rule| Rule::new(Written::deserialize(rule).ok()?, &of).ok()).collect()
}

/// Adds everything wrong with the rules that a definition writes at `path`, where a value is of `schema`.
pub(crate) fn judge(written: &[Value], schema: &Schema, is_root: bool, past: Past, path: &str, causes: &mut Causes) {
    let of = type_of(schema, is_root);
    for (index, value) in written.iter().enumerate() {
        let path = format!("{path}.x-kubernetes-validations[{index}]");
        let Ok(rule) = Written::deserialize(value) else { continue };
        if rule.rule.trim().is_empty() {
            causes.required(format!("{path}.rule"), "rule is not specified");
            continue;
        }
        let has_breaks = |text: &str| text.contains(['\n', '\r']);
        if rule.message.is_empty() && rule.message_expression.is_empty() && has_breaks(rule.rule.trim()) {
            causes.required(format!("{path}.message"), "message must be specified if rule contains line breaks");
        } else if has_breaks(&rule.message) {
            causes.invalid(format!("{path}.message"), &rule.message, "message must not contain line breaks");
        } else if rule.message.chars().count() > MESSAGE_CHARS_MAX {
            causes.invalid(
                format!("{path}.message"),
                "",
                &format!("message must have a maximum length of {MESSAGE_CHARS_MAX} characters"),
            );
        }
        if !rule.reason.is_empty() && !REASONS.contains(&rule.reason.as_str()) {
            causes.unsupported(format!("{path}.reason"), &rule.reason, &REASONS);
        }
        if !rule.field_path.is_empty() && !is_path(schema, &rule.field_path) {
            let detail = format!("fieldPath {} must be a valid path", rule.field_path);
            causes.invalid(format!("{path}.fieldPath"), &rule.field_path, &detail);
        }
        match Rule::new(rule, &of) {
            Ok(rule) if rule.is_transition && past == Past::Unknown => {
                let detail = "oldSelf cannot be used on the uncorrelatable portion of the schema";
                causes.invalid(format!("{path}.rule"), &rule.written.rule, detail);
            }
            Ok(rule) if rule.written.optional_old_self && !rule.is_transition => {
                let detail = "must be unset if oldSelf is not used in rule";
                causes.invalid(format!("{path}.optionalOldSelf"), true, detail);
            }
            Ok(_) => {}
            Err((place, why)) => causes.invalid(format!("{path}.{place}"), value, &why),
        }
    }
}

/// Whether the schema has a member at the end of `.a.b` or `['a']`.
fn is_path(schema: &Schema, path: &str) -> bool {
    let steps = path.replace("['", ".").replace("']", "");
    let Some(steps) = steps.strip_prefix('.') else { return false };
    steps.split('.').try_fold(schema, |schema, step| schema.member(step)).is_some()
}

/// Asks all rules about a value, which was `old` before if that is known.
pub(super) fn validate(schema: &Schema, value: &Value, old: Option<&Value>, causes: &mut Causes) {
    let mut asker = Asker { budget: Budget::default(), causes, is_over: false };
    asker.ask(schema, "", value, old);
}

struct Asker<'a> {
    budget: Budget,
    causes: &'a mut Causes,
    is_over: bool,
}

// === impl Asker ===

impl Asker<'_> {
    fn ask(&mut self, schema: &Schema, path: &str, value: &Value, old: Option<&Value>) {
        if value.is_null() {
            return;
        }
        for rule in &schema.rules {
            if self.is_over {
                return;
            }
            // As Kubernetes has it: what did not change was judged when it was written.
            if old == Some(value) && !rule.is_transition {
                continue;
            }
            if let Some(cause) = rule.ask(schema, path, value, old, self) {
                self.causes.extend([cause]);
            }
        }
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    let Some(member) = schema.member(name) else { continue };
                    self.ask(member, &below(path, name), value, old.and_then(|old| old.get(name)));
                }
            }
            Value::Array(items) => {
                let Some(of) = &schema.items else { return };
                let was = Before::of(&schema.merging, old);
                for (index, item) in items.iter().enumerate() {
                    self.ask(of, &format!("{path}[{index}]"), item, was.item(&schema.merging, item));
                }
            }
            _ => {}
        }
    }
}

// === impl Rule ===

impl Rule {
    fn new(written: Written, of: &Type) -> Result<Self, (&'static str, String)> {
        let alone = Environment::default().with("self", of.clone());
        let was = if written.optional_old_self { Type::Optional(of.clone().into()) } else { of.clone() };
        let both = alone.clone().with("oldSelf", was);
        let (program, is_transition) = match Program::compile(&written.rule, &alone, &[Type::Bool]) {
            Ok(program) => (program, false),
            Err(_) => match Program::compile(&written.rule, &both, &[Type::Bool]) {
                Ok(program) => (program, true),
                Err(why) => return Err(("rule", why.to_string())),
            },
        };
        let message = match written.message_expression.trim() {
            "" => None,
            text => {
                let compiled = Program::compile(text, &both, &[Type::String]);
                Some(
                    compiled
                        .map_err(|why| ("messageExpression", format!("messageExpression compilation failed: {why}")))?,
                )
            }
        };
        Ok(Self { written, of: of.clone(), program, message, is_transition })
    }

    fn ask(
        &self,
        schema: &Schema,
        path: &str,
        value: &Value,
        old: Option<&Value>,
        asker: &mut Asker<'_>,
    ) -> Option<Cause> {
        let scope = Scope::default().bind_json("self", value, &self.of);
        let was = old.map(|old| Celled::of(old, &self.of));
        let scope = match (was, self.is_transition, self.written.optional_old_self) {
            (was, true, true) => scope.bind("oldSelf", Celled::Optional(was.map(Arc::new))),
            (Some(was), true, false) => scope.bind("oldSelf", was),
            // Nothing changed: it is new.
            (None, true, false) => return None,
            (_, false, _) => scope,
        };
        let of = schema.wanted().unwrap_or("object");
        match self.program.evaluate(&scope, &mut asker.budget) {
            Ok(Celled::Bool(true)) => None,
            Ok(_) => Some(self.broken(path, of, self.message(&scope, asker))),
            Err(fault) => {
                let told = self.told();
                let detail = match &fault {
                    Fault::NoSuchOverload(_) => format!(
                        "'{fault}': call arguments did not match a supported operator, function or macro signature for rule: {told}"
                    ),
                    Fault::ExpressionCost => {
                        format!(
                            "'{fault}': no further validation rules will be run due to call cost exceeds limit for rule: {told}"
                        )
                    }
                    Fault::ObjectCost => {
                        asker.is_over = true;
                        fault.to_string()
                    }
                    Fault::Error(_) => format!("{fault} evaluating rule: {told}"),
                };
                asker.is_over |= fault == Fault::ExpressionCost;
                Some(Cause::invalid(field(path), of, &detail))
            }
        }
    }

    /// What is told of an object that the rule does not hold for.
    fn message(&self, scope: &Scope<'_>, asker: &mut Asker<'_>) -> String {
        let computed = self.message.as_ref().and_then(|message| match message.evaluate(scope, &mut asker.budget) {
            Ok(value) => value.as_str().map(|text| text.trim().to_owned()),
            Err(_) => None,
        });
        // As Kubernetes has it: a message that says nothing, or more than a line, is as good as none.
        let computed = computed.filter(|text| !text.is_empty() && !text.contains('\n'));
        computed.unwrap_or_else(|| match self.written.message.trim() {
            "" => format!("failed rule: {}", self.told()),
            message => message.into(),
        })
    }

    fn told(&self) -> &str {
        match self.written.message.trim() {
            "" => self.written.rule.trim(),
            message => message,
        }
    }

    fn broken(&self, path: &str, of: &str, message: String) -> Cause {
        let path = field(&match self.written.field_path.strip_prefix('.') {
            Some(more) => below(path, more),
            None => format!("{path}{}", self.written.field_path),
        });
        match self.written.reason.as_str() {
            "FieldValueForbidden" => Cause::forbidden(path, &message),
            "FieldValueRequired" => Cause::required(path, &message),
            "FieldValueDuplicate" => Cause::duplicate(path, of),
            _ => Cause::invalid(path, of, &message),
        }
    }
}

/// What is known of a value of a schema before it is there.
fn type_of(schema: &Schema, is_root: bool) -> Type {
    if schema.is_int_or_string || schema.is_nullable {
        return Type::Dyn;
    }
    let Some(of) = schema.of else { return Type::Dyn };
    match of {
        Of::Object if schema.is_map() => {
            Type::map(schema.additional.as_ref().map_or(Type::Dyn, |of| type_of(of, false)))
        }
        Of::Object => {
            let declared = schema.properties.iter().map(|(name, member)| (name.clone(), type_of(member, false)));
            let names = ["name", "generateName"].map(|name| (name.to_owned(), Type::String));
            let whole = [
                ("apiVersion".to_owned(), Type::String),
                ("kind".to_owned(), Type::String),
                ("metadata".to_owned(), Type::object("metadata", names)),
            ];
            let of_objects = whole.into_iter().filter(|_| is_root || schema.is_embedded);
            Type::object("object", declared.filter(|(name, _)| !(is_root && name == "metadata")).chain(of_objects))
        }
        Of::Array => Type::list(schema.items.as_ref().map_or(Type::Dyn, |of| type_of(of, false))),
        Of::String => match schema.limits().format.as_deref() {
            Some("byte") => Type::Bytes,
            Some("date" | "date-time") => Type::Timestamp,
            Some("duration") => Type::Duration,
            _ => Type::String,
        },
        Of::Integer => Type::Int,
        Of::Number => Type::Double,
        Of::Boolean => Type::Bool,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(spec: Value, value: Value, old: Option<Value>, expect: &[&str]) {
        let schema = super::super::compile(&json!({"type": "object", "properties": {"spec": spec}}));
        let mut causes = Causes::default();
        let old = old.map(|old| json!({"spec": old}));
        validate(&schema, &json!({"spec": value}), old.as_ref(), &mut causes);
        let told: Vec<String> =
            causes.into_inner().into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
        assert_eq!(told, expect);
    }

    fn replicas(rule: Value) -> Value {
        let number = json!({"type": "integer"});
        json!({"type": "object", "properties": {"replicas": number, "max": number}, "x-kubernetes-validations": [rule]})
    }

    #[test]
    fn a_rule_that_does_not_hold_is_told() {
        let rule = "self.replicas <= self.max";
        let value = json!({"replicas": 3, "max": 2});
        check(replicas(json!({"rule": rule})), json!({"replicas": 1, "max": 2}), None, &[]);
        check(
            replicas(json!({"rule": rule})),
            value.clone(),
            None,
            &["spec: Invalid value: \"object\": failed rule: self.replicas <= self.max"],
        );
        check(
            replicas(
                json!({"rule": rule, "message": "too many", "reason": "FieldValueForbidden", "fieldPath": ".replicas"}),
            ),
            value.clone(),
            None,
            &["spec.replicas: Forbidden: too many"],
        );
        check(
            replicas(json!({"rule": rule, "messageExpression": "'no more than ' + string(self.max)"})),
            value,
            None,
            &["spec: Invalid value: \"object\": no more than 2"],
        );
        check(
            replicas(json!({"rule": rule})),
            json!({"replicas": 3}),
            None,
            &["spec: Invalid value: \"object\": no such key: max evaluating rule: self.replicas <= self.max"],
        );
    }

    #[test]
    fn a_rule_about_a_change_is_asked_when_something_changed() {
        let schema = json!({"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "is immutable"}]});
        check(schema.clone(), json!("b"), None, &[]);
        check(schema, json!("b"), Some(json!("a")), &["spec: Invalid value: \"string\": is immutable"]);
        let optional = json!({"type": "string", "x-kubernetes-validations": [
            {"rule": "oldSelf.hasValue() || self == 'first'", "optionalOldSelf": true}]});
        check(optional.clone(), json!("first"), None, &[]);
        check(
            optional,
            json!("b"),
            None,
            &["spec: Invalid value: \"string\": failed rule: oldSelf.hasValue() || self == 'first'"],
        );
    }

    #[test]
    fn what_cannot_be_understood_is_refused_when_it_is_written() {
        let judged = |rule: Value, past: Past| -> Vec<String> {
            let written = json!({"type": "array", "items": {"type": "string"}});
            let schema = super::super::compile_part(&written);
            let mut causes = Causes::default();
            judge(&[rule], &schema, false, past, "s", &mut causes);
            causes.into_inner().into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
        };
        assert_eq!(judged(json!({"rule": "self.size() > 0"}), Past::Known), Vec::<String>::new());
        assert_eq!(
            judged(json!({"rule": " "}), Past::Known),
            ["s.x-kubernetes-validations[0].rule: Required value: rule is not specified"]
        );
        let refused = judged(json!({"rule": "self.missing == 1"}), Past::Known);
        assert!(refused[0].starts_with("s.x-kubernetes-validations[0].rule: Invalid value: {\"rule\":\"self.missing == 1\"}: compilation failed: ERROR"), "{refused:?}");
        let refused = judged(json!({"rule": "self == oldSelf"}), Past::Unknown);
        assert!(
            refused[0].contains("oldSelf cannot be used on the uncorrelatable portion of the schema"),
            "{refused:?}"
        );
    }
}
