//! The parts of objects: status, scale, resize, log, binding, eviction, finalize.

use api::managed::Said;
use api::{Admitted, Kind, Object, Operation, Reason, StatusError, Subresource};
use http::StatusCode;
use serde_json::{Value, json};

use super::Ask;
use super::change::{Decided, Part};
use super::delete::Deleted;
use super::managed::Managers;
use crate::answer::{self, Answer};
use crate::deletion::DeleteOptions;
use crate::negotiate::PatchType;
use crate::query::WriteOptions;
use crate::target::Place;
use crate::tokens::{self, Asking};
use crate::verb::Verb;
use crate::{body, logs, negotiate, patch, target};

// === impl Ask ===

impl Ask {
    pub(super) async fn part(self) -> Result<Answer, StatusError> {
        let Place::Part(_, part) = self.target.place else { return Err(target::nothing_here()) };
        match (part, self.verb) {
            (Subresource::Status | Subresource::Approval | Subresource::Resize, Verb::Get) => self.get().await,
            (Subresource::Status, Verb::Update) => self.put(Part::Status).await,
            (Subresource::Status, _) => self.patched(Part::Status).await,
            (Subresource::Approval, Verb::Update) => self.put(Part::Approval).await,
            (Subresource::Approval, _) => self.patched(Part::Approval).await,
            (Subresource::Resize, Verb::Update) => self.put(Part::Resize).await,
            (Subresource::Resize, _) => self.patched(Part::Resize).await,
            (Subresource::Scale, Verb::Get) => {
                let world = self.newest().await?;
                let object = world.get(&self.key()).ok_or_else(|| self.not_found())?;
                self.scale(object)
            }
            (Subresource::Scale, _) => self.rescale().await,
            (Subresource::Log, _) => {
                let world = self.newest().await?;
                let pod = world.get(&self.key()).ok_or_else(|| self.not_found())?;
                logs::proxy(&self.door.links, pod, &self.query).await
            }
            (Subresource::Binding, _) => self.bind().await,
            (Subresource::Eviction, _) => self.evict().await,
            (Subresource::EphemeralContainers, Verb::Get) => self.get().await,
            (Subresource::EphemeralContainers, _) => self.look_inside().await,
            (Subresource::Finalize, _) => self.finalize().await,
            (Subresource::Token, _) => self.token(),
            // Those become connections, before anything of them is read.
            (Subresource::PortForward | Subresource::Proxy | Subresource::Exec | Subresource::Attach, _) => {
                Err(target::nothing_here())
            }
        }
    }

    pub(super) fn scale(&self, object: &Object) -> Result<Answer, StatusError> {
        Ok(answer::value(StatusCode::OK, &self.scale_of(object)?))
    }

    fn scale_of(&self, object: &Object) -> Result<Value, StatusError> {
        let kind = &self.target.kind;
        let missing = || format!("the spec replicas field {:?} does not exist", kind.replicas_path());
        kind.scale(object).ok_or_else(|| StatusError::internal(missing()))
    }

    async fn rescale(self) -> Result<Answer, StatusError> {
        let options = self.write_options()?;
        // A scale has no lists, so the strategic patch that some clients send means the same as a merge patch.
        let patch_type = match self.verb {
            Verb::Patch => match negotiate::patch_type(self.content_type(), &*self.target.kind)? {
                PatchType::Strategic => Some(PatchType::Merge),
                PatchType::Apply => return self.applied_scale().await,
                other => Some(other),
            },
            _ => None,
        };
        let encoding = match patch_type {
            Some(_) => negotiate::Encoding::Json,
            None => negotiate::encoding(self.content_type())?,
        };
        let said = body::decode(encoding, &self.body, self.target.names().kind)?.value;
        let changed = self
            .change(options, |old| {
                let scale = match patch_type {
                    None => said.clone(),
                    Some(patch_type) => patch::apply(&*self.target.kind, patch_type, self.scale_of(old)?, &said)?,
                };
                let wanted = self.target.kind.with_scale(old, &scale)?;
                api::metadata::check_version(self.target.names(), &wanted, old)?;
                let admitted = self.admit(wanted, &[], options, Operation::Update { old })?;
                Ok(Decided { admitted, managers: Managers::Written(Said::Nothing) })
            })
            .await?;
        self.scale(&changed.object)
    }

