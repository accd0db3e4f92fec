//! Deletion of one object, of many, and by eviction.

use api::{Object, Revision, StatusError};
use http::StatusCode;
use state::{Snapshot, Txn};

use super::Ask;
use super::change::{ATTEMPTS_MAX, Missed};
use crate::answer::Answer;
use crate::deletion::{self, DeleteOptions, Fate};
use crate::eviction::{self, Eviction};
use crate::list::Page;
use crate::negotiate;
use crate::selection::Selection;

/// What became of an object that was to be deleted.
pub(super) enum Deleted {
    /// It is gone; this is the last that is known of it.
    Gone(Object),
    /// It stays until it is let go.
    Leaving(Object),
}

// === impl Ask ===

impl Ask {
    pub(super) async fn delete(self) -> Result<Answer, StatusError> {
        let options = self.delete_options()?;
        match self.deleted(&self.key(), &options).await? {
            Deleted::Gone(last) => Ok(self.success(StatusCode::OK, &last.meta().uid)),
            Deleted::Leaving(object) => self.present(StatusCode::OK, &object),
        }
    }

    pub(super) async fn delete_collection(self) -> Result<Answer, StatusError> {
        let options = self.delete_options()?;
        let listed = self.query.list_options()?;
        let presenter = self.presenter(listed.include)?;
        let selection = Selection::new(&self.target, &listed)?;
        let world = self.newest().await?;
        let keys: Vec<_> = selection.after(&world, ("", "")).map(|object| object.key().clone()).collect();
        let mut objects = Vec::with_capacity(keys.len());
        for key in keys {
            match self.deleted(&key, &options).await {
                Ok(Deleted::Gone(object) | Deleted::Leaving(object)) => objects.push(object),
                // Somebody else was faster, and it is gone all the same.
                Err(error) if error.code() == 404 => {}
                Err(error) => return Err(error),
            }
        }
        let revision = objects.iter().map(Object::revision).max().unwrap_or(Revision::ZERO).max(world.revision());
        let page = Page { objects, revision, continuation: None, remaining: None };
        presenter.answer(page)
    }

    pub(super) async fn deleted(&self, key: &api::Key, options: &DeleteOptions) -> Result<Deleted, StatusError> {
        self.ended(key, options, |old, _| Ok(Eviction { pod: old.clone(), budget: None })).await
    }

    /// The deletion of a pod, if its budget allows it.
    pub(super) async fn evicted(&self, options: &DeleteOptions) -> Result<Deleted, StatusError> {
        self.ended(&self.key(), options, |old, world| eviction::judge(old, world, (self.door.clock)())).await
    }

    /// Decides on the newest snapshot, proposes, and decides again while others are faster.
    async fn ended(
        &self,
        key: &api::Key,
        options: &DeleteOptions,
        judge: impl Fn(&Object, &Snapshot) -> Result<Eviction, StatusError>,
    ) -> Result<Deleted, StatusError> {
        for _ in 0..ATTEMPTS_MAX {
            let world = self.newest().await?;
            let old = world.get(key).ok_or_else(|| StatusError::not_found(self.target.names(), key.name()))?;
            self.permit(&world, Some(old), None)?;
            self.judged(&world, Some(old), None, options.is_dry_run()).await?;
            let Eviction { pod, budget } = judge(old, &world)?;
            let (txn, is_gone, object) = match deletion::decide(&*self.target.kind, &pod, options, (self.door.clock)())?
            {
                Fate::AsItWas => return Ok(Deleted::Leaving(old.clone())),
                Fate::Gone => (Txn::delete(old), true, old.clone()),
                Fate::Leaving(marked) => (Txn::replace(old, marked.clone()), false, marked.at(old.revision())),
            };
            let txn = match budget {
                Some((before, after)) => txn.and(Txn::replace(&before, after)),
                None => txn,
            };
            match self.propose(&world, txn, options.is_dry_run(), &object).await {
                Ok(object) if is_gone => return Ok(Deleted::Gone(object)),
                Ok(object) => return Ok(Deleted::Leaving(object)),
                Err(Missed::Refused(error)) => return Err(error),
                Err(Missed::Conflict(_)) => {}
            }
        }
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Err(StatusError::conflict(self.target.names(), key.name(), why))
    }

    fn delete_options(&self) -> Result<DeleteOptions, StatusError> {
        let encoding = negotiate::encoding(self.content_type())?;
        DeleteOptions::read(encoding, &self.body, &self.query)
    }
}
