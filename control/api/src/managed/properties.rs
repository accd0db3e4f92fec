//! What never happens, whoever applies what in whatever order.

use jiff::Timestamp;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::catalog;

fn shape() -> Shape<'static> {
    Shape::of(catalog::by_resource("apps", "v1", "deployments").expect("in the catalog").names())
}

/// What somebody may want of a Deployment: scalars, maps, keyed lists, sets, and what is owned as a whole.
fn configs() -> impl Strategy<Value = Value> {
    let texts = || btree_map("[abc]", "[12]", 0..3);
    let env = option::of(btree_map("[AB]", "[12]", 0..3));
    let container = (option::of("[ij]"), env, option::of(vec(prop_oneof![Just(80), Just(81)], 0..2)));
    let containers = option::of(btree_map("[xyz]", container, 0..3));
    let finalizers = option::of(vec("[pq]/f", 0..2));
    (option::of(0_i32..3), option::of(texts()), containers, option::of(texts()), finalizers).prop_map(
        |(replicas, labels, containers, selector, finalizers)| {
            let mut config = json!({"metadata": {"name": "web"}});
            if let Some(replicas) = replicas {
                config["spec"]["replicas"] = replicas.into();
            }
            if let Some(labels) = labels {
                config["metadata"]["labels"] = json!(labels);
            }
            if let Some(mut finalizers) = finalizers {
                finalizers.sort();
                finalizers.dedup();
                config["metadata"]["finalizers"] = json!(finalizers);
            }
            if let Some(selector) = selector {
                config["spec"]["selector"]["matchLabels"] = json!(selector);
            }
            if let Some(containers) = containers {
                let items: Vec<Value> = containers.into_iter().map(container_of).collect();
                config["spec"]["template"]["spec"]["containers"] = json!(items);
            }
            config
        },
    )
}

type Wanted = (Option<String>, Option<std::collections::BTreeMap<String, String>>, Option<Vec<i32>>);

fn container_of((name, (image, env, ports)): (String, Wanted)) -> Value {
    let mut item = json!({"name": name});
    if let Some(image) = image {
        item["image"] = image.into();
    }
    if let Some(env) = env {
        item["env"] = env.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    }
    if let Some(mut ports) = ports {
        ports.dedup();
        item["ports"] = ports.into_iter().map(|port| json!({"containerPort": port})).collect();
    }
    item
}

/// A history: who applied or wrote what, with force or without.
fn histories() -> impl Strategy<Value = Vec<(String, bool, bool, Value)>> {
    vec(("[mn]", any::<bool>(), any::<bool>(), configs()), 1..6)
}

fn who(manager: &str) -> Who<'_> {
    Who { manager, api_version: "apps/v1", subresource: "" }
}

fn play(history: &[(String, bool, bool, Value)]) -> Applied {
    let mut live = Applied { object: json!({"metadata": {"name": "web"}}), managed: Managed::default() };
    for (manager, applies, force, config) in history {
        if *applies {
            if let Ok(applied) = applied(&live, manager, config, *force, 1) {
                live = applied;
            }
        } else {
            let managed = update(shape(), &live.object, config, live.managed, who(manager), Timestamp::UNIX_EPOCH);
            live = Applied { object: config.clone(), managed };
        }
    }
    live
}

fn applied(live: &Applied, manager: &str, config: &Value, force: bool, second: i64) -> Result<Applied, Refused> {
    let now = Timestamp::from_second(second).expect("in range");
    apply(shape(), Some(&live.object), live.managed.clone(), config.clone(), who(manager), force, now)
}

/// Every scalar of a value, by its path; items by what the schema names them by.
fn leaves(value: &Value, path: &str, found: &mut Map<String, Value>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                leaves(value, &format!("{path}.{name}"), found);
            }
        }
        Value::Array(items) => {
            for item in items {
                let key = item.get("name").or_else(|| item.get("containerPort")).unwrap_or(item);
                leaves(item, &format!("{path}[{key}]"), found);
            }
        }
        scalar => drop(found.insert(path.into(), scalar.clone())),
    }
}

fn all(value: &Value) -> Map<String, Value> {
    let mut found = Map::new();
    leaves(value, "", &mut found);
    found
}

proptest! {
    #[test]
    fn applying_again_changes_nothing(history in histories(), config in configs()) {
        let once = applied(&play(&history), "m", &config, true, 2).expect("by force");
        // Where nobody manages anything any more, the next apply is the first again, as Kubernetes has it.
        prop_assume!(!once.managed.is_empty());
        let twice = applied(&once, "m", &config, false, 3).expect("nothing is in its way any more");
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn what_is_applied_is_there(history in histories(), config in configs()) {
        let after = all(&applied(&play(&history), "m", &config, true, 2).expect("by force").object);
        for (path, value) in all(&config) {
            prop_assert_eq!(after.get(&path), Some(&value), "{}", path);
        }
    }

    #[test]
    fn what_others_manage_is_never_lost_without_force(history in histories(), config in configs()) {
        let before = play(&history);
        let Ok(after) = applied(&before, "m", &config, false, 2) else { return Ok(()) };
        for theirs in before.managed.entries().iter().filter(|entry| entry.manager != "m" && !entry.fields.is_empty()) {
            let still = after.managed.entries().iter().find(|entry| entry.is_of(theirs));
            prop_assert_eq!(still.map(|entry| &entry.fields), Some(&theirs.fields));
        }
        let wanted = all(&config);
        let (was, is) = (all(&before.object), all(&after.object));
        let mine = before.managed.entries().iter().find(|entry| entry.manager == "m" && entry.manner == Manner::Apply);
        if mine.is_none() && !before.managed.is_empty() {
            // Who never applied takes nothing away, but for what is owned as a whole.
            for (path, value) in was.iter().filter(|(path, _)| !path.starts_with(".spec.selector")) {
                prop_assert!(is.get(path) == Some(value) || wanted.contains_key(path), "{} is lost", path);
            }
        }
    }

    #[test]
    fn managers_survive_being_written(history in histories()) {
        let Applied { mut object, managed } = play(&history);
        managed.put(&mut object);
        let read: Value = serde_json::from_str(&object.to_string()).expect("JSON");
        prop_assert_eq!(Managed::of(&read), managed);
    }

    #[test]
    fn sets_are_sets(one in histories(), other in histories()) {
        let union = |history: &[_]| {
            let mut set = FieldSet::default();
            play(history).managed.entries().iter().for_each(|entry| set.extend(&entry.fields));
            set
        };
        let (a, b) = (union(&one), union(&other));
        let (common, left) = (a.intersection(&b), a.difference(&b));
        prop_assert_eq!(&common, &b.intersection(&a));
        prop_assert!(common.intersection(&left).is_empty());
        let mut again = common;
        again.extend(&left);
        prop_assert_eq!(again, a);
    }
}
