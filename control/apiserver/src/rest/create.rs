//! New objects.

use std::time::Duration;

use api::managed::Managed;
use api::pod_spec::account;
use api::{Admitted, Cause, Object, Operation, Reason, Scope, StatusError, kinds};
use http::StatusCode;
use serde_json::Value;
use state::{Claim, Conflict, Guard, Snapshot, Txn};

use super::Ask;
use super::change::{ATTEMPTS_MAX, Changed, Missed, guarded};
use super::managed::Managers;
use crate::answer::{self, Answer};
use crate::query::WriteOptions;
use crate::{audit, body, certificates, claims, complete, negotiate, target};

/// As Kubernetes has it: the account of a namespace that was made a moment ago comes within a few of these.
const ACCOUNT_PAUSE: Duration = Duration::from_millis(100);

// === impl Ask ===

impl Ask {
    pub(super) async fn create(self) -> Result<Answer, StatusError> {
        let options = self.write_options()?;
        let encoding = negotiate::encoding(self.content_type())?;
        let parsed = body::decode(encoding, &self.body, self.target.names().kind)?;
        if self.target.names().scope == Scope::Namespaced && self.target.namespace.is_empty() {
            return Err(StatusError::bad_request("an empty namespace may not be set during creation"));
        }
        let managers = Managers::Written(Managed::said(&parsed.value));
        let created = self.created(parsed.value, &parsed.duplicates, options, managers).await?;
        let mut answer = self.present(StatusCode::CREATED, &created.object)?;
        answer.extensions_mut().insert(audit::Made(created.object.key().name().to_owned()));
        Ok(answer::with_warnings(answer, &created.warnings))
    }

    pub(super) async fn created(
        &self,
        incoming: Value,
        duplicates: &[String],
        options: WriteOptions,
        managers: Managers,
    ) -> Result<Changed, StatusError> {
        let is_generated = is_generated(&incoming);
        let incoming = certificates::signed_by(&self.identity, self.target.kind.group_kind(), incoming);
        for attempt in 1..=ATTEMPTS_MAX {
            let world = self.newest().await?;
            self.demand_namespace(&world, &incoming)?;
            self.demand_definition(&world)?;
            let uid = self.door.uid();
            let operation = Operation::Create { uid: &uid, seed: self.door.chance() };
            let admitted = self.admit(incoming.clone(), duplicates, options, operation);
            let admitted = self.remade(&world, Some(&incoming), admitted, operation, options).await?;
            let Admitted { object: wanted, mut warnings } = admitted;
            if attempt < ATTEMPTS_MAX && awaits_account(&wanted, &world) {
                tokio::time::sleep(ACCOUNT_PAUSE).await;
                continue;
            }
            let object = complete::complete(wanted.clone(), None, &world, self.door.chance(), self.door.outages)?;
            let object = self.managed(None, &wanted, object, managers.clone())?;
            self.permit(&world, None, Some(&object))?;
            certificates::restrict(&object)?;
            warnings.extend(self.judged(&world, None, Some(&object), options.dry_run).await?);
            let object = object.settled();
            let asked = Claim::of(&wanted);
            drop(wanted);
            let mut txn = guarded(Txn::create(object.clone()), claims::guards(&object, None));
            if self.target.names().scope == Scope::Namespaced {
                txn = txn.guard(Guard::Alive(kinds::NAMESPACE.cluster_key(&self.target.namespace)));
            }
            if let Some(definition) = self.target.kind.taught_by() {
                txn = txn.guard(Guard::Alive(definition.clone()));
            }
            match self.propose_charged(&world, txn, options.dry_run, (None, &object)).await {
                Ok(object) => return Ok(Changed { object, warnings }),
                Err(Missed::Refused(error)) => return Err(error),
                Err(Missed::Conflict(Conflict::Exists(_))) if is_generated && attempt < ATTEMPTS_MAX => {}
                Err(Missed::Conflict(Conflict::Exists(_))) => return Err(self.exists(&object, is_generated)),
                Err(Missed::Conflict(Conflict::Taken { claim, .. })) if asked.contains(&claim) => {
                    return Err(claims::taken(&object, &claim));
                }
                // The namespace went, or another took the address that was free: look again, and say so if it stays.
                Err(Missed::Conflict(_)) => {}
            }
        }
        Err(StatusError::internal("the object could not be created: others were faster each time"))
    }

    /// New objects need a namespace that is there and stays.
    fn demand_namespace(&self, world: &Snapshot, incoming: &Value) -> Result<(), StatusError> {
        let namespace = &self.target.namespace;
        if self.target.names().scope == Scope::Cluster {
            return Ok(());
        }
        let found = world.get(&kinds::NAMESPACE.cluster_key(namespace));
        let found = found.ok_or_else(|| match api::catalog::by_kind(kinds::NAMESPACE) {
            Some(kind) => StatusError::not_found(kind.names(), namespace),
            None => StatusError::internal("namespaces are not in the catalog"),
        })?;
        if !found.meta().is_terminating() {
            return Ok(());
        }
        let name = incoming.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
        let mut error = StatusError::forbidden(self.target.names(), name, &why);
        if let Some(details) = &mut error.details {
            details.causes = vec![Cause {
                reason: "NamespaceTerminating",
                message: format!("namespace {namespace} is being terminated"),
                field: "metadata.namespace".into(),
            }];
        }
        Err(error)
    }

    /// New custom resources need a definition that is there and stays.
    fn demand_definition(&self, world: &Snapshot) -> Result<(), StatusError> {
        let Some(definition) = self.target.kind.taught_by() else { return Ok(()) };
        match world.get(definition) {
            None => Err(target::nothing_here()),
            Some(definition) if definition.meta().is_terminating() => {
                let message = "create not allowed while custom resource definition is terminating";
                Err(StatusError::new(Reason::MethodNotAllowed, message))
            }
            Some(_) => Ok(()),
        }
    }

    fn exists(&self, object: &Object, is_generated: bool) -> StatusError {
        let mut error = StatusError::already_exists(self.target.names(), object.key().name());
        let leaving = self.door.store.snapshot();
        if is_generated {
            error.message.push_str(", the server was not able to generate a unique name for the object");
        } else if leaving.get(object.key()).is_some_and(|old| old.meta().is_terminating()) {
            error.message = format!("object is being deleted: {}", error.message);
        }
        error
    }
}

/// Whether a pod needs the account that every namespace is about to have.
fn awaits_account(wanted: &Object, world: &Snapshot) -> bool {
    let default = kinds::SERVICE_ACCOUNT.key(wanted.key().namespace(), account::DEFAULT);
    wanted.key().kind() == kinds::POD && world.get(&default).is_none() && account::name_of(wanted) == account::DEFAULT
}

fn is_generated(incoming: &Value) -> bool {
    let text = |path: &str| incoming.pointer(path).and_then(Value::as_str).unwrap_or_default();
    text("/metadata/name").is_empty() && !text("/metadata/generateName").is_empty()
}
