//! What a pod's components keep by `wasi:keyvalue`: the buckets of the pod's namespace, through the API as the node.
//!
//! A bucket is opened by its name, and nothing here decides who may: the API lets a node at the buckets of those namespaces of which
//! it has a pod, and a pod is given those of its own alone. Every answer is the cluster's newest, so what one pod has put the next
//! one gets, wherever it runs; a swap carries the version that was found, and the store refuses it when that is not the newest.
//!
//! An entry belongs to one bucket by its uid: what an earlier bucket of the name has left is not seen, and is replaced.

use std::sync::Arc;

use api::keyvalue::{self, KEY_ANNOTATION, KEY_BYTES_MAX, VALUE_BYTES_MAX, entry_name};
use api::rules::NameRule;
use api::{Key, Object, Revision, catalog, kinds};
use bytes::Bytes;
use client::{Client, ClientError, DeleteOptions};
use host::{Asking, Bucket, BucketError, Buckets, Found, Version};
use http::{Request, header};
use http_body_util::BodyExt;
use k8s_openapi::ByteString;
use serde::Deserialize;
use serde_json::json;
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

/// The buckets of one namespace.
#[derive(Clone)]
pub(crate) struct PodBuckets {
    client: Client,
    namespace: Arc<str>,
    /// Where requests are sent from: the guests' threads are for guests.
    runtime: Handle,
}

/// One of them.
#[derive(Clone)]
struct PodBucket {
    buckets: PodBuckets,
    name: Arc<str>,
    uid: Arc<str>,
}

/// Keys asked for at a time.
const PAGE: usize = 1_000;
/// Others may make and take away an entry while it is put; so often in a row they do not.
const ATTEMPTS_MAX: usize = 16;
const METADATA: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

type Result<T> = std::result::Result<T, BucketError>;

// === impl PodBuckets ===

impl PodBuckets {
    /// To be called where requests may be sent from.
    pub(crate) fn of(client: Client, namespace: &str) -> Self {
        Self { client, namespace: namespace.into(), runtime: Handle::current() }
    }

    fn asking<T: Send + 'static>(&self, work: impl Future<Output = Result<T>> + Send + 'static) -> Asking<T> {
        let task = AbortOnDropHandle::new(self.runtime.spawn(work));
        Box::pin(async move { task.await.unwrap_or_else(|error| Err(BucketError::Other(error.to_string()))) })
    }
}

impl Buckets for PodBuckets {
    fn open(&self, name: String) -> Asking<Arc<dyn Bucket>> {
        let buckets = self.clone();
        self.asking(async move {
            if !NameRule::Label.problems(&name).is_empty() {
                return Err(BucketError::NoSuchBucket);
            }
            let bucket = buckets.client.get(&kinds::BUCKET.key(&buckets.namespace, &name)).await.map_err(told)?;
            let uid = bucket.meta().uid.clone();
            Ok(Arc::new(PodBucket { buckets, name: name.into(), uid }) as Arc<dyn Bucket>)
        })
    }
}

// === impl PodBucket ===

impl Bucket for PodBucket {
    fn get(&self, key: String) -> Asking<Found> {
        let bucket = self.clone();
        self.buckets.asking(async move {
            let object = match bucket.client().get(&bucket.key(&key)?).await {
                Ok(object) => object,
                Err(error) if error.code() == Some(404) => return Ok(Found { value: None, version: Version(None) }),
                Err(error) => return Err(told(error)),
            };
            let version = Version(Some(object.revision().0));
            if !object.meta().owner_references.iter().any(|owner| owner.uid == bucket.uid) {
                return Ok(Found { value: None, version });
            }
            let entry = object.decode::<keyvalue::BucketEntry>();
            let value = entry.map_err(|error| BucketError::Other(error.to_string()))?.value.0.clone();
            Ok(Found { value: Some(value.into()), version })
        })
    }

    fn put(&self, key: String, value: Bytes) -> Asking<()> {
        let bucket = self.clone();
        self.buckets.asking(async move {
            let entry = bucket.entry(&key, &value)?;
            for _ in 0..ATTEMPTS_MAX {
                match bucket.client().replace(&entry).await {
                    Err(error) if error.code() == Some(404) => {}
                    done => return done.map(drop).map_err(told),
                }
                match bucket.client().create(&entry).await {
                    Err(error) if error.code() == Some(409) => {}
                    done => return done.map(drop).map_err(told),
                }
            }
            Err(BucketError::Other("others were faster each time".to_owned()))
        })
    }