    async fn bind(self) -> Result<Answer, StatusError> {
        let (options, said) = self.said()?;
        let node = said.pointer("/target/name").and_then(Value::as_str).unwrap_or_default().to_owned();
        if node.is_empty() {
            return Err(StatusError::bad_request("target.name: Required value"));
        }
        let now = (self.door.clock)();
        let changed = self
            .change(options, |old| {
                let mut pod = old.to_value().map_err(StatusError::internal)?;
                match pod.pointer("/spec/nodeName").and_then(Value::as_str) {
                    None | Some("") => {}
                    Some(bound) => {
                        let why = format!("pod {} is already assigned to node {bound:?}", old.key().name());
                        return Err(StatusError::conflict(self.target.names(), old.key().name(), &why));
                    }
                }
                pod["spec"]["nodeName"] = node.as_str().into();
                let scheduled = json!({
                    "type": "PodScheduled", "status": "True",
                    "lastTransitionTime": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
                });
                match pod["status"]["conditions"].as_array_mut() {
                    Some(conditions) => {
                        conditions.retain(|condition| condition["type"] != "PodScheduled");
                        conditions.push(scheduled);
                    }
                    None => pod["status"]["conditions"] = json!([scheduled]),
                }
                admitted(&*self.target.kind, &pod)
            })
            .await?;
        Ok(self.success(StatusCode::CREATED, &changed.object.meta().uid))
    }

    async fn evict(self) -> Result<Answer, StatusError> {
        let (options, said) = self.said()?;
        if said.pointer("/metadata/name").and_then(Value::as_str) != Some(self.target.name()) {
            return Err(StatusError::bad_request("name in URL does not match name in Eviction object"));
        }
        let mut deletion = DeleteOptions::of_eviction(&said)?;
        if options.dry_run {
            deletion = deletion.dry();
        }
        let (Deleted::Gone(object) | Deleted::Leaving(object)) = self.evicted(&deletion).await?;
        Ok(self.success(StatusCode::CREATED, &object.meta().uid))
    }

    /// A token for the account.
    fn token(&self) -> Result<Answer, StatusError> {
        let (_, said) = self.said()?;
        let door = &self.door;
        let world = door.store.snapshot();
        let account = world.get(&self.key()).ok_or_else(|| self.not_found())?;
        let asking = Asking { identity: &self.identity, world: &world, account, now: (door.clock)(), id: door.uid() };
        let granted = tokens::grant(&asking, said)?;
        let token = door.tokens.issuer.issue(&granted.claims).map_err(StatusError::internal)?;
        Ok(answer::value(StatusCode::CREATED, &granted.answer(&token)))
    }

    /// A pod's ephemeral containers, and nothing else of it.
    async fn look_inside(self) -> Result<Answer, StatusError> {
        let options = self.write_options()?;
        let patch_type = match self.verb {
            Verb::Patch => Some(negotiate::patch_type(self.content_type(), &*self.target.kind)?),
            _ => None,
        };
        let said = match patch_type {
            // Nobody owns a list that only grows.
            Some(PatchType::Apply) => return Err(negotiate::unsupported_patch(&*self.target.kind)),
            Some(_) => api::json::parse(&self.body).map_err(StatusError::bad_request)?.value,
            None => {
                body::decode(negotiate::encoding(self.content_type())?, &self.body, self.target.names().kind)?.value
            }
        };
        let changed = self
            .change(options, |old| {
                let wanted = match patch_type {
                    None => said.clone(),
                    Some(patch_type) => {
                        let stored = old.to_value().map_err(StatusError::internal)?;
                        patch::apply(&*self.target.kind, patch_type, stored, &said)?
                    }
                };
                api::metadata::check_version(self.target.names(), &wanted, old)?;
                let admitted = api::pod_spec::ephemeral::admit(&wanted, old)?;
                Ok(Decided { admitted, managers: Managers::Written(Said::Nothing) })
            })
            .await?;
        self.changed(&changed)
    }

    /// A namespace's `spec.finalizers`, and nothing else of it.
    async fn finalize(self) -> Result<Answer, StatusError> {
        let (options, said) = self.said()?;
        let finalizers = said.pointer("/spec/finalizers").cloned().unwrap_or_else(|| json!([]));
        if !finalizers.is_array() {
            return Err(StatusError::bad_request("spec.finalizers is not a list"));
        }
        let changed = self
            .change(options, |old| {
                api::metadata::check_version(self.target.names(), &said, old)?;
                let mut namespace = old.to_value().map_err(StatusError::internal)?;
                namespace["spec"]["finalizers"] = finalizers.clone();
                admitted(&*self.target.kind, &namespace)
            })
            .await?;
        self.changed(&changed)
    }

    fn said(&self) -> Result<(WriteOptions, Value), StatusError> {
        let options = self.write_options()?;
        let encoding = negotiate::encoding(self.content_type())?;
        let said = body::decode(encoding, &self.body, self.target.names().kind)?.value;
        if said.is_object() {
            Ok((options, said))
        } else {
            Err(StatusError::new(Reason::BadRequest, "the body is not an object"))
        }
    }
}

/// An object that was changed in a way that needs no judging.
fn admitted(kind: &dyn Kind, value: &Value) -> Result<Decided, StatusError> {
    let object = Object::from_value(kind.group_kind(), value).map_err(StatusError::internal)?;
    Ok(Decided { admitted: Admitted { object, warnings: Vec::new() }, managers: Managers::Kept })
}
