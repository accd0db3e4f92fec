//! Who manages which fields of what is written, and server-side apply, which asks before it takes.

use api::managed::{self, Applied, Managed, Said, Who};
use api::{Object, Operation, Reason, Scope, StatusError, Subresource};
use http::StatusCode;
use http::header::USER_AGENT;
use serde_json::{Map, Value, json};

use super::Ask;
use super::change::{ATTEMPTS_MAX, Changed, Decided, Part};
use crate::answer::{self, Answer};
use crate::authorization::question::{Question, Resource};
use crate::query::WriteOptions;
use crate::target::{Place, subresource_name};
use crate::{body, certificates};

/// What a write means for those who manage the object's fields.
#[derive(Clone, Debug)]
pub(super) enum Managers {
    /// They stay as they are.
    Kept,
    /// Whoever writes takes over what it changes; the client may have said who managed what until now.
    Written(Said),
    /// An apply has settled it.
    Settled(Managed),
}

/// How objects name their managers; a body without that word has none.
const MANAGED_FIELDS: &str = "\"managedFields\":";
/// What every scale is said in.
const SCALE_VERSION: &str = "autoscaling/v1";

/// As Kubernetes has it: so much of a client's own name is kept.
const MANAGER_BYTES_MAX: usize = 128;

// === impl Ask ===

impl Ask {
    /// Makes a part of an object what the body wants of it; an object that is not there is made.
    pub(super) async fn applied(self, part: Part) -> Result<Answer, StatusError> {
        let options = self.write_options()?;
        let force = self.query.apply_options()?;
        let parsed = body::decode_apply(&self.body)?;
        let config = self.config(parsed.value, part)?;
        for _ in 0..ATTEMPTS_MAX {
            let changed = self
                .change(options, |old| {
                    api::metadata::check_version(self.target.names(), &config, old)?;
                    let Applied { object, managed } = self.merged(Some(old), config.clone(), force)?;
                    certificates::permit(&self.door, &self.identity, part, old)?;
                    let object = certificates::decided(part, object, old, (self.door.clock)())?;
                    let admitted = self.admit(object, &parsed.duplicates, options, part.of(old))?;
                    Ok(Decided { admitted, managers: Managers::Settled(managed) })
                })
                .await;
            match changed {
                Err(error) if error.reason == Reason::NotFound && part == Part::Main => {}
                changed => return self.changed(&changed?),
            }
            match self.applied_anew(&config, &parsed.duplicates, options, force).await {
                // Somebody was faster: it is there now.
                Err(error) if error.reason == Reason::AlreadyExists => {}
                created => {
                    let created = created?;
                    let answer = self.present(StatusCode::CREATED, &created.object)?;
                    return Ok(answer::with_warnings(answer, &created.warnings));
                }
            }
        }
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Err(StatusError::conflict(self.target.names(), self.target.name(), why))
    }

    /// Makes a scale what the body wants of it. Of the object that is its number of replicas, and whoever applies has that from then
    /// on, as the manager of the object's scale.
    pub(super) async fn applied_scale(self) -> Result<Answer, StatusError> {
        let options = self.write_options()?;
        let force = self.query.apply_options()?;
        let scale = body::decode_apply(&self.body)?.value;
        let changed = self
            .change(options, |old| {
                api::metadata::check_version(self.target.names(), &scale, old)?;
                let config = self.config_of_scale(&scale, old)?;
                let Applied { object, managed } = self.merged(Some(old), config, force)?;
                let admitted = self.admit(object, &[], options, Operation::Update { old })?;
                Ok(Decided { admitted, managers: Managers::Settled(managed) })
            })
            .await?;
        self.scale(&changed.object)
    }

    /// What a scale wants of the object that it belongs to.
    fn config_of_scale(&self, scale: &Value, old: &Object) -> Result<Value, StatusError> {
        let given = scale.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
        if given != SCALE_VERSION {
            return Err(StatusError::bad_request(format!(
                "Incorrect version specified in apply patch. Specified patch version: {given}, expected: {SCALE_VERSION}"
            )));
        }
        let names = self.target.names();
        let mut config = json!({
            "apiVersion": names.api_version(), "kind": names.kind, "metadata": {"name": self.target.name()},
        });
        if let Some(replicas) = scale.pointer("/spec/replicas").filter(|replicas| !replicas.is_null()) {
            // Only for its refusals: a scale has one field, and this is what it may be.
            self.target.kind.with_scale(old, scale)?;
            let path = self.target.kind.replicas_path();
            let place = path.split('.').filter(|field| !field.is_empty());
            let place = place.fold(&mut config, |place, field| &mut place[field]);
            *place = replicas.clone();
        }
        Ok(config)
    }

