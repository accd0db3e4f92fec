//! Which blob of an image is the component: a pure function of its manifest.
//!
//! Read are the wasm artifact of the CNCF (a config of `application/vnd.wasm.config.v0+json` and one layer `application/wasm`),
//! single layers of the older types, and container images for a wasm platform whose one layer is a tar archive with a
//! `.wasm` in it. Anything else is refused by saying what it is.

use oci_client::manifest::{ImageIndexEntry, OciDescriptor, OciManifest};

/// The blob that holds the component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    /// Its digest, `sha256:…`.
    pub digest: String,
    /// Its size in bytes.
    pub size: u64,
    /// What it is packed in.
    pub packaging: Packaging,
}

/// How a component lies in its blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packaging {
    /// The blob is the component.
    Plain,
    /// The blob is an archive with the component in it.
    Archive(Unpack),
}

/// What an archive is compressed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unpack {
    /// Nothing.
    Tar,
    /// Gzip.
    TarGzip,
}

/// What an image leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The component.
    Component(Chosen),
    /// Another manifest, by digest.
    Manifest(String),
}

/// Why no blob of an image is a component.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotAComponent(pub String);

/// Layers that are a component, or a core module that can be made one.
const PLAIN: [&str; 4] = [
    "application/wasm",
    "application/vnd.wasm.content.layer.v1+wasm",
    "application/vnd.module.wasm.content.layer.v1+wasm",
    "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm",
];

/// Reads a manifest.
pub(super) fn choose(manifest: &[u8]) -> Result<Next, NotAComponent> {
    let manifest: OciManifest = serde_json::from_slice(manifest)
        .map_err(|error| NotAComponent(format!("its manifest cannot be read: {error}")))?;
    match manifest {
        OciManifest::Image(image) => component(&image.layers, &image.config.media_type).map(Next::Component),
        OciManifest::ImageIndex(index) => wasm_platform(&index.manifests).map(Next::Manifest),
    }
}

fn component(layers: &[OciDescriptor], config: &str) -> Result<Chosen, NotAComponent> {
    let plain: Vec<&OciDescriptor> = layers.iter().filter(|layer| PLAIN.contains(&layer.media_type.as_str())).collect();
    match plain.as_slice() {
        [layer] => return Ok(chosen(layer, Packaging::Plain)),
        [] => {}
        many => return Err(NotAComponent(format!("it has {} wasm layers, where one is meant to be", many.len()))),
    }
    match layers {
        [] => Err(NotAComponent("it has no layers".to_owned())),
        [layer] => match archive(&layer.media_type) {
            Some(unpack) => Ok(chosen(layer, Packaging::Archive(unpack))),
            None => Err(NotAComponent(format!("its layer is {}", layer.media_type))),
        },
        many if archive(&many[0].media_type).is_some() => {
            Err(NotAComponent(format!("it is a container image of {} layers", many.len())))
        }
        many => Err(NotAComponent(format!("it is {config} with {} layers, none of them wasm", many.len()))),
    }
}

fn chosen(layer: &OciDescriptor, packaging: Packaging) -> Chosen {
    Chosen { digest: layer.digest.clone(), size: u64::try_from(layer.size).unwrap_or(0), packaging }
}

fn archive(media_type: &str) -> Option<Unpack> {
    match media_type {
        "application/vnd.oci.image.layer.v1.tar" | "application/vnd.docker.image.rootfs.diff.tar" => Some(Unpack::Tar),
        "application/vnd.oci.image.layer.v1.tar+gzip" | "application/vnd.docker.image.rootfs.diff.tar.gzip" => {
            Some(Unpack::TarGzip)
        }
        _ => None,
    }
}

/// The manifest for wasm; an index with one manifest that names no platform means that one.
fn wasm_platform(entries: &[ImageIndexEntry]) -> Result<String, NotAComponent> {
    let platform = |entry: &ImageIndexEntry| entry.platform.as_ref().map(|platform| platform.architecture.to_string());
    let wasm =
        entries.iter().find(|entry| platform(entry).is_some_and(|architecture| architecture.starts_with("wasm")));
    if let Some(entry) = wasm {
        return Ok(entry.digest.clone());
    }
    if let [only] = entries
        && only.platform.is_none()
    {
        return Ok(only.digest.clone());
    }
    let platforms: Vec<String> = entries
        .iter()
        .filter_map(|entry| entry.platform.as_ref())
        .map(|platform| format!("{}/{}", platform.os, platform.architecture))
        .filter(|platform| !platform.contains("unknown"))
        .collect();
    match platforms.as_slice() {
        [] => Err(NotAComponent("it is an index without a manifest for wasm".to_owned())),
        platforms => Err(NotAComponent(format!("it is a container image for {}", platforms.join(", ")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(manifest: &str, expected: &str) {
        let found = match choose(manifest.as_bytes()) {
            Ok(Next::Component(Chosen { digest, size, packaging })) => format!("{digest} {size} {packaging:?}"),
            Ok(Next::Manifest(digest)) => format!("see {digest}"),
            Err(NotAComponent(reason)) => reason,
        };
        assert_eq!(found, expected);
    }

    fn image(config: &str, layers: &[&str]) -> String {
        let layers: Vec<String> =
            layers.iter().map(|layer| format!(r#"{{"mediaType":"{layer}","digest":"sha256:aa","size":7}}"#)).collect();
        format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
                "config":{{"mediaType":"{config}","digest":"sha256:cc","size":2}},"layers":[{}]}}"#,
            layers.join(",")
        )
    }

    const TAR: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    const CONTAINER: &str = "application/vnd.oci.image.config.v1+json";

    #[test]
    fn wasm_layers_are_found() {
        let config = "application/vnd.wasm.config.v0+json";
        check(&image(config, &["application/wasm"]), "sha256:aa 7 Plain");
        check(&image("x", &["application/vnd.wasm.content.layer.v1+wasm"]), "sha256:aa 7 Plain");
        check(&image(CONTAINER, &[TAR]), "sha256:aa 7 Archive(TarGzip)");
    }

    #[test]
    fn anything_else_is_refused_by_name() {
        check(&image(CONTAINER, &[TAR, TAR]), "it is a container image of 2 layers");
        check(&image("x", &["text/plain"]), "its layer is text/plain");
        check(&image("x", &[]), "it has no layers");
        check(&image("x", &["application/wasm", "application/wasm"]), "it has 2 wasm layers, where one is meant to be");
        check("{}", "its manifest cannot be read: data did not match any variant of untagged enum OciManifest");
    }

    #[test]
    fn an_index_leads_to_its_wasm_manifest() {
        let index = |entries: &str| {
            format!(
                r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{entries}]}}"#
            )
        };
        let entry = |os: &str, architecture: &str| {
            format!(
                r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:{architecture}","size":1,
                    "platform":{{"os":"{os}","architecture":"{architecture}"}}}}"#
            )
        };
        check(&index(&[entry("linux", "amd64"), entry("wasip1", "wasm")].join(",")), "see sha256:wasm");
        check(
            &index(&[entry("linux", "amd64"), entry("linux", "arm64")].join(",")),
            "it is a container image for linux/amd64, linux/arm64",
        );
    }
}
