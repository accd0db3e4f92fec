//! Where components keep values by keys.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Written;
use serde_json::Value;

use super::{AGE, NAME, text};
use crate::keyvalue::{Bucket, BucketSpec, CAPACITY_DEFAULT, CAPACITY_MAX};
use crate::quantity::Quantity;
use crate::rules::{Causes, NameRule};
use crate::{Column, Names, Resource, Scope, cells};

/// The kind.
#[derive(Debug)]
pub struct Buckets;

impl Resource for Buckets {
    type Object = Bucket;

    const NAMES: &'static Names = &Names {
        group: "coracle.dev",
        version: "v1",
        kind: "Bucket",
        plural: "buckets",
        singular: "bucket",
        short: &[],
        categories: &[],
        scope: Scope::Namespaced,
    };
    const NAME_RULE: NameRule = NameRule::Label;
    const COUNTS_GENERATIONS: bool = true;
    const COLUMNS: &'static [Column] = &[NAME, text("Capacity", "How much its entries may take together."), AGE];

    fn default(bucket: &mut Bucket) {
        let spec = bucket.spec.get_or_insert_with(BucketSpec::default);
        spec.capacity.get_or_insert_with(|| Written(CAPACITY_DEFAULT.to_string()));
    }

    fn validate(bucket: &Bucket, causes: &mut Causes) {
        let Some(capacity) = bucket.spec.as_ref().and_then(|spec| spec.capacity.as_ref()) else { return };
        match capacity.0.parse::<Quantity>() {
            Err(why) => causes.invalid("spec.capacity", &capacity.0, &why.to_string()),
            Ok(amount) if amount.is_zero() || amount.is_negative() => {
                causes.invalid("spec.capacity", &capacity.0, "must be greater than zero");
            }
            Ok(amount) if amount > CAPACITY_MAX => {
                causes.invalid("spec.capacity", &capacity.0, &format!("must be no more than {CAPACITY_MAX}"));
            }
            Ok(_) => {}
        }
    }

    fn cells(bucket: &Bucket, now: Timestamp) -> Vec<Value> {
        vec![cells::name(&bucket.metadata), bucket.capacity().to_string().into(), cells::age(&bucket.metadata, now)]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::catalog::testing::*;
    use crate::kinds::BUCKET;

    #[test]
    fn a_bucket_holds_what_it_says_or_the_usual() {
        let bucket = completed(BUCKET, json!({"metadata": {"name": "visits"}}));
        assert_eq!(bucket["spec"], json!({"capacity": "64Mi"}));
        assert_eq!(row(BUCKET, &bucket), json!(["visits", "64Mi", "5m3s"]));
        let check = |capacity: &str, expect: &str| {
            let bucket = json!({"metadata": {"name": "visits"}, "spec": {"capacity": "1Mi"}});
            assert_eq!(refusal(BUCKET, bucket, "/spec/capacity", json!(capacity)), expect);
        };
        check("0", "spec.capacity: Invalid value: \"0\": must be greater than zero");
        check("2Gi", "spec.capacity: Invalid value: \"2Gi\": must be no more than 1Gi");
    }
}
