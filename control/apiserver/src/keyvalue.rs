//! An entry comes into a bucket that is there and has room, and goes with it.
//!
//! How much a bucket holds is judged by the world as it is when the entry comes: of writes that come in the same moment each may
//! still find room for itself.

use api::keyvalue::{Bucket, bucket_of};
use api::quantity::Quantity;
use api::{Cause, Key, Object, StatusError, catalog, kinds};
use serde_json::json;
use state::Snapshot;

/// The entry as its bucket's own, or why it cannot be in it.
pub(crate) fn kept(entry: Object, old: Option<&Object>, world: &Snapshot) -> Result<Object, StatusError> {
    let key = kinds::BUCKET.key(entry.key().namespace(), bucket_of(entry.key().name()));
    let bucket = world.get(&key).filter(|bucket| !bucket.meta().is_terminating());
    let bucket = bucket.ok_or_else(|| not_found(&key))?;
    let owner = json!([{
        "apiVersion": api::keyvalue::VERSION, "kind": kinds::BUCKET.kind, "name": key.name(), "uid": &*bucket.meta().uid,
    }]);
    let mut value = entry.to_value().map_err(StatusError::internal)?;
    value["metadata"]["ownerReferences"] = owner;
    let entry = Object::from_tree(kinds::BUCKET_ENTRY, value).map_err(StatusError::internal)?;
    let capacity = bucket.decode::<Bucket>().map_err(StatusError::internal)?.capacity();
    let before = old.map_or(0, |old| old.body().len() as u64);
    let after = entry.body().len() as u64;
    let together = world.bytes_in(&key).saturating_sub(before).saturating_add(after);
    // What grows no larger may stay, however little the bucket is to hold since.
    if after > before && Quantity::bytes(together.try_into().unwrap_or(i64::MAX)) > capacity {
        return Err(full(&entry, &key, capacity));
    }
    Ok(entry)
}

fn not_found(bucket: &Key) -> StatusError {
    match catalog::by_kind(kinds::BUCKET) {
        Some(kind) => StatusError::not_found(kind.names(), bucket.name()),
        None => StatusError::internal("buckets are not in the catalog"),
    }
}

fn full(entry: &Object, bucket: &Key, capacity: Quantity) -> StatusError {
    match catalog::by_kind(kinds::BUCKET_ENTRY) {
        Some(kind) => {
            let why = format!("bucket {} holds no more than {capacity}", bucket.name());
            StatusError::invalid(kind.names(), entry.key().name(), vec![Cause::forbidden("value", &why)])
        }
        None => StatusError::internal("entries of buckets are not in the catalog"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Revision;
    use api::keyvalue::entry_name;

    fn bucket(capacity: &str) -> Object {
        let value = json!({
            "apiVersion": "coracle.dev/v1", "kind": "Bucket", "spec": {"capacity": capacity},
            "metadata": {"name": "visits", "namespace": "shop", "uid": "u1"},
        });
        Object::from_value(kinds::BUCKET, &value).expect("an object").at(Revision(1))
    }

    fn entry(key: &str, bytes: usize) -> Object {
        let value = json!({
            "apiVersion": "coracle.dev/v1", "kind": "BucketEntry", "bucket": "visits", "key": key, "value": "A".repeat(bytes),
            "metadata": {"name": entry_name("visits", key), "namespace": "shop"},
        });
        Object::from_value(kinds::BUCKET_ENTRY, &value).expect("an object")
    }

    fn check(there: &[Object], entry: Object, expect: Result<(), &str>) {
        let world = Snapshot::load(Revision(2), there.iter().cloned());
        let old = world.get(entry.key()).cloned();
        let told = kept(entry, old.as_ref(), &world).map(|entry| {
            assert_eq!(&*entry.meta().owner_references[0].uid, "u1");
        });
        assert_eq!(told.map_err(|error| error.message), expect.map_err(str::to_owned));
    }

    #[test]
    fn an_entry_is_its_buckets_while_that_has_room() {
        let full =
            "BucketEntry.coracle.dev \"NAME\" is invalid: value: Forbidden: bucket visits holds no more than 2Ki"
                .replace("NAME", &entry_name("visits", "b"));
        check(&[bucket("2Ki")], entry("a", 1000), Ok(()));
        check(&[bucket("2Ki"), entry("a", 1000)], entry("b", 1000), Err(&full));
        check(&[bucket("2Ki"), entry("a", 1000), entry("b", 1000)], entry("b", 900), Ok(()));
        check(&[], entry("a", 1), Err("buckets.coracle.dev \"visits\" not found"));
    }
}