    async fn applied_anew(
        &self,
        config: &Value,
        duplicates: &[String],
        options: WriteOptions,
        force: bool,
    ) -> Result<Changed, StatusError> {
        let names = self.target.names();
        let wanted = Resource::new(names.group, names.plural).within(&self.target.namespace).named(self.target.name());
        self.door.demand(&self.identity, &Question::of_resource("create", wanted))?;
        if let Some(uid) = config.pointer("/metadata/uid").and_then(Value::as_str).filter(|uid| !uid.is_empty()) {
            let why =
                format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
            return Err(StatusError::conflict(self.target.names(), self.target.name(), &why));
        }
        let Applied { object, managed } = self.merged(None, config.clone(), force)?;
        self.created(object, duplicates, options, Managers::Settled(managed)).await
    }

    /// What the body wants, of the part that it is about.
    fn config(&self, mut config: Value, part: Part) -> Result<Value, StatusError> {
        let names = self.target.names();
        let version = names.api_version();
        let Some(members) = config.as_object_mut() else {
            return Err(StatusError::bad_request("the body of an apply patch is an object"));
        };
        let given = members.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
        if given != version {
            return Err(StatusError::bad_request(format!(
                "Incorrect version specified in apply patch. Specified patch version: {given}, expected: {version}"
            )));
        }
        match part {
            Part::Main if self.target.kind.subresources().contains(&Subresource::Status) => {
                members.remove("status");
            }
            Part::Main => {}
            Part::Status | Part::Approval => {
                members.retain(|name, _| matches!(name.as_str(), "apiVersion" | "kind" | "metadata" | "status"));
            }
            Part::Resize => {
                members.retain(|name, _| matches!(name.as_str(), "apiVersion" | "kind" | "metadata" | "spec"));
                if let Some(spec) = members.get_mut("spec") {
                    keep_sizes(spec);
                }
            }
        }
        let metadata = members.entry("metadata").or_insert_with(|| json!({}));
        let Some(metadata) = metadata.as_object_mut() else {
            return Err(StatusError::bad_request("metadata is not an object"));
        };
        if metadata.get("managedFields").and_then(Value::as_array).is_some_and(|managers| !managers.is_empty()) {
            return Err(StatusError::bad_request("metadata.managedFields must be nil"));
        }
        metadata.remove("managedFields");
        match metadata.get("name").and_then(Value::as_str).unwrap_or_default() {
            "" => drop(metadata.insert("name".into(), self.target.name().into())),
            name if name == self.target.name() => {}
            name => {
                return Err(StatusError::bad_request(format!(
                    "the name of the object ({name}) does not match the name on the URL ({})",
                    self.target.name()
                )));
            }
        }
        if part != Part::Main {
            let named = ["name", "namespace", "uid", "resourceVersion"];
            metadata.retain(|name, _| named.contains(&name.as_str()));
        }
        Ok(config)
    }

    /// What is there with what is wanted merged into it.
    fn merged(&self, old: Option<&Object>, config: Value, force: bool) -> Result<Applied, StatusError> {
        let names = self.target.names();
        let mut live = old.map(|old| self.shown(old)).transpose()?;
        let managed = live.as_ref().map(Managed::of).unwrap_or_default();
        if let Some(live) = &mut live {
            Managed::default().put(live);
        }
        let now = (self.door.clock)();
        let version = names.api_version();
        let who = self.who(&version);
        managed::apply(self.target.kind.shape(), live.as_ref(), managed, config, who, force, now).map_err(|refused| {
            let namespace = if names.scope == Scope::Namespaced { self.target.namespace.as_str() } else { "" };
            let what =
                format!("{namespace}/{}; {}/{}, Kind={}", self.target.name(), names.group, names.version, names.kind);
            refused.into_status(&what)
        })
    }

