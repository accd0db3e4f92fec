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
async fn a_manifest_is_found_by_tag_and_digest() {
    let (directory, images) = images().await;
    let repository: Repository = "demo/hello".parse().expect("a name");
    let tag: Reference = "v1".parse().expect("a tag");
    let layer = push(&images, 1, &["wasm"]).await;
    let manifest = json!({"schemaVersion": 2, "layers": [{"digest": layer.as_str()}]}).to_string();

    let digest = images.put_manifest(&repository, &tag, Some("a/b"), manifest.as_bytes()).await.expect("complete");
    let by_tag = images.manifest(&repository, &tag).await.expect("tagged");
    assert_eq!((by_tag.media_type.as_str(), by_tag.bytes.as_ref()), ("a/b", manifest.as_bytes()));
    let by_digest = images.manifest(&repository, &Reference::Digest(digest)).await.expect("kept");
    assert_eq!(by_digest.digest, by_tag.digest);
    assert_eq!(images.tags(&repository).await.expect("known"), ["v1"]);

    let again = Images::open(directory.path().into()).await.expect("the same registry");
    assert_eq!(again.repositories().await.expect("listed"), ["demo/hello"]);
    assert!(again.manifest(&repository, &tag).await.is_ok());
}

#[tokio::test]
async fn a_manifest_without_its_blobs_is_refused() {
    let (_directory, images) = images().await;
    let repository: Repository = "hello".parse().expect("a name");
    let tag: Reference = "v1".parse().expect("a tag");
    let manifest = json!({"layers": [{"digest": Digest::of(b"never pushed").as_str()}]}).to_string();
    let refused = images.put_manifest(&repository, &tag, None, manifest.as_bytes()).await;
    assert!(matches!(refused, Err(RegistryError::MissingBlob(_))));
    assert!(matches!(images.manifest(&repository, &tag).await, Err(RegistryError::NoManifest(_))));
    assert!(matches!(images.tags(&repository).await, Err(RegistryError::NoRepository(_))));
}
