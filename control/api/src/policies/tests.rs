use k8s_openapi::api::admissionregistration::v1::{MatchResources, ValidatingAdmissionPolicySpec};
use serde_json::{Value as Json, json};

use super::*;
use crate::cel::{Authorizer, Decision, Question};
use crate::{GroupKind, Reason, catalog, kinds};

const NULL: Json = Json::Null;

/// Allows nobody anything.
struct Nobody;

impl Authorizer for Nobody {
    fn decide(&self, _: &Question) -> Decision {
        Decision::default()
    }
}

/// A request, and what is needed to ask about it.
struct Request {
    action: Action,
    kind: GroupKind,
    subresource: &'static str,
    object: Json,
    old: Json,
    namespace: Json,
}

impl Request {
    fn create(kind: GroupKind, object: Json) -> Self {
        let namespace = json!({"metadata": {"name": "shop", "labels": {"team": "a"}}});
        Self { action: Action::Create, kind, subresource: "", object, old: Json::Null, namespace }
    }

    fn deployment(replicas: i64) -> Self {
        let object = json!({"metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}}, "spec": {"replicas": replicas}});
        Self::create(kinds::DEPLOYMENT, object)
    }

    fn ask<T>(&self, question: impl FnOnce(&Asked<'_>) -> T) -> T {
        let kind = catalog::by_kind(self.kind).expect("in the catalog");
        let user = json!({"username": "alice", "groups": ["devs"]});
        let is_namespaced = kind.names().scope == crate::Scope::Namespaced;
        question(&Asked {
            action: self.action,
            names: kind.names(),
            subresource: self.subresource,
            namespace: if is_namespaced { "shop" } else { "" },
            name: "web",
            object: &self.object,
            old: &self.old,
            namespace_object: if is_namespaced { &self.namespace } else { &NULL },
            user: &user,
            options: &NULL,
            is_dry_run: false,
        })
    }
}

mod matching {
    use super::*;

    fn check(resources: Json, request: &Request, expect: bool) {
        let typed: MatchResources = serde_json::from_value(resources.clone()).expect("rules");
        let matcher = Matcher::of_policy(&typed, Vec::new()).expect("selectors");
        assert_eq!(request.ask(|asked| matcher.is_about(asked)), expect, "{resources}");
    }

    fn rule(groups: &[&str], versions: &[&str], operations: &[&str], resources: &[&str]) -> Json {
        json!({"apiGroups": groups, "apiVersions": versions, "operations": operations, "resources": resources})
    }

    #[test]
    fn a_rule_names_groups_versions_operations_and_resources() {
        let deployment = Request::deployment(1);
        let check = |rule: Json, expect| check(json!({"resourceRules": [rule]}), &deployment, expect);
        check(rule(&["apps"], &["v1"], &["CREATE"], &["deployments"]), true);
        check(rule(&["*"], &["*"], &["*"], &["*"]), true);
        check(rule(&["apps"], &["v1"], &["CREATE"], &["*/*"]), true);
        check(rule(&[""], &["v1"], &["CREATE"], &["deployments"]), false);
        check(rule(&["apps"], &["v1"], &["UPDATE"], &["deployments"]), false);
        check(rule(&["apps"], &["v1"], &["CREATE"], &["deployments/status", "replicasets"]), false);
        check(rule(&["apps"], &["v1beta1"], &["CREATE"], &["deployments"]), false);
        let mut named = rule(&["apps"], &["v1"], &["CREATE"], &["deployments"]);
        named["resourceNames"] = json!(["db"]);
        check(named.clone(), false);
        named["resourceNames"] = json!(["db", "web"]);
        check(named.clone(), true);
        named["scope"] = "Cluster".into();
        check(named, false);
        // No rule is no request.
        super::matching::check(json!({}), &deployment, false);
    }

    #[test]
    fn subresources_are_named_apart() {
        let status = Request { subresource: "status", action: Action::Update, ..Request::deployment(1) };
        let check = |resource: &str, expect| {
            check(json!({"resourceRules": [rule(&["*"], &["*"], &["*"], &[resource])]}), &status, expect);
        };
        check("deployments", false);
        check("*", false);
        check("deployments/status", true);
        check("deployments/*", true);
        check("*/status", true);
        check("*/*", true);
        check("*/scale", false);
    }

    #[test]
    fn selectors_and_exclusions_narrow() {
        let all = rule(&["*"], &["*"], &["*"], &["*"]);
        let deployment = Request::deployment(1);
        let check_with = |name: &str, value: Json, request: &Request, expect| {
            check(json!({"resourceRules": [all.clone()], name: value}), request, expect);
        };
        let labels = |labels: Json| json!({"matchLabels": labels});
        check_with("namespaceSelector", labels(json!({"team": "a"})), &deployment, true);
        check_with("namespaceSelector", labels(json!({"team": "b"})), &deployment, false);
        check_with("objectSelector", labels(json!({"app": "web"})), &deployment, true);
        check_with("objectSelector", labels(json!({"app": "db"})), &deployment, false);
        check_with("excludeResourceRules", json!([rule(&["apps"], &["*"], &["*"], &["*"])]), &deployment, false);
        // What is in no namespace is not chosen by one; a namespace is chosen by its own labels.
        let node = Request::create(kinds::NODE, json!({"metadata": {"name": "n"}}));
        check_with("namespaceSelector", labels(json!({"team": "b"})), &node, true);
        let namespace = Request::create(kinds::NAMESPACE, json!({"metadata": {"name": "x", "labels": {"team": "b"}}}));
        check_with("namespaceSelector", labels(json!({"team": "b"})), &namespace, true);
        check_with("namespaceSelector", labels(json!({"team": "a"})), &namespace, false);
        // What it was counts too.
        let old = json!({"metadata": {"labels": {"app": "db"}}});
        let changed = Request { old, action: Action::Update, ..Request::deployment(1) };
        check_with("objectSelector", labels(json!({"app": "db"})), &changed, true);
    }

    #[test]
    fn what_configures_admission_is_never_asked_about() {
        let policy = Request::create(kinds::VALIDATING_POLICY, json!({"metadata": {"name": "p"}}));
        check(json!({"resourceRules": [rule(&["*"], &["*"], &["*"], &["*/*"])]}), &policy, false);
    }
}

mod judging {
    use super::*;

    fn policy(spec: Json) -> Policy {
        let mut spec = spec;
        spec["matchConstraints"] = json!({"resourceRules": []});
        let spec: ValidatingAdmissionPolicySpec = serde_json::from_value(spec).expect("a policy");
        Policy::compile(&spec).expect("compiles")
    }

    fn judged(spec: Json, request: &Request, params: Option<&Json>) -> Judged {
        let policy = policy(spec);
        request.ask(|asked| policy.judge(asked, params, &Nobody))
    }

    fn check(spec: Json, request: &Request, params: Option<&Json>, expect: &[&str]) {
        let told: Vec<String> = judged(spec, request, params).denials.into_iter().map(|one| one.message).collect();
        assert_eq!(told, expect);
    }

    #[test]
    fn the_policy_of_the_documentation_limits_replicas() {
        let spec = json!({"validations": [{"expression": "object.spec.replicas <= 5"}]});
        check(spec.clone(), &Request::deployment(5), None, &[]);
        check(spec, &Request::deployment(6), None, &["failed expression: object.spec.replicas <= 5"]);
        let spec = json!({
            "paramKind": {"apiVersion": "rules.example.com/v1", "kind": "ReplicaLimit"},
            "validations": [{"expression": "object.spec.replicas <= params.maxReplicas", "reason": "Forbidden",
                "messageExpression": "'replicas must be no greater than ' + string(params.maxReplicas)"}],
        });
        let params = json!({"maxReplicas": 3});
        check(spec.clone(), &Request::deployment(3), Some(&params), &[]);
        check(spec.clone(), &Request::deployment(4), Some(&params), &["replicas must be no greater than 3"]);
        assert_eq!(judged(spec, &Request::deployment(4), Some(&params)).denials[0].reason, Reason::Forbidden);
    }

    #[test]
    fn a_message_is_computed_or_said_or_the_expression_itself() {
        let with = |more: Json| {
            let mut validation = json!({"expression": "false"});
            validation.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            json!({"validations": [validation]})
        };
        let request = Request::deployment(1);
        check(with(json!({})), &request, None, &["failed expression: false"]);
        check(with(json!({"message": " no "})), &request, None, &["no"]);
        check(
            with(json!({"message": "no", "messageExpression": "'at all, ' + request.userInfo.username"})),
            &request,
            None,
            &["at all, alice"],
        );
        check(with(json!({"message": "no", "messageExpression": "string(object.absent)"})), &request, None, &["no"]);
        check(with(json!({"message": "no", "messageExpression": "' '"})), &request, None, &["no"]);
        check(with(json!({"message": "no", "messageExpression": "'a\\nb'"})), &request, None, &["no"]);
    }

    #[test]
    fn what_cannot_be_computed_refuses_unless_it_is_to_be_ignored() {
        let spec = json!({"validations": [{"expression": "object.absent > 1"}]});
        let request = Request::deployment(1);
        check(spec.clone(), &request, None, &["expression 'object.absent > 1' resulted in error: no such key: absent"]);
        let mut ignoring = spec;
        ignoring["failurePolicy"] = "Ignore".into();
        check(ignoring, &request, None, &[]);
    }

    #[test]
    fn conditions_choose_and_variables_compose() {
        let spec = json!({
            "matchConditions": [{"name": "not-alice", "expression": "request.userInfo.username != 'alice'"}],
            "validations": [{"expression": "false"}],
        });
        check(spec, &Request::deployment(1), None, &[]);
        let spec = json!({
            "variables": [
                {"name": "limit", "expression": "namespaceObject.metadata.labels.team == 'a' ? 2 : 1"},
                {"name": "isOver", "expression": "object.spec.replicas > variables.limit"},
            ],
            "validations": [{"expression": "!variables.isOver && request.namespace == 'shop' && request.operation == 'CREATE'"}],
        });
        check(spec.clone(), &Request::deployment(2), None, &[]);
        assert_eq!(judged(spec, &Request::deployment(3), None).denials.len(), 1);
    }

    #[test]
    fn the_audit_log_gets_what_is_for_it() {
        let spec = json!({"auditAnnotations": [
            {"key": "over", "valueExpression": "object.spec.replicas > 50 ? 'many: ' + string(object.spec.replicas) : ''"},
            {"key": "who", "valueExpression": "request.userInfo.username"},
        ]});
        let annotations = |replicas| judged(spec.clone(), &Request::deployment(replicas), None).annotations;
        assert_eq!(annotations(1), [("who".into(), "alice".into())]);
        assert_eq!(annotations(51).len(), 2);
    }
}
