//! Components on their way into the cluster's registry.
//!
//! Layout: the wasm OCI artifact of CNCF TAG Runtime, a config of type `application/vnd.wasm.config.v0+json` and one layer of
//! type `application/wasm`; protocol: the OCI distribution specification. The manifest holds no time, so that the same
//! component always has the same digest.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use bytes::Bytes;
use client::{Client, ClientError};
use http::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::manifests::Manifest;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.wasm.config.v0+json";
const LAYER: &str = "application/wasm";

/// Pushes a file and gives the image's digest.
pub(crate) async fn push(client: &Client, file: &Path, repository: &str, tag: &str) -> anyhow::Result<String> {
    let component = std::fs::read(file).with_context(|| format!("cannot read the component {}", file.display()))?;
    if !component.starts_with(b"\0asm") {
        bail!("{} is not WebAssembly: it does not begin with the bytes `\\0asm`", file.display());
    }
    // A component's header differs from a core module's in its layer field (component model, binary format).
    let os = if component.get(6) == Some(&1) { "wasip2" } else { "wasip1" };
    let layer = digest(&component);
    let config = json!({"architecture": "wasm", "os": os, "layerDigests": [layer]}).to_string();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": CONFIG,
        "config": {"mediaType": CONFIG, "digest": digest(config.as_bytes()), "size": config.len()},
        "layers": [{"mediaType": LAYER, "digest": layer, "size": component.len()}],
    })
    .to_string();
    let manifest_digest = digest(manifest.as_bytes());
    let pushed = async {
        blob(client, repository, component.into()).await?;
        blob(client, repository, config.into()).await?;
        let path = format!("/v2/{repository}/manifests/{tag}");
        client.send(Method::PUT, &path, Some(MANIFEST), manifest).await
    };
    pushed.await.with_context(|| format!("cannot push {} as {repository}", file.display()))?;
    Ok(manifest_digest)
}

async fn blob(client: &Client, repository: &str, content: Bytes) -> Result<(), ClientError> {
    let digest = digest(&content);
    match client.send(Method::HEAD, &format!("/v2/{repository}/blobs/{digest}"), None, "").await {
        Ok(_) => return Ok(()),
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error),
    }
    let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
    client.send(Method::POST, &path, Some("application/octet-stream"), content).await.map(drop)
}

fn digest(content: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(content)))
}

/// Pushes the local components that manifests name, and puts their digests in their places. Gives what was pushed.
pub(crate) async fn push_local(client: &Client, manifests: &mut [Manifest]) -> anyhow::Result<Vec<String>> {
    let mut pushed = Vec::new();
    for manifest in manifests {
        let folder = manifest.source.parent().unwrap_or(Path::new("")).to_owned();
        for image in images(&mut manifest.object) {
            let Some(file) = local(image, &folder) else { continue };
            let Some(repository) = image.as_str().and_then(api::image::local_repository) else {
                bail!("{} has no name that a repository could have", file.display());
            };
            // The tag is for those who apply the same manifest with another client, which pushes nothing.
            let digest = push(client, &file, &repository, "latest").await?;
            *image = format!("{repository}@{digest}").into();
            pushed.push(file.display().to_string());
        }
    }
    pushed.sort();
    pushed.dedup();
    Ok(pushed)
}

/// The file that an image names, when it names a file: `./x.wasm`, `../x.wasm`, `/x.wasm`.
fn local(image: &Value, folder: &Path) -> Option<PathBuf> {
    let image = image.as_str()?;
    let is_path = image.starts_with("./") || image.starts_with("../") || image.starts_with('/');
    is_path.then(|| folder.join(image.trim_start_matches("./")))
}

/// Every `image` of every container and volume in a manifest of any workload kind.
fn images(object: &mut Value) -> Vec<&mut Value> {
    match object {
        Value::Object(members) => members
            .iter_mut()
            .flat_map(|(name, member)| match (name.as_str(), member) {
                ("containers" | "initContainers" | "ephemeralContainers", Value::Array(containers)) => {
                    containers.iter_mut().filter_map(|container| container.get_mut("image")).collect()
                }
                ("volumes", Value::Array(volumes)) => {
                    volumes.iter_mut().filter_map(|volume| volume.pointer_mut("/image/reference")).collect()
                }
                ("spec" | "template" | "jobTemplate", member) => images(member),
                _ => Vec::new(),
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// `NAME:TAG` taken apart; `latest` where no tag is given.
pub(crate) fn name_and_tag(name: &str) -> anyhow::Result<(&str, &str)> {
    let (repository, tag) = match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (name, "latest"),
    };
    let plain = |text: &str| {
        !text.is_empty() && text.chars().all(|letter| letter.is_ascii_alphanumeric() || "._-/".contains(letter))
    };
    if !plain(repository) || !plain(tag) || repository.contains("//") || tag.contains('/') {
        bail!("{name:?} is not NAME:TAG; letters, digits and . _ - / make a name");
    }
    Ok((repository, tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_found_in_pods_and_templates() {
        let mut object = json!({"spec": {"template": {"spec": {
            "containers": [{"image": "./a.wasm"}, {"image": "b:v1"}], "initContainers": [{"image": "../c.wasm"}],
            "volumes": [{"name": "d", "image": {"reference": "./d.wasm"}}, {"name": "e", "emptyDir": {}}]}}}});
        let found: Vec<Option<PathBuf>> =
            images(&mut object).into_iter().map(|image| local(image, Path::new("d"))).collect();
        assert_eq!(found, [Some("d/a.wasm".into()), None, Some("d/../c.wasm".into()), Some("d/d.wasm".into())]);
    }

    #[test]
    fn names_have_tags() {
        assert_eq!(name_and_tag("hello:v1").expect("fine"), ("hello", "v1"));
        assert_eq!(name_and_tag("shop/web").expect("fine"), ("shop/web", "latest"));
        assert!(name_and_tag("hello world:v1").is_err());
    }
}
