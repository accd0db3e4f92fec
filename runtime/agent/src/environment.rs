//! A container's argv and environment, as Kubernetes puts them together: a pure function of the pod and a snapshot.

mod expand;
mod services;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use api::{Object, kinds};
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, EnvVarSource, ObjectFieldSelector, Pod, ResourceFieldSelector, Secret, VolumeMount,
};
use state::Snapshot;

use crate::pod::{Blocked, Place, container};
use crate::quantity;

/// What a container is to be started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The program's name first.
    pub args: Vec<String>,
    /// Each name once.
    pub env: Vec<(String, String)>,
    /// What of it the container's own `env` and `envFrom` say: its configuration.
    pub settings: Vec<(String, String)>,
}

/// What the node knows and the pod's object may not yet tell.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// The world.
    pub view: &'a Snapshot,
    /// The pod's address.
    pub address: IpAddr,
    /// The node's.
    pub host: IpAddr,
    /// What a container without a limit may take.
    pub node_cpu_millis: u64,
    /// Likewise.
    pub node_memory_bytes: u64,
}

/// The words of `CreateContainerConfigError`.
fn blocked(message: impl Into<String>) -> Blocked {
    Blocked { reason: "CreateContainerConfigError", message: message.into() }
}

/// The argv and the environment of the container at `place`.
pub fn program(pod: &Pod, place: Place, around: &Surroundings<'_>) -> Result<Program, Blocked> {
    let container = container(pod, place).ok_or_else(|| blocked("the container is not in the pod's spec"))?;
    let variables = environment(pod, container, around)?;
    let settings = variables.own();
    let env = variables.all;
    let lookup = |name: &str| env.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let expanded = |words: &Option<Vec<String>>| -> Vec<String> {
        words.iter().flatten().map(|word| expand::expand(word, &lookup)).collect()
    };
    let command = expanded(&container.command);
    let mut args = if command.is_empty() { vec![program_name(container)] } else { command };
    args.extend(expanded(&container.args));
    Ok(Program { args, env, settings })
}

/// What the program is called when `command` does not say: the last word of the image's name.
fn program_name(container: &Container) -> String {
    let image = container.image.as_deref().unwrap_or_default();
    let name = image.split('@').next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
    name.split(':').next().unwrap_or_default().to_owned()
}

fn environment(pod: &Pod, container: &Container, around: &Surroundings<'_>) -> Result<Environment, Blocked> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let mut env = Environment::default();
    env.set("HOSTNAME", hostname(pod));
    let links = pod.spec.as_ref().and_then(|spec| spec.enable_service_links).unwrap_or(true);
    for (name, value) in services::variables(around.view, namespace, links) {
        env.set(&name, value);
    }
    env.begin_own();
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        let values = if let Some(from) = &source.config_map_ref {
            config_map(around.view, namespace, &from.name, from.optional)?.map(|map| map.data.unwrap_or_default())
        } else if let Some(from) = &source.secret_ref {
            secret(around.view, namespace, &from.name, from.optional)?.map(|secret| texts(&secret))
        } else {
            None
        };
        for (name, value) in values.unwrap_or_default() {
            env.set(&format!("{prefix}{name}"), value);
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (None, Some(source)) => from_source(pod, container, source, around)?,
            (value, _) => Some(expand::expand(value.as_deref().unwrap_or_default(), &|name| env.get(name))),
        };
        if let Some(value) = value {
            env.set(&variable.name, value);
        }
    }
    Ok(env)
}

/// The name a program finds itself on.
fn hostname(pod: &Pod) -> String {
    let own = pod.spec.as_ref().and_then(|spec| spec.hostname.clone()).filter(|name| !name.is_empty());
    own.or_else(|| pod.metadata.name.clone()).unwrap_or_default()
}

