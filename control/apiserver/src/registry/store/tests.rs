use futures::stream;
use serde_json::json;

use super::*;

async fn images() -> (tempfile::TempDir, Images) {
    let directory = tempfile::tempdir().expect("a directory");
    let images = Images::open(directory.path().into()).await.expect("an empty registry");
    (directory, images)
}

fn chunks(parts: &[&'static str]) -> impl Stream<Item = Result<Bytes, RegistryError>> {
    stream::iter(parts.iter().map(|part| Ok(Bytes::from(*part))).collect::<Vec<_>>())
}

async fn push(images: &Images, id: u128, parts: &[&'static str]) -> Digest {
    let id = UploadId::new(id);
    let digest = Digest::of(parts.concat().as_bytes());
    images.begin(&id).await.expect("a new upload");
    images.append(&id, None, chunks(parts)).await.expect("room");
    images.finish(&id, &digest).await.expect("the right digest");
    digest
}

#[tokio::test]
async fn a_blob_is_there_once_its_digest_is_proved() {
    let (_directory, images) = images().await;
    let digest = push(&images, 1, &["hel", "lo"]).await;
    let blob = images.blob(&digest).await.expect("pushed");
    assert_eq!(blob.size, 5);
    let mut text = String::new();
    blob.read(1, 3).await.expect("readable").read_to_string(&mut text).await.expect("text");
    assert_eq!(text, "ell");

    let wrong = UploadId::new(2);
    images.begin(&wrong).await.expect("a new upload");
    images.append(&wrong, Some(0), chunks(&["hallo"])).await.expect("room");
    assert!(matches!(images.finish(&wrong, &digest).await, Err(RegistryError::OtherDigest { .. })));
    assert!(matches!(images.upload_size(&wrong).await, Err(RegistryError::NoUpload(_))));
}

#[tokio::test]
async fn chunks_come_in_order() {
    let (_directory, images) = images().await;
    let id = UploadId::new(1);
    images.begin(&id).await.expect("a new upload");
    assert_eq!(images.append(&id, Some(0), chunks(&["abc"])).await.expect("room"), 3);
    let refused = images.append(&id, Some(5), chunks(&["x"])).await;
    assert!(matches!(refused, Err(RegistryError::OutOfOrder { start: 5, size: 3 })));
    assert_eq!(images.append(&id, Some(3), chunks(&["def"])).await.expect("room"), 6);
}

#[tokio::test]
async fn labels_of_before_are_found_until_they_are_forgotten() {
    let (directory, images) = images().await;
    assert!(images.labels().await.expect("none").is_empty());
    let layer = push(&images, 1, &["wasm"]).await;
    let manifest = json!({"schemaVersion": 2, "layers": [{"digest": layer.as_str()}]}).to_string();
    let digest = Digest::of(manifest.as_bytes());
    let tag: Reference = "v1".parse().expect("a tag");
    assert_eq!(images.put_manifest(&tag, &[layer], manifest.as_bytes()).await.expect("complete"), digest);
    let place = directory.path().join("repositories/demo/hello");
    for (folder, name, text) in [("_tags", "v1", digest.as_str()), ("_manifests", digest.hex(), "a/b")] {
        std::fs::create_dir_all(place.join(folder)).expect("a folder");
        std::fs::write(place.join(folder).join(name), text).expect("written");
    }
    let labels = images.labels().await.expect("two");
    assert_eq!(labels.len(), 2, "{labels:?}");
    for (repository, reference) in labels {
        assert_eq!(repository.as_str(), "demo/hello");
        let found = images.labelled(&repository, &reference).await.expect("it is there");
        assert_eq!((found.digest, found.media_type.as_str()), (digest.clone(), "a/b"));
        assert_eq!(found.bytes, manifest);
        assert_eq!(Said::read(&found.bytes).expect("a manifest").blobs().expect("digests").len(), 1);
    }
    images.forget_labels().await.expect("removed");
    assert!(images.labels().await.expect("none").is_empty());
    assert!(images.has(&digest).await.expect("readable"), "content stays");
}

#[tokio::test]
async fn a_manifest_without_its_blobs_is_refused() {
    let (_directory, images) = images().await;
    let tag: Reference = "v1".parse().expect("a tag");
    let refused = images.put_manifest(&tag, &[Digest::of(b"never pushed")], b"{}").await;
    assert!(matches!(refused, Err(RegistryError::MissingBlob(_))));
    assert!(!images.has(&Digest::of(b"{}")).await.expect("readable"));
}