    /// The object with its managers, as a write leaves them. `wanted` is what was admitted, before the server completed it.
    pub(super) fn managed(
        &self,
        old: Option<&Object>,
        wanted: &Object,
        object: Object,
        managers: Managers,
    ) -> Result<Object, StatusError> {
        let has_managers = |old: &Object| str::from_utf8(old.body()).is_ok_and(|body| body.contains(MANAGED_FIELDS));
        match managers {
            Managers::Kept | Managers::Written(Said::Reset) => Ok(object),
            // As Kubernetes has it: nobody begins to manage by changing what nobody manages.
            Managers::Written(Said::Nothing) if old.is_some_and(|old| !has_managers(old)) => Ok(object),
            Managers::Written(said) => {
                let before = old.map_or_else(|| Ok(Value::Object(Map::new())), |old| self.shown(old))?;
                let wanted = self.target.kind.shown(wanted);
                let after = wanted.tree().map_err(StatusError::internal)?;
                let managed = match said {
                    Said::These(managed) => managed,
                    Said::Nothing | Said::Reset => Managed::of(&before),
                };
                let version = self.target.names().api_version();
                let shape = self.target.kind.shape();
                let now = (self.door.clock)();
                let managed = managed::update(shape, &before, &after, managed, self.who(&version), now);
                with_managers(object, &managed)
            }
            Managers::Settled(managed) => {
                let before = Managed::of(&tree_of(old)?);
                // Nothing but the time would differ: it is what it was.
                if managed.is_same(&before) {
                    let same = with_managers(object.clone(), &before)?;
                    if old.is_some_and(|old| old.body() == same.body()) {
                        return Ok(same);
                    }
                }
                with_managers(object, &managed)
            }
        }
    }

    /// An object in the words of the request's version.
    fn shown(&self, object: &Object) -> Result<Value, StatusError> {
        self.target.kind.shown(object).to_value().map_err(StatusError::internal)
    }

    fn who<'a>(&'a self, api_version: &'a str) -> Who<'a> {
        let given = self.query.get("fieldManager").filter(|manager| !manager.is_empty());
        let agent = || manager_of(self.header(USER_AGENT).unwrap_or_default());
        let subresource = match self.target.place {
            Place::Part(_, part) => subresource_name(part),
            _ => "",
        };
        Who { manager: given.unwrap_or_else(agent), api_version, subresource }
    }
}

/// Of a pod's spec, what a resize is about.
fn keep_sizes(spec: &mut Value) {
    if let Some(members) = spec.as_object_mut() {
        members.retain(|name, _| matches!(name.as_str(), "containers" | "initContainers"));
        for container in members.values_mut().filter_map(Value::as_array_mut).flatten() {
            if let Some(members) = container.as_object_mut() {
                members.retain(|name, _| matches!(name.as_str(), "name" | "resources" | "resizePolicy"));
            }
        }
    }
}

/// A client that names no manager is known by its program.
fn manager_of(agent: &str) -> &str {
    let program = agent.split('/').next().unwrap_or_default();
    let mut end = program.len().min(MANAGER_BYTES_MAX);
    while !program.is_char_boundary(end) {
        end -= 1;
    }
    match &program[..end] {
        "" => "unknown",
        program => program,
    }
}

fn tree_of(object: Option<&Object>) -> Result<Value, StatusError> {
    object.map_or_else(|| Ok(Value::Object(Map::new())), |object| object.to_value().map_err(StatusError::internal))
}

fn with_managers(object: Object, managed: &Managed) -> Result<Object, StatusError> {
    let kind = object.key().kind();
    let mut tree = object.into_value().map_err(StatusError::internal)?;
    managed.put(&mut tree);
    Object::from_tree(kind, tree).map_err(StatusError::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_without_a_manager_is_known_by_its_program() {
        assert_eq!(manager_of("kubectl/v1.33.0 (linux/amd64)"), "kubectl");
        assert_eq!(manager_of("curl"), "curl");
        assert_eq!(manager_of(""), "unknown");
        assert_eq!(manager_of(&"ä".repeat(100)).len(), 128);
    }
}