fn from_source(
    pod: &Pod,
    container: &Container,
    source: &EnvVarSource,
    around: &Surroundings<'_>,
) -> Result<Option<String>, Blocked> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    if let Some(key) = &source.config_map_key_ref {
        let map = config_map(around.view, namespace, &key.name, key.optional)?;
        let Some(map) = map else { return Ok(None) };
        let value = map.data.and_then(|mut data| data.remove(&key.key));
        return found(value, key.optional, || {
            format!("couldn't find key {} in ConfigMap {namespace}/{}", key.key, key.name)
        });
    }
    if let Some(key) = &source.secret_key_ref {
        let Some(secret) = secret(around.view, namespace, &key.name, key.optional)? else { return Ok(None) };
        let value = texts(&secret).remove(&key.key);
        return found(value, key.optional, || {
            format!("couldn't find key {} in Secret {namespace}/{}", key.key, key.name)
        });
    }
    if let Some(field) = &source.field_ref {
        return field_of(pod, field, around)
            .map(Some)
            .ok_or_else(|| blocked(format!("failed to get the field {}: it is not one of a pod", field.field_path)));
    }
    match &source.resource_field_ref {
        Some(resource) => resource_of(pod, container, resource, around).map(|amount| Some(amount.to_string())),
        None => Ok(None),
    }
}

/// The part of a volume that a mount shows; variables of the container in a `subPathExpr` are filled in.
pub(crate) fn sub_path_of(
    pod: &Pod,
    container: &Container,
    mount: &VolumeMount,
    around: &Surroundings<'_>,
) -> Result<Option<String>, Blocked> {
    if let Some(path) = mount.sub_path.as_ref().filter(|path| !path.is_empty()) {
        return Ok(Some(path.clone()));
    }
    let Some(words) = mount.sub_path_expr.as_deref().filter(|words| !words.is_empty()) else { return Ok(None) };
    let env = environment(pod, container, around)?.all;
    let lookup = |name: &str| env.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    Ok(Some(expand::expand(words, &lookup)))
}

fn found(
    value: Option<String>,
    optional: Option<bool>,
    missing: impl FnOnce() -> String,
) -> Result<Option<String>, Blocked> {
    match value {
        None if optional != Some(true) => Err(blocked(missing())),
        value => Ok(value),
    }
}

/// The value of a field of the pod, for variables and downward files.
pub(crate) fn field_of(pod: &Pod, field: &ObjectFieldSelector, around: &Surroundings<'_>) -> Option<String> {
    let metadata = &pod.metadata;
    let spec = pod.spec.as_ref();
    if let Some((list, key)) = field.field_path.strip_suffix("']").and_then(|path| path.split_once("['")) {
        let list = match list {
            "metadata.labels" => &metadata.labels,
            "metadata.annotations" => &metadata.annotations,
            _ => return None,
        };
        return Some(list.as_ref().and_then(|list| list.get(key)).cloned().unwrap_or_default());
    }
    let word = |word: &Option<String>| Some(word.clone().unwrap_or_default());
    match field.field_path.as_str() {
        "metadata.name" => word(&metadata.name),
        "metadata.namespace" => word(&metadata.namespace),
        "metadata.uid" => word(&metadata.uid),
        "metadata.labels" => Some(listed(metadata.labels.as_ref())),
        "metadata.annotations" => Some(listed(metadata.annotations.as_ref())),
        "spec.nodeName" => word(&spec?.node_name),
        "spec.serviceAccountName" => Some(spec?.service_account_name.clone().unwrap_or_else(|| "default".to_owned())),
        "status.podIP" | "status.podIPs" => Some(around.address.to_string()),
        "status.hostIP" | "status.hostIPs" => Some(around.host.to_string()),
        _ => None,
    }
}

/// Labels or annotations as the downward API writes them: `key="value"` in lines.
fn listed(entries: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> = entries.into_iter().flatten().map(|(key, value)| format!("{key}={value:?}")).collect();
    lines.join("\n")
}