    fn swap(&self, key: String, found: Version, value: Bytes) -> Asking<bool> {
        let bucket = self.clone();
        self.buckets.asking(async move {
            let entry = bucket.entry(&key, &value)?;
            let done = match found.0 {
                Some(revision) => bucket.client().replace(&entry.at(Revision(revision))).await,
                None => bucket.client().create(&entry).await,
            };
            match done {
                Ok(_) => Ok(true),
                Err(error) if error.code() == Some(409) => Ok(false),
                Err(error) if error.code() == Some(404) && found.0.is_some() => Ok(false),
                Err(error) => Err(told(error)),
            }
        })
    }

    fn remove(&self, key: String) -> Asking<()> {
        let bucket = self.clone();
        self.buckets.asking(async move {
            match bucket.client().delete(&bucket.key(&key)?, &DeleteOptions::default()).await {
                Err(error) if error.code() != Some(404) => Err(told(error)),
                _ => Ok(()),
            }
        })
    }

    fn keys(&self) -> Asking<Vec<String>> {
        let bucket = self.clone();
        self.buckets.asking(async move {
            let mut keys = Vec::new();
            let mut next = None;
            loop {
                let page = bucket.page(next.as_deref()).await?;
                keys.extend(page.items.into_iter().filter_map(|item| item.metadata.key_in(&bucket.uid)));
                match page.metadata.r#continue.filter(|token| !token.is_empty()) {
                    Some(token) => next = Some(token),
                    None => break,
                }
            }
            keys.sort_unstable();
            Ok(keys)
        })
    }
}

impl PodBucket {
    fn client(&self) -> &Client {
        &self.buckets.client
    }

    fn key(&self, key: &str) -> Result<Key> {
        if key.len() > KEY_BYTES_MAX {
            return Err(BucketError::Other(format!("a key has no more than {KEY_BYTES_MAX} bytes")));
        }
        Ok(kinds::BUCKET_ENTRY.key(&self.buckets.namespace, &entry_name(&self.name, key)))
    }

    fn entry(&self, key: &str, value: &Bytes) -> Result<Object> {
        if value.len() > VALUE_BYTES_MAX {
            return Err(BucketError::Other(format!("a value has no more than {VALUE_BYTES_MAX} bytes")));
        }
        let place = self.key(key)?;
        let value = json!({
            "apiVersion": keyvalue::VERSION, "kind": kinds::BUCKET_ENTRY.kind,
            "metadata": {"namespace": place.namespace(), "name": place.name()},
            "bucket": &*self.name, "key": key, "value": ByteString(value.to_vec()),
        });
        Object::from_value(kinds::BUCKET_ENTRY, &value).map_err(|error| BucketError::Other(error.to_string()))
    }

    /// Some of the entries, without their values.
    async fn page(&self, token: Option<&str>) -> Result<Page> {
        let other = |why: String| BucketError::Other(why);
        let names = catalog::by_kind(kinds::BUCKET_ENTRY).ok_or_else(|| other("entries are not known".into()))?.names();
        let selector = format!("{}={}", keyvalue::BUCKET_LABEL, self.name);
        let limit = PAGE.to_string();
        let mut parameters = vec![("labelSelector", selector.as_str()), ("limit", &limit)];
        parameters.extend(token.map(|token| ("continue", token)));
        let path = client::collection_path(names, Some(&self.buckets.namespace), &parameters);
        let request = Request::get(path).header(header::ACCEPT, METADATA).body(client::no_body());
        let answer = self.client().request(request.map_err(|error| other(error.to_string()))?).await.map_err(told)?;
        let status = answer.status();
        let bytes = answer.into_body().collect().await.map_err(|error| other(error.to_string()))?.to_bytes();
        match status.as_u16() {
            200 => serde_json::from_slice(&bytes).map_err(|error| other(error.to_string())),
            403 => Err(BucketError::Denied),
            410 => Err(other("the bucket changed too much while its keys were listed".into())),
            code => Err(other(format!("the keys could not be listed: status {code}"))),
        }
    }
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: PageMeta,
    items: Vec<Item>,
}

#[derive(Default, Deserialize)]
struct PageMeta {
    #[serde(default)]
    r#continue: Option<String>,
}

#[derive(Deserialize)]
struct Item {
    metadata: ItemMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ItemMeta {
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    owner_references: Vec<api::Owner>,
}

impl ItemMeta {
    fn key_in(mut self, bucket: &str) -> Option<String> {
        self.owner_references
            .iter()
            .any(|owner| *owner.uid == *bucket)
            .then(|| self.annotations.remove(KEY_ANNOTATION))?
    }
}

fn told(error: ClientError) -> BucketError {
    match error.code() {
        Some(403) => BucketError::Denied,
        // Of an entry that is not there nobody is told; so it is the bucket, or the namespace.
        Some(404) => BucketError::NoSuchBucket,
        _ => BucketError::Other(error.to_string()),
    }
}
