//! What a client asks for: which command of which container, and which of its streams.

use api::{Object, StatusError, Subresource};
use form_urlencoded::Serializer;

use crate::containers::Containers;
use crate::query::Query;

/// A command, and the streams that somebody wants of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// The node that has it.
    pub(super) node: String,
    /// What the node is asked.
    pub(super) path: String,
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    /// Never at a terminal: there it is the same as standard output.
    pub(super) stderr: bool,
    pub(super) tty: bool,
}

// === impl Asked ===

impl Asked {
    /// Reads the parameters of `PodExecOptions` and `PodAttachOptions`.
    pub(super) fn read(pod: &Object, part: Subresource, query: &Query) -> Result<Self, StatusError> {
        let (namespace, name) = (pod.key().namespace(), pod.key().name());
        let containers = Containers::of(pod)?;
        let container = containers.pick(query.get("container"))?;
        let unbound = || StatusError::bad_request(format!("pod {name} does not have a host assigned"));
        let node = containers.node().ok_or_else(unbound)?.to_owned();
        let flag = |name| match query.get(name) {
            None | Some("" | "false" | "0" | "False") => false,
            Some(_) => true,
        };
        let tty = flag("tty");
        let [stdin, stdout, stderr] = ["stdin", "stdout", "stderr"].map(flag);
        // As in Kubernetes, where it is not an error to ask for both.
        let stderr = stderr && !tty;
        if !(stdin || stdout || stderr) {
            return Err(StatusError::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
        }
        let command: Vec<&str> = query.all("command").collect();
        let verb = if part == Subresource::Exec { "exec" } else { "attach" };
        if part == Subresource::Exec && command.first().is_none_or(|program| program.is_empty()) {
            return Err(StatusError::bad_request("you must specify at least one command for the container"));
        }
        let mut told = Serializer::new(String::new());
        for word in command.iter().filter(|_| part == Subresource::Exec) {
            told.append_pair("command", word);
        }
        for (name, is) in [("stdin", stdin), ("stdout", stdout), ("stderr", stderr), ("tty", tty)] {
            if is {
                told.append_pair(name, "true");
            }
        }
        let path = format!("/{verb}/{namespace}/{name}/{container}?{}", told.finish());
        Ok(Self { node, path, stdin, stdout, stderr, tty })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::kinds;
    use serde_json::json;

    fn check(part: Subresource, node: &str, query: &str, expect: Result<&str, &str>) {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"nodeName": node, "containers": [{"name": "a"}]},
        });
        let pod = Object::from_value(kinds::POD, &pod).expect("an object");
        let found = Asked::read(&pod, part, &Query::parse(Some(query))).map(|asked| asked.path);
        assert_eq!(found.map_err(|error| error.message), expect.map(Into::into).map_err(Into::into), "{query}");
    }

    #[test]
    fn the_node_is_asked_what_the_client_asked() {
        let exec = Subresource::Exec;
        let both = "command=sh&command=-c&command=a+b&stdin=true&stdout=true&stderr=true&tty=false";
        check(
            exec,
            "n1",
            both,
            Ok("/exec/shop/web/a?command=sh&command=-c&command=a+b&stdin=true&stdout=true&stderr=true"),
        );
        check(exec, "n1", "command=sh&stdout=1&stderr=1&tty=1", Ok("/exec/shop/web/a?command=sh&stdout=true&tty=true"));
        check(Subresource::Attach, "n1", "stdout=true&command=x", Ok("/attach/shop/web/a?stdout=true"));
    }

    #[test]
    fn what_makes_no_sense_is_refused_before_the_node_is_asked() {
        let exec = Subresource::Exec;
        check(exec, "n1", "command=sh", Err("you must specify at least 1 of stdin, stdout, stderr"));
        check(exec, "n1", "stdout=true", Err("you must specify at least one command for the container"));
        check(exec, "n1", "command=&stdout=true", Err("you must specify at least one command for the container"));
        check(exec, "", "command=sh&stdout=true", Err("pod web does not have a host assigned"));
        check(exec, "n1", "command=sh&stdout=true&container=b", Err("container b is not valid for pod web"));
    }
}