/// What a container asks for or may take, in the divisor's units, rounded up.
pub(crate) fn resource_of(
    pod: &Pod,
    container: &Container,
    resource: &ResourceFieldSelector,
    around: &Surroundings<'_>,
) -> Result<u64, Blocked> {
    let other = resource.container_name.as_deref().filter(|name| *name != container.name);
    let container = match other {
        None => container,
        Some(name) => {
            let spec = pod.spec.as_ref();
            let all = spec.into_iter().flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers));
            let found = all.into_iter().find(|container| container.name == name);
            found.ok_or_else(|| blocked(format!("container {name} not found")))?
        }
    };
    let unknown = || blocked(format!("unsupported container resource : {}", resource.resource));
    let (list, name) = resource.resource.split_once('.').ok_or_else(unknown)?;
    let resources = container.resources.as_ref();
    let limit = resources.and_then(|resources| resources.limits.as_ref()?.get(name));
    let quantity = match list {
        "limits" => limit,
        "requests" => resources.and_then(|resources| resources.requests.as_ref()?.get(name)).or(limit),
        _ => return Err(unknown()),
    };
    let divisor = resource.divisor.as_ref().and_then(quantity::millis).filter(|divisor| *divisor > 0).unwrap_or(1_000);
    let node = match (name, list) {
        ("cpu", "limits") => around.node_cpu_millis,
        ("memory", "limits") => around.node_memory_bytes.saturating_mul(1_000),
        ("cpu" | "memory" | "ephemeral-storage", _) => 0,
        _ => return Err(unknown()),
    };
    let millis = quantity.and_then(quantity::millis).unwrap_or(node);
    Ok(millis.div_ceil(divisor))
}

/// A config map, or none where it may be missing.
pub(crate) fn config_map(
    view: &Snapshot,
    namespace: &str,
    name: &str,
    optional: Option<bool>,
) -> Result<Option<ConfigMap>, Blocked> {
    let object = view.get(&kinds::CONFIG_MAP.key(namespace, name));
    read(object, optional, || format!("configmap \"{name}\" not found"))
}

/// A secret, or none where it may be missing.
pub(crate) fn secret(
    view: &Snapshot,
    namespace: &str,
    name: &str,
    optional: Option<bool>,
) -> Result<Option<Secret>, Blocked> {
    let object = view.get(&kinds::SECRET.key(namespace, name));
    read(object, optional, || format!("secret \"{name}\" not found"))
}

fn read<T: serde::de::DeserializeOwned + Clone + Send + Sync + 'static>(
    object: Option<&Object>,
    optional: Option<bool>,
    missing: impl FnOnce() -> String,
) -> Result<Option<T>, Blocked> {
    match object {
        None if optional == Some(true) => Ok(None),
        None => Err(blocked(missing())),
        Some(object) => {
            let typed = object.decode::<T>().map_err(|error| blocked(error.to_string()))?;
            Ok(Some((*typed).clone()))
        }
    }
}

/// The values of a secret that are text.
fn texts(secret: &Secret) -> BTreeMap<String, String> {
    let values = secret.data.iter().flatten();
    values.map(|(name, bytes)| (name.clone(), String::from_utf8_lossy(&bytes.0).into_owned())).collect()
}

/// Variables in the order in which they were first set; a later value replaces an earlier one.
#[derive(Default)]
struct Environment {
    all: Vec<(String, String)>,
    /// Which of them the container itself says, once it is its turn.
    own: Option<BTreeSet<String>>,
}

impl Environment {
    fn set(&mut self, name: &str, value: String) {
        match self.all.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.all.push((name.to_owned(), value)),
        }
        if let Some(own) = &mut self.own {
            own.insert(name.to_owned());
        }
    }

    /// From here on the container speaks for itself.
    fn begin_own(&mut self) {
        self.own = Some(BTreeSet::new());
    }

    fn own(&self) -> Vec<(String, String)> {
        let is_own = |name: &String| self.own.as_ref().is_some_and(|own| own.contains(name));
        self.all.iter().filter(|(name, _)| is_own(name)).cloned().collect()
    }

    fn get(&self, name: &str) -> Option<String> {
        self.all.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }
}
