//! `wasi:keyvalue` 0.2.0-draft: counters without a sign, and pages of keys that go on from a number.

#[allow(missing_docs, unreachable_pub, clippy::pedantic)]
mod bindings {
    wasmtime::component::bindgen!({
        path: "wit/keyvalue",
        world: "coracle:keyvalue/guest",
        imports: { default: async | trappable },
        require_store_data_send: true,
        with: { "wasi:keyvalue/store.bucket": crate::keyvalue::Opened },
    });
}

use wasmtime::component::{Linker, Resource};

use self::bindings::wasi::keyvalue::store::{Error, KeyResponse};
use self::bindings::wasi::keyvalue::{atomics, batch, store};
use super::{BucketError, HasKeyValue, KeyValueView, Opened, page};
use crate::guest::Guest;

pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    store::add_to_linker::<_, HasKeyValue>(linker, Guest::key_value)?;
    atomics::add_to_linker::<_, HasKeyValue>(linker, Guest::key_value)?;
    batch::add_to_linker::<_, HasKeyValue>(linker, Guest::key_value)
}

type Answer<T> = wasmtime::Result<Result<T, Error>>;

fn answer<T>(done: Result<T, BucketError>) -> Answer<T> {
    Ok(done.map_err(Error::from))
}

impl From<BucketError> for Error {
    fn from(error: BucketError) -> Self {
        match error {
            BucketError::NoSuchBucket => Self::NoSuchStore,
            BucketError::Denied => Self::AccessDenied,
            BucketError::Other(why) => Self::Other(why),
        }
    }
}

impl store::Host for KeyValueView<'_> {
    async fn open(&mut self, name: String) -> Answer<Resource<Opened>> {
        match self.buckets.open(name).await {
            Ok(bucket) => Ok(Ok(self.table.push(Opened(bucket))?)),
            Err(error) => Ok(Err(error.into())),
        }
    }
}

impl store::HostBucket for KeyValueView<'_> {
    async fn get(&mut self, bucket: Resource<Opened>, key: String) -> Answer<Option<Vec<u8>>> {
        answer(self.table.get(&bucket)?.get(key).await)
    }

    async fn set(&mut self, bucket: Resource<Opened>, key: String, value: Vec<u8>) -> Answer<()> {
        answer(self.table.get(&bucket)?.0.put(key, value.into()).await)
    }

    async fn delete(&mut self, bucket: Resource<Opened>, key: String) -> Answer<()> {
        answer(self.table.get(&bucket)?.0.remove(key).await)
    }

    async fn exists(&mut self, bucket: Resource<Opened>, key: String) -> Answer<bool> {
        answer(self.table.get(&bucket)?.0.get(key).await.map(|found| found.value.is_some()))
    }

    async fn list_keys(&mut self, bucket: Resource<Opened>, cursor: Option<u64>) -> Answer<KeyResponse> {
        let keys = self.table.get(&bucket)?.0.keys().await;
        let start = cursor.unwrap_or_default();
        answer(keys.map(|keys| {
            let (keys, more) = page(keys, usize::try_from(start).unwrap_or(usize::MAX));
            KeyResponse { cursor: more.then(|| start + keys.len() as u64), keys }
        }))
    }

    async fn drop(&mut self, bucket: Resource<Opened>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl atomics::Host for KeyValueView<'_> {
    async fn increment(&mut self, bucket: Resource<Opened>, key: String, delta: u64) -> Answer<u64> {
        let next = |number: Option<u64>| number.unwrap_or_default().checked_add(delta);
        answer(self.table.get(&bucket)?.count(key, next).await)
    }
}

impl batch::Host for KeyValueView<'_> {
    async fn get_many(
        &mut self,
        bucket: Resource<Opened>,
        keys: Vec<String>,
    ) -> Answer<Vec<Option<(String, Vec<u8>)>>> {
        answer(self.table.get(&bucket)?.get_many(keys).await)
    }

    async fn set_many(&mut self, bucket: Resource<Opened>, entries: Vec<(String, Vec<u8>)>) -> Answer<()> {
        answer(self.table.get(&bucket)?.put_many(entries).await)
    }

    async fn delete_many(&mut self, bucket: Resource<Opened>, keys: Vec<String>) -> Answer<()> {
        answer(self.table.get(&bucket)?.remove_many(keys).await)
    }
}
