//! The kinds that a server was taught: asked for when somebody speaks of one that is not in the catalog.

use std::sync::{Arc, PoisonError};

use api::{GroupKind, Key, Kinds, Names, catalog, kinds};

use crate::requests::ListOptions;
use crate::{Client, ClientError, path};

// === impl Client ===

impl Client {
    /// All kinds that the server serves now.
    pub async fn kinds(&self) -> Result<Arc<Kinds>, ClientError> {
        let definitions =
            Box::pin(self.list(kinds::CUSTOM_RESOURCE_DEFINITION, None, &ListOptions::default())).await?.0;
        let mut learned = self.learned.write().unwrap_or_else(PoisonError::into_inner);
        *learned = Arc::new(learned.after(definitions.iter()));
        Ok(learned.clone())
    }

    /// What a kind is called.
    pub async fn names(&self, kind: GroupKind) -> Result<&'static Names, ClientError> {
        if let Some(known) = catalog::by_kind(kind) {
            return Ok(known.names());
        }
        let learned = self.learned.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = learned.by_kind(kind) {
            return Ok(known.names());
        }
        let kinds = self.kinds().await?;
        kinds.by_kind(kind).map(|kind| kind.names()).ok_or(ClientError::UnknownKind(kind))
    }

    /// The path of one object, or of a part of it.
    pub(crate) async fn path(&self, key: &Key, subresource: Option<&str>) -> Result<String, ClientError> {
        Ok(path::object(key, self.names(key.kind()).await?, subresource))
    }
}
