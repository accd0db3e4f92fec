//! Changes of what is there: update and patch, and the one loop that carries a decision to the store.

use api::managed::Managed;
use api::{Admission, Admitted, Object, Operation, Reason, StatusError, Subresource};
use http::StatusCode;
use serde_json::Value;
use state::{Claim, Conflict, Guard, Snapshot, Txn};
use store::ProposeError;

use super::Ask;
use super::managed::Managers;
use crate::answer::{self, Answer};
use crate::negotiate::PatchType;
use crate::query::WriteOptions;
use crate::target::Place;
use crate::{body, certificates, claims, complete, deletion, negotiate, patch};

/// As Kubernetes has it: a patch that loses so many races is told so.
pub(super) const ATTEMPTS_MAX: usize = 8;

/// What became of a change.
pub(super) struct Changed {
    /// The object as it is now, or as it last was.
    pub(super) object: Object,
    /// What deserves a sentence.
    pub(super) warnings: Vec<String>,
}

/// What a change comes to.
pub(super) struct Decided {
    /// The object as it is to be.
    pub(super) admitted: Admitted,
    /// What that means for those who manage it.
    pub(super) managers: Managers,
}

/// Why a proposal came to nothing.
pub(super) enum Missed {
    /// Look again.
    Conflict(Conflict),
    /// It will not come to something.
    Refused(StatusError),
}

/// Which part of the object a write is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All but the status.
    Main,
    /// The status alone.
    Status,
    /// What was decided about a request for a certificate.
    Approval,
    /// How much the containers of a pod may have.
    Resize,
}

// === impl Ask ===

impl Ask {
    pub(super) async fn update(self) -> Result<Answer, StatusError> {
        self.put(Part::Main).await
    }

    pub(super) async fn patch(self) -> Result<Answer, StatusError> {
        self.patched(Part::Main).await
    }

    /// Replaces a part by what the body says.
    pub(super) async fn put(self, part: Part) -> Result<Answer, StatusError> {
        let options = self.write_options()?;
        let encoding = negotiate::encoding(self.content_type())?;
        let parsed = body::decode(encoding, &self.body, self.target.names().kind)?;
        if !self.target.kind.updates_blindly() {
            api::metadata::demand_version(self.target.names(), &parsed.value, self.target.name())?;
        }
        let changed = self
            .change(options, |old| {
                api::metadata::check_version(self.target.names(), &parsed.value, old)?;
                let managers = Managers::Written(Managed::said(&parsed.value));
                certificates::permit(&self.door, &self.identity, part, old)?;
                let wanted = certificates::decided(part, parsed.value.clone(), old, (self.door.clock)())?;
                let admitted = self.admit(wanted, &parsed.duplicates, options, part.of(old))?;
                Ok(Decided { admitted, managers })
            })
            .await?;
        self.changed(&changed)
    }

    /// Changes a part as the body says.
    pub(super) async fn patched(self, part: Part) -> Result<Answer, StatusError> {
        let patch_type = negotiate::patch_type(self.content_type(), &*self.target.kind)?;
        if patch_type == PatchType::Apply {
            return self.applied(part).await;
        }
        let options = self.write_options()?;
        self.query.demand_no_force()?;
        let parsed = api::json::parse(&self.body).map_err(|why| match patch_type {
            PatchType::Strategic => StatusError::bad_request(why),
            _ => StatusError::bad_request(format!("error decoding patch: {why}")),
        })?;
        let changed = self
            .change(options, |old| {
                let stored = self.target.kind.shown(old).to_value().map_err(StatusError::internal)?;
                let wanted = patch::apply(&*self.target.kind, patch_type, stored, &parsed.value)?;
                api::metadata::check_version(self.target.names(), &wanted, old)?;
                let managers = Managers::Written(Managed::said(&wanted));
                certificates::permit(&self.door, &self.identity, part, old)?;
                let wanted = certificates::decided(part, wanted, old, (self.door.clock)())?;
                let admitted = self.admit(wanted.clone(), &parsed.duplicates, options, part.of(old));
                let blamed = |error| api::blame_patch(error, &String::from_utf8_lossy(&self.body), &wanted.to_string());
                Ok(Decided { admitted: admitted.map_err(blamed)?, managers })
            })
            .await?;
        self.changed(&changed)
    }

