//! `coracle wait`: until an object says what one waits to hear.

use anyhow::bail;
use serde_json::Value;

use crate::args::Wait;
use crate::{access, durations, verbs, what};

/// What is waited for.
#[derive(Debug, PartialEq)]
enum Until {
    /// A condition has a value, seen at the latest generation.
    Condition { name: String, value: String },
    /// A field has a value; the path is a JSON pointer.
    Field { pointer: String, value: Option<String> },
    /// The object is gone.
    Deleted,
    /// The object is there.
    Created,
}

pub(crate) async fn run(args: Wait) -> anyhow::Result<()> {
    let cluster = access::cluster(&args.access)?;
    let until = parse(&args.condition)?;
    let patience = durations::parse(&args.timeout)?;
    for what in what::parse(&cluster.client, &args.what).await? {
        let key = what.key(&cluster.namespace)?;
        let told = format!("{}/{}", what.names.plural, key.name());
        if !matches!(until, Until::Created | Until::Deleted) {
            cluster.client.get(&key).await?;
        }
        let met = verbs::watch_until(&cluster.client, &key, |object| {
            let object = object.and_then(|object| object.to_value().ok());
            is_met(&until, object.as_ref()).then_some(())
        });
        match tokio::time::timeout(patience, met).await {
            Ok(met) => met?,
            Err(_) => bail!("timed out waiting for the condition on {told}"),
        }
        let done = if until == Until::Deleted { "deleted" } else { "condition met" };
        println!("{} {done}", what::told(what.names, key.name()));
    }
    Ok(())
}

fn parse(text: &str) -> anyhow::Result<Until> {
    match text.split_once('=') {
        None if text == "delete" => Ok(Until::Deleted),
        None if text == "create" => Ok(Until::Created),
        Some(("condition", condition)) => {
            let (name, value) = condition.split_once('=').unwrap_or((condition, "True"));
            Ok(Until::Condition { name: name.into(), value: value.into() })
        }
        Some(("jsonpath", path)) => {
            let path = path.trim_matches('\'');
            let (path, value) = match path.split_once("}=") {
                Some((path, value)) => (path, Some(value.trim_matches(['\'', '"']).to_owned())),
                None => (path.trim_end_matches('}'), None),
            };
            Ok(Until::Field { pointer: pointer(path.trim_start_matches('{'))?, value })
        }
        _ => bail!("{text:?} is not condition=NAME[=VALUE], jsonpath={{.PATH}}[=VALUE], create or delete"),
    }
}

/// A path of names and list places as a JSON pointer.
fn pointer(path: &str) -> anyhow::Result<String> {
    let Some(path) = path.strip_prefix('.') else { bail!("the path {path:?} does not begin with a dot") };
    let steps = path.split('.').flat_map(|step| step.split(['[', ']']).filter(|part| !part.is_empty()));
    Ok(steps.map(|step| format!("/{}", step.replace('~', "~0").replace('/', "~1"))).collect())
}

fn is_met(until: &Until, object: Option<&Value>) -> bool {
    let Some(object) = object else { return *until == Until::Deleted };
    match until {
        Until::Deleted => false,
        Until::Created => true,
        Until::Field { pointer, value } => match (object.pointer(pointer), value) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(Value::String(found)), Some(value)) => found == value,
            (Some(found), Some(value)) => format!("{found}") == *value,
        },
        Until::Condition { name, value } => {
            let conditions = object["status"]["conditions"].as_array();
            let found = conditions
                .into_iter()
                .flatten()
                .find(|condition| condition["type"].as_str().is_some_and(|kind| kind.eq_ignore_ascii_case(name)));
            let generation = object["metadata"]["generation"].as_i64();
            found.is_some_and(|condition| {
                let seen = condition["observedGeneration"].as_i64().or(object["status"]["observedGeneration"].as_i64());
                let current = seen.is_none() || seen >= generation;
                current && condition["status"].as_str().is_some_and(|status| status.eq_ignore_ascii_case(value))
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(condition: &str, object: Option<Value>, met: bool) {
        let until = parse(condition).expect("understood");
        assert_eq!(is_met(&until, object.as_ref()), met, "{condition}");
    }

    #[test]
    fn conditions_count_only_when_they_speak_of_the_latest_generation() {
        let object = |observed: i64| {
            Some(json!({"metadata": {"generation": 2},
            "status": {"observedGeneration": observed, "conditions": [{"type": "Available", "status": "True"}]}}))
        };
        check("condition=available", object(2), true);
        check("condition=Available", object(1), false);
        check("condition=Available=False", object(2), false);
    }

    #[test]
    fn paths_and_presence() {
        let object = json!({"status": {"phase": "Running", "podIPs": [{"ip": "10.42.0.2"}]}});
        check("jsonpath={.status.phase}=Running", Some(object.clone()), true);
        check("jsonpath={.status.podIPs[0].ip}", Some(object.clone()), true);
        check("jsonpath={.status.nothing}", Some(object.clone()), false);
        check("delete", Some(object), false);
        check("delete", None, true);
        assert!(parse("sometime").is_err());
    }
}
