//! Pulls from a registry in memory.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::BoxFuture;
use http::{Response, StatusCode};
use network::{Body, full, text};
use tempfile::TempDir;

use super::*;

/// Paths and what is at them.
#[derive(Default)]
struct Shelf {
    content: Mutex<BTreeMap<String, Vec<u8>>>,
    asked: AtomicUsize,
}

impl ClusterRegistry for Arc<Shelf> {
    fn get(&self, path: String, _: &'static str) -> BoxFuture<'_, Result<Response<Body>, String>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let found = self.content.lock().expect("not poisoned").get(&path).cloned();
        let response = match found {
            Some(bytes) => Response::new(full(bytes)),
            None => text(StatusCode::NOT_FOUND, "no"),
        };
        Box::pin(std::future::ready(Ok(response)))
    }
}

impl Shelf {
    fn put(&self, path: &str, content: &[u8]) {
        self.content.lock().expect("not poisoned").insert(path.to_owned(), content.to_vec());
    }

    /// Pushes a component as the tag `hello:v1`.
    fn push(&self, component: &[u8], media_type: &str) {
        let digest = Digest::of(component);
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
                "config":{{"mediaType":"application/vnd.wasm.config.v0+json","digest":"{digest}","size":2}},
                "layers":[{{"mediaType":"{media_type}","digest":"{digest}","size":{}}}]}}"#,
            component.len()
        );
        self.put("/v2/hello/manifests/v1", manifest.as_bytes());
        self.put(&format!("/v2/hello/blobs/{digest}"), component);
    }
}

struct Bench {
    images: Images,
    shelf: Arc<Shelf>,
    _directory: TempDir,
}

fn bench() -> Bench {
    let directory = tempfile::tempdir().expect("a directory");
    let shelf = Arc::new(Shelf::default());
    let cache = Cache::open(directory.path()).expect("a cache");
    Bench { images: Images::new(cache, Arc::new(shelf.clone())), shelf, _directory: directory }
}

impl Bench {
    async fn pull(&self, image: &str, policy: &str) -> Result<(Image, Option<Duration>), String> {
        let pulled = self.images.ensure(image, Some(policy), &Credentials::default(), || {}).await;
        pulled.map_err(|error| format!("{}: {error}", error.reason()))
    }
}

#[tokio::test]
async fn a_component_is_fetched_once_and_kept_by_its_digest() {
    let bench = bench();
    bench.shelf.push(b"\0asm", "application/wasm");
    let (image, took) = bench.pull("hello:v1", "IfNotPresent").await.expect("pulled");
    assert!(took.is_some());
    assert!(image.id.starts_with("hello@sha256:") && image.size == 4);
    let digest = Digest::of(b"\0asm");
    let path = bench.images.cache().component(&digest).expect("kept");
    assert_eq!(std::fs::read(path).expect("read"), b"\0asm");
    let asked = bench.shelf.asked.load(Ordering::Relaxed);
    assert_eq!(bench.pull("hello:v1", "IfNotPresent").await, Ok((image.clone(), None)));
    assert_eq!(bench.pull("hello:v1", "Never").await, Ok((image, None)));
    assert_eq!(bench.shelf.asked.load(Ordering::Relaxed), asked);
}

#[tokio::test]
async fn a_tag_that_moved_is_seen_by_those_who_always_pull() {
    let bench = bench();
    bench.shelf.push(b"\0asm", "application/wasm");
    let (old, _) = bench.pull("hello:v1", "Always").await.expect("pulled");
    bench.shelf.push(b"\0asm2", "application/wasm");
    assert_eq!(bench.pull("hello:v1", "IfNotPresent").await, Ok((old.clone(), None)));
    let (new, _) = bench.pull("hello:v1", "Always").await.expect("pulled");
    assert_ne!(old.component, new.component);
}

#[tokio::test]
async fn what_cannot_be_had_is_explained() {
    let bench = bench();
    bench.shelf.push(b"text", "text/plain");
    let refused = |name: &'static str, policy: &'static str| bench.pull(name, policy);
    let told = refused("hello:v1", "Always").await.expect_err("refused");
    assert_eq!(told, "ErrImagePull: image \"hello:v1\" is not a wasm component: its layer is text/plain");
    let told = refused("other:v1", "Always").await.expect_err("refused");
    assert!(told.starts_with("ErrImagePull: image \"other:v1\" is not in the cluster's registry; push it"), "{told}");
    let told = refused("other:v1", "Never").await.expect_err("refused");
    assert_eq!(told, "ErrImageNeverPull: Container image \"other:v1\" is not present with pull policy of Never");
    let told = refused("Other", "Never").await.expect_err("refused");
    assert!(told.starts_with("InvalidImageName: Failed to apply default image tag \"Other\": "), "{told}");
}

#[tokio::test]
async fn bytes_of_another_digest_are_not_kept() {
    let bench = bench();
    bench.shelf.push(b"\0asm", "application/wasm");
    let digest = Digest::of(b"\0asm");
    bench.shelf.put(&format!("/v2/hello/blobs/{digest}"), b"evil");
    let told = bench.pull("hello:v1", "Always").await.expect_err("refused");
    assert!(told.contains("the digest is sha256:"), "{told}");
    assert_eq!(bench.images.cache().component(&digest), None);
}