    /// Decides on the newest snapshot, proposes, and decides again while others are faster.
    pub(super) async fn change(
        &self,
        options: WriteOptions,
        decide: impl Fn(&Object) -> Result<Decided, StatusError>,
    ) -> Result<Changed, StatusError> {
        let key = self.key();
        for _ in 0..ATTEMPTS_MAX {
            let world = self.newest().await?;
            let old = world.get(&key).ok_or_else(|| self.not_found())?;
            let Decided { admitted, managers } = decide(old)?;
            let admitted = match Part::at(&self.target.place) {
                Some(part) => self.remade(&world, None, Ok(admitted), part.of(old), options).await?,
                None => admitted,
            };
            let Admitted { object: wanted, mut warnings } = admitted;
            let object = complete::complete(wanted.clone(), Some(old), &world, self.door.chance(), self.door.outages)?;
            let object = self.managed(Some(old), &wanted, object, managers)?;
            self.permit(&world, Some(old), Some(&object))?;
            warnings.extend(self.judged(&world, Some(old), Some(&object), options.dry_run).await?);
            let object = object.settled();
            let asked = Claim::of(&wanted);
            drop(wanted);
            if object.body() == old.body() {
                return Ok(Changed { object: old.clone(), warnings });
            }
            let txn = if deletion::is_over(&object) { Txn::delete(old) } else { Txn::replace(old, object.clone()) };
            let txn = guarded(txn, claims::guards(&object, Some(old)));
            let object = object.at(old.revision());
            match self.propose_charged(&world, txn, options.dry_run, (Some(old), &object)).await {
                Ok(object) => return Ok(Changed { object, warnings }),
                Err(Missed::Refused(error)) => return Err(error),
                Err(Missed::Conflict(Conflict::Taken { claim, .. })) if asked.contains(&claim) => {
                    return Err(claims::taken(&object, &claim));
                }
                Err(Missed::Conflict(_)) => {}
            }
        }
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Err(StatusError::conflict(self.target.names(), key.name(), why))
    }

    /// Makes a transaction happen, or only finds out whether it would. What comes back is `object` as it is then.
    pub(super) async fn propose(
        &self,
        world: &Snapshot,
        txn: Txn,
        dry_run: bool,
        object: &Object,
    ) -> Result<Object, Missed> {
        if dry_run {
            return world.apply(&txn).map(|_| object.clone()).map_err(Missed::Conflict);
        }
        match self.door.store.propose(txn).await {
            Ok(committed) => {
                let of_object = committed.events.iter().rev().find(|event| event.key() == object.key());
                Ok(of_object.map_or_else(|| object.clone(), |event| event.latest().clone()))
            }
            Err(ProposeError::Conflict(conflict)) => Err(Missed::Conflict(conflict)),
            Err(error) => Err(Missed::Refused(StatusError::new(Reason::ServiceUnavailable, error.to_string()))),
        }
    }

    pub(super) fn admit(
        &self,
        incoming: Value,
        duplicates: &[String],
        options: WriteOptions,
        operation: Operation<'_>,
    ) -> Result<Admitted, StatusError> {
        let admission = Admission {
            operation,
            namespace: &self.target.namespace,
            validation: options.validation,
            duplicates,
            now: (self.door.clock)(),
        };
        self.target.kind.admit(incoming, &admission)
    }

    pub(super) fn changed(&self, changed: &Changed) -> Result<Answer, StatusError> {
        let answer = self.present(StatusCode::OK, &changed.object)?;
        Ok(answer::with_warnings(answer, &changed.warnings))
    }
}

/// The transaction, if these hold too.
pub(super) fn guarded(txn: Txn, guards: Vec<Guard>) -> Txn {
    guards.into_iter().fold(txn, Txn::guard)
}

// === impl Part ===

impl Part {
    /// The part that is written at a place, if what is written there is the object itself.
    fn at(place: &Place) -> Option<Self> {
        match place {
            Place::Object(_) => Some(Self::Main),
            Place::Part(_, Subresource::Status) => Some(Self::Status),
            Place::Part(_, Subresource::Resize) => Some(Self::Resize),
            _ => None,
        }
    }

    pub(super) fn of(self, old: &Object) -> Operation<'_> {
        match self {
            Self::Main => Operation::Update { old },
            Self::Status | Self::Approval => Operation::UpdateStatus { old },
            Self::Resize => Operation::Resize { old },
        }
    }
}
