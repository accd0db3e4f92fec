//! The components that a container runs as one: that of its image, and those of the `image` volumes that it mounts.
//!
//! To Kubernetes such a volume shows the files of an image, as a library would be shared. A component has no files to load a
//! library from; what it imports is its libraries. So the images that a container mounts are linked to its own, in the order of its
//! mounts, and nothing is to be seen where they are mounted.

use host::{Digest, Host, Linked, NotWasm, PrepareError, Workload};
use k8s_openapi::api::core::v1::{Container, ImageVolumeSource, Pod, VolumeMount};

use crate::image::Cache;

/// What is said when an image went before it was used.
pub(crate) const GONE: &str = "the image is not in the cache any more";

/// Images that are here, the container's own first.
pub(crate) struct Joint {
    own: (String, Digest),
    links: Vec<(String, Digest)>,
}

/// The images that a container mounts, in the order in which it does.
pub(crate) fn links<'a>(pod: &'a Pod, container: &'a Container) -> Vec<&'a ImageVolumeSource> {
    container.volume_mounts.iter().flatten().filter_map(|mount| image_of(pod, mount)).collect()
}

/// The image that a mount shows, if its volume is one.
pub(crate) fn image_of<'a>(pod: &'a Pod, mount: &VolumeMount) -> Option<&'a ImageVolumeSource> {
    let mut volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.find(|volume| volume.name == mount.name)?.image.as_ref()
}

// === impl Joint ===

impl Joint {
    /// Those of a container, if all are here.
    pub(crate) fn of(pod: &Pod, container: &Container, cache: &Cache) -> Option<Self> {
        let known = |name: &Option<String>| {
            let name = name.clone().unwrap_or_default();
            let digest = cache.known(&name)?.component.parse().ok()?;
            Some((name, digest))
        };
        let links = links(pod, container).into_iter().map(|image| known(&image.reference)).collect::<Option<_>>()?;
        Some(Self { own: known(&container.image)?, links })
    }

    /// What tells these from others.
    pub(crate) fn digest(&self) -> Digest {
        self.own.1.joint(self.links.iter().map(|(_, digest)| *digest))
    }

    /// Everything that must not be let go while it is used: each component, and what is compiled from them together.
    pub(crate) fn digests(&self) -> Vec<Digest> {
        let mut digests = vec![self.own.1];
        digests.extend(self.links.iter().map(|(_, digest)| *digest));
        if !self.links.is_empty() {
            digests.push(self.digest());
        }
        digests
    }

    /// Makes them ready to run, or says why they cannot.
    pub(crate) async fn prepare(self, host: &Host, cache: &Cache) -> Result<Workload, String> {
        let (image, digest) = &self.own;
        let link = |(name, digest): &(String, Digest)| {
            let file = cache.component(digest)?;
            Some(Linked { name: name.clone(), digest: *digest, file })
        };
        let links = self.links.iter().map(link).collect::<Option<Vec<_>>>();
        let (Some(file), Some(links)) = (cache.component(digest), links) else { return Err(GONE.to_owned()) };
        host.prepare_linked(*digest, file, links).await.map_err(|error| refusal(image, &error))
    }
}

fn refusal(image: &str, error: &PrepareError) -> String {
    match error {
        PrepareError::NotWasm(NotWasm { found }) => format!("image \"{image}\" is not a wasm component: {found}"),
        PrepareError::MissingImport { imports, linked }
            if linked.is_empty() && imports.iter().any(|name| !name.starts_with("wasi:")) =>
        {
            format!(
                "image \"{image}\" is not a wasm component that runs here: {error}; a volume of type image that the container mounts \
                 can"
            )
        }
        _ => format!("image \"{image}\" is not a wasm component that runs here: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::pod;

    #[test]
    fn images_are_linked_in_the_order_of_the_mounts() {
        let pod = pod(r#"{"containers":[{"name":"web","image":"web:v1","volumeMounts":[{"name":"b","mountPath":"/b"},
                {"name":"scratch","mountPath":"/tmp"},{"name":"a","mountPath":"/a"}]},{"name":"other","image":"web:v1"}],
              "volumes":[{"name":"a","image":{"reference":"prices:v1"}},{"name":"scratch","emptyDir":{}},
                {"name":"b","image":{"reference":"taxes:v1"}},{"name":"c","image":{"reference":"unused:v1"}}]}"#);
        let check = |place: usize, expected: &[&str]| {
            let container = &pod.spec.as_ref().expect("a spec").containers[place];
            let found: Vec<&str> =
                links(&pod, container).iter().filter_map(|image| image.reference.as_deref()).collect();
            assert_eq!(found, expected);
        };
        check(0, &["taxes:v1", "prices:v1"]);
        check(1, &[]);
    }

    #[test]
    fn what_is_used_together_is_kept_together() {
        let directory = tempfile::tempdir().expect("a directory");
        let cache = Cache::open(directory.path()).expect("a cache");
        let keep = |name: &str| {
            let (draft, digest) = (cache.draft(), Digest::of(name.as_bytes()));
            std::fs::write(&draft, name).expect("written");
            cache.keep(&draft, &digest).expect("kept");
            let image = crate::image::Image {
                reference: name.to_owned(),
                id: String::new(),
                component: digest.to_string(),
                size: 0,
            };
            cache.note_meaning(&image).expect("noted");
            digest
        };
        let pod =
            pod(r#"{"containers":[{"name":"web","image":"web:v1","volumeMounts":[{"name":"a","mountPath":"/a"}]},
                {"name":"plain","image":"web:v1"}],"volumes":[{"name":"a","image":{"reference":"prices:v1"}}]}"#);
        let joint = |place: usize| Joint::of(&pod, &pod.spec.as_ref().expect("a spec").containers[place], &cache);
        let web = keep("web:v1");
        assert!(joint(0).is_none(), "one is not here yet");
        assert_eq!(joint(1).expect("it is here").digests(), [web]);
        let prices = keep("prices:v1");
        let both = joint(0).expect("they are here");
        assert_eq!(both.digests(), [web, prices, web.joint([prices])]);
        assert_ne!(both.digest(), web);
    }
}
