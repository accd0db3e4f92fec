//! Requests that become connections are asked about with the options that their query spells.

use std::sync::Arc;

use api::StatusError;
use api::policies::Action;
use serde_json::{Map, Value, json};

use super::Candidate;
use crate::Door;
use crate::audit::Trail;
use crate::identity::Identity;
use crate::query::Query;
use crate::target::{Place, Target, subresource_name};

/// Refuses a connection that policies or webhooks refuse.
pub(crate) async fn connect(
    door: &Arc<Door>,
    identity: &Identity,
    target: &Target,
    query: Option<&str>,
    trail: &Trail,
) -> Result<(), StatusError> {
    let world = door.store.snapshot();
    let Place::Part(name, part) = &target.place else { return Ok(()) };
    if !door.admission.is_configured(&world) {
        return Ok(());
    }
    let candidate = Candidate {
        door,
        world: &world,
        identity,
        action: Action::Connect,
        names: target.names(),
        subresource: subresource_name(*part),
        namespace: &target.namespace,
        name,
        object: options(target.names().kind, subresource_name(*part), &Query::parse(query)),
        old: Value::Null,
        options: Value::Null,
        is_dry_run: false,
        trail,
    };
    // Nobody can be warned any more: what is answered is a connection.
    candidate.judge().await.map(drop)
}

/// The options as an object, such as `PodExecOptions`.
fn options(kind: &str, part: &str, query: &Query) -> Value {
    let kind = match part {
        "exec" => "PodExecOptions".to_owned(),
        "attach" => "PodAttachOptions".to_owned(),
        "portforward" => "PodPortForwardOptions".to_owned(),
        _ => format!("{kind}ProxyOptions"),
    };
    let mut options = Map::new();
    options.insert("kind".into(), kind.into());
    options.insert("apiVersion".into(), "v1".into());
    for name in ["container", "path"] {
        if let Some(value) = query.get(name) {
            options.insert(name.into(), value.into());
        }
    }
    for name in ["stdin", "stdout", "stderr", "tty"] {
        if let Some(value) = query.get(name) {
            options.insert(name.into(), matches!(value, "1" | "true").into());
        }
    }
    let command: Vec<&str> = query.all("command").collect();
    if !command.is_empty() {
        options.insert("command".into(), json!(command));
    }
    options.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_told_as_its_query_spells_it() {
        let query = Query::parse(Some("container=main&command=ls&command=-l&stdin=true&tty=false"));
        assert_eq!(
            options("Pod", "exec", &query),
            json!({"kind": "PodExecOptions", "apiVersion": "v1", "container": "main", "command": ["ls", "-l"], "stdin": true, "tty": false})
        );
        assert_eq!(
            options("Service", "proxy", &Query::parse(None)),
            json!({"kind": "ServiceProxyOptions", "apiVersion": "v1"})
        );
    }
}
