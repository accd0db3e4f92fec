//! How much each thing in a namespace may have, and has if it does not say.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{LimitRange, LimitRangeItem};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Written;
use serde_json::Value;

use super::{CREATED_AT, NAME};
use crate::quantity::Quantity;
use crate::rules::{self, Budget, Causes};
use crate::{Column, Names, Resource, Scope, cells};

/// The kind.
#[derive(Debug)]
pub struct LimitRanges;

type Amounts = Option<BTreeMap<String, Written>>;

impl Resource for LimitRanges {
    type Object = LimitRange;

    const NAMES: &'static Names = &Names {
        group: "",
        version: "v1",
        kind: "LimitRange",
        plural: "limitranges",
        singular: "limitrange",
        short: &["limits"],
        categories: &[],
        scope: Scope::Namespaced,
    };
    const COLUMNS: &'static [Column] = &[NAME, CREATED_AT];

    /// What a container may have at most is what it has, and what it has is what it asks for, unless it is said.
    fn default(range: &mut LimitRange) {
        let items = range.spec.iter_mut().flat_map(|spec| &mut spec.limits);
        for item in items.filter(|item| item.type_ == "Container") {
            let LimitRangeItem { default, default_request, max, min, .. } = item;
            fill(default, max);
            fill(default_request, default);
            fill(default_request, min);
        }
    }

    fn validate(range: &LimitRange, causes: &mut Causes) {
        let mut types = BTreeSet::new();
        for (index, item) in range.spec.iter().flat_map(|spec| &spec.limits).enumerate() {
            let path = format!("spec.limits[{index}]");
            for problem in rules::qualified_name(&item.type_) {
                causes.invalid(format!("{path}.type"), &item.type_, &problem);
            }
            if !types.insert(&item.type_) {
                causes.duplicate(format!("{path}.type"), &item.type_);
            }
            validate_item(&path, item, causes);
        }
    }

    fn cells(range: &LimitRange, _now: Timestamp) -> Vec<Value> {
        vec![cells::name(&range.metadata), cells::created_at(&range.metadata)]
    }
}

fn fill(into: &mut Amounts, from: &Amounts) {
    for (name, amount) in from.iter().flatten() {
        into.get_or_insert_default().entry(name.clone()).or_insert_with(|| amount.clone());
    }
}

fn validate_item(path: &str, item: &LimitRangeItem, causes: &mut Causes) {
    rules::resources(&format!("{path}.max"), item.max.as_ref(), Budget::Limit, causes);
    rules::resources(&format!("{path}.min"), item.min.as_ref(), Budget::Limit, causes);
    match item.type_.as_str() {
        "Pod" => {
            let detail = "may not be specified when `type` is 'Pod'";
            for (field, amounts) in [("default", &item.default), ("defaultRequest", &item.default_request)] {
                if amounts.as_ref().is_some_and(|amounts| !amounts.is_empty()) {
                    causes.forbidden(format!("{path}.{field}"), detail);
                }
            }
        }
        "PersistentVolumeClaim" => {
            let has = |amounts: &Amounts| amounts.as_ref().is_some_and(|amounts| amounts.contains_key("storage"));
            if !has(&item.min) && !has(&item.max) {
                let detail = "either minimum or maximum storage value is required, but neither was provided";
                causes.required(format!("{path}.limits"), detail);
            }
        }
        _ => {
            rules::resources(&format!("{path}.default"), item.default.as_ref(), Budget::Limit, causes);
            rules::resources(&format!("{path}.defaultRequest"), item.default_request.as_ref(), Budget::Limit, causes);
        }
    }
    let of = |amounts: &Amounts, name: &String| amounts.as_ref()?.get(name).cloned();
    let lists = [&item.min, &item.max, &item.default, &item.default_request, &item.max_limit_request_ratio];
    let names: BTreeSet<&String> = lists.into_iter().flatten().flat_map(BTreeMap::keys).collect();
    for name in names {
        let [min, max, default, request] =
            [&item.min, &item.max, &item.default, &item.default_request].map(|amounts| of(amounts, name));
        for (field, first, second, words) in [
            ("min", &min, &max, ["min", "max"]),
            ("defaultRequest", &request, &max, ["default request", "max"]),
            ("defaultRequest", &request, &default, ["default request", "default limit"]),
            ("default", &default, &max, ["default", "max"]),
        ] {
            if let (Some(less), Some(more)) = (first, second)
                && Quantity::of(less) > Quantity::of(more)
            {
                let detail = format!("{} value {} is greater than {} value {}", words[0], less.0, words[1], more.0);
                causes.invalid(format!("{path}.{field}[{name}]"), &less.0, &detail);
            }
        }
        for (field, value, word) in [("defaultRequest", &request, "default request"), ("default", &default, "default")]
        {
            if let (Some(least), Some(value)) = (&min, value)
                && Quantity::of(least) > Quantity::of(value)
            {
                let detail = format!("min value {} is greater than {word} value {}", least.0, value.0);
                causes.invalid(format!("{path}.{field}[{name}]"), &value.0, &detail);
            }
        }
        if let Some(ratio) =
            of(&item.max_limit_request_ratio, name).filter(|ratio| Quantity::of(ratio) < Quantity::units(1))
        {
            let detail = format!("ratio {} is less than 1", ratio.0);
            causes.invalid(format!("{path}.maxLimitRequestRatio[{name}]"), &ratio.0, &detail);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalog::testing::*;
    use crate::kinds::LIMIT_RANGE as RANGE;

    fn range(item: Value) -> Value {
        json!({"metadata": {"name": "sizes"}, "spec": {"limits": [item]}})
    }

    #[test]
    fn what_is_left_out_is_filled_in() {
        let item = completed(
            RANGE,
            range(json!({"type": "Container", "max": {"memory": "1Gi"}, "min": {"cpu": "100m"}})),
        )["spec"]["limits"][0]
            .clone();
        assert_eq!(
            (&item["default"], &item["defaultRequest"]),
            (&json!({"memory": "1Gi"}), &json!({"memory": "1Gi", "cpu": "100m"}))
        );
        assert_eq!(
            row(RANGE, &completed(RANGE, range(json!({"type": "Pod"})))),
            json!(["sizes", "2026-11-21T05:13:14Z"])
        );
    }

    #[test]
    fn what_breaks_a_rule_is_told() {
        let check = |item: Value, expect: &str| {
            assert_eq!(refusal(RANGE, range(json!({})), "/spec/limits/0", item), expect);
        };
        check(
            json!({"type": "Pod", "min": {"cpu": "2"}, "max": {"cpu": "1"}}),
            "spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1",
        );
        check(
            json!({"type": "Pod", "default": {"cpu": "2"}}),
            "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'",
        );
        check(
            json!({"type": "PersistentVolumeClaim"}),
            "spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither was provided",
        );
        check(
            json!({"type": "Container", "default": {"cpu": "2"}, "defaultRequest": {"cpu": "3"}}),
            "spec.limits[0].defaultRequest[cpu]: Invalid value: \"3\": default request value 3 is greater than default limit value 2",
        );
        check(
            json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "500m"}}),
            "spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: \"500m\": ratio 500m is less than 1",
        );
        let twice = json!({"metadata": {"name": "sizes"}, "spec": {"limits": [{"type": "Pod"}, {"type": "Pod"}]}});
        assert_eq!(
            refusal(RANGE, twice, "/spec/limits/0", json!({"type": "Pod"})),
            "spec.limits[1].type: Duplicate value: \"Pod\""
        );
    }
}
