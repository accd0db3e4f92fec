//! Where a write meets admission: webhooks may change what it wants, and policies and webhooks may refuse it.

use api::policies::Action;
use api::{Admitted, FieldValidation, Object, Operation, Reason, StatusError, Subresource};
use serde_json::{Map, Value, json};
use state::Snapshot;

use super::Ask;
use crate::admission::Candidate;
use crate::query::WriteOptions;
use crate::target::{Place, subresource_name};
use crate::verb::Verb;

// === impl Ask ===

impl Ask {
    /// What webhooks make of what was asked for, completed and judged again if they changed it. `said` is what came in: an object
    /// that is not valid is shown to them as it came, for it may be theirs to make it valid.
    pub(super) async fn remade(
        &self,
        world: &Snapshot,
        said: Option<&Value>,
        admitted: Result<Admitted, StatusError>,
        operation: Operation<'_>,
        options: WriteOptions,
    ) -> Result<Admitted, StatusError> {
        if !self.door.admission.is_configured(world) {
            return admitted;
        }
        let object = match (&admitted, said) {
            (Ok(admitted), _) => tree(Some(&admitted.object))?,
            (Err(error), Some(said)) if error.reason == Reason::Invalid => said.clone(),
            (Err(_), _) => return admitted,
        };
        let (action, old) = match operation {
            Operation::Create { .. } => (Action::Create, None),
            Operation::Update { old } | Operation::UpdateStatus { old } | Operation::Resize { old } => {
                (Action::Update, Some(old))
            }
        };
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or(self.target.name()).to_owned();
        let candidate = self.candidate(world, action, &name, object, tree(old)?, options.dry_run);
        let remade = candidate.remake().await?;
        let mut admitted = match remade.object {
            None => admitted?,
            Some(object) => {
                let lenient = WriteOptions { validation: FieldValidation::Ignore, ..options };
                let mut again = self.admit(object, &[], lenient, operation)?;
                again.warnings.splice(..0, admitted.map(|admitted| admitted.warnings).unwrap_or_default());
                again.warnings.dedup();
                again
            }
        };
        admitted.warnings.extend(remade.warnings);
        Ok(admitted)
    }

    /// Refuses what policies or webhooks refuse; what they have to say otherwise are warnings. Some subresources are asked about
    /// with something else than their object: with what the client said, or what the kind makes of it.
    pub(super) async fn judged(
        &self,
        world: &Snapshot,
        old: Option<&Object>,
        new: Option<&Object>,
        is_dry_run: bool,
    ) -> Result<Vec<String>, StatusError> {
        if !self.door.admission.is_configured(world) {
            return Ok(Vec::new());
        }
        let named = new.or(old).map(|object| object.key().name().to_owned()).unwrap_or_default();
        let scale =
            |object: Option<&Object>| object.and_then(|object| self.target.kind.scale(object)).unwrap_or_default();
        let (action, object, before) = match (&self.target.place, old, new) {
            (Place::Part(_, Subresource::Scale), old, new) => (Action::Update, scale(new), scale(old)),
            (Place::Part(_, Subresource::Binding | Subresource::Eviction), ..) => {
                (Action::Create, self.spoken(&named), Value::Null)
            }
            (_, None, new) => (Action::Create, tree(new)?, Value::Null),
            (_, old, None) => (Action::Delete, Value::Null, tree(old)?),
            (_, old, new) => (Action::Update, tree(new)?, tree(old)?),
        };
        self.candidate(world, action, &named, object, before, is_dry_run).judge().await
    }

    fn candidate<'a>(
        &'a self,
        world: &'a Snapshot,
        action: Action,
        name: &'a str,
        object: Value,
        old: Value,
        is_dry_run: bool,
    ) -> Candidate<'a> {
        let subresource = match self.target.place {
            Place::Part(_, part) => subresource_name(part),
            _ => "",
        };
        Candidate {
            door: &self.door,
            world,
            identity: &self.identity,
            action,
            names: self.target.names(),
            subresource,
            namespace: &self.target.namespace,
            name,
            object,
            old,
            options: self.options(is_dry_run),
            is_dry_run,
            trail: &self.trail,
        }
    }

    /// What the client said, where that is an object of its own; protobuf is told by what it is about.
    fn spoken(&self, name: &str) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| json!({"metadata": {"name": name, "namespace": self.target.namespace}}))
    }

    /// The options of the request, as an object.
    fn options(&self, is_dry_run: bool) -> Value {
        let kind = match self.verb {
            Verb::Create => "CreateOptions",
            Verb::Update => "UpdateOptions",
            Verb::Patch => "PatchOptions",
            _ => "DeleteOptions",
        };
        let mut options = Map::new();
        options.insert("kind".into(), kind.into());
        options.insert("apiVersion".into(), "meta.k8s.io/v1".into());
        for name in ["fieldManager", "fieldValidation", "propagationPolicy"] {
            if let Some(value) = self.query.get(name).filter(|value| !value.is_empty()) {
                options.insert(name.into(), value.into());
            }
        }
        if is_dry_run {
            options.insert("dryRun".into(), json!(["All"]));
        }
        options.into()
    }
}

fn tree(object: Option<&Object>) -> Result<Value, StatusError> {
    object.map_or(Ok(Value::Null), |object| object.to_value().map_err(StatusError::internal))
}
