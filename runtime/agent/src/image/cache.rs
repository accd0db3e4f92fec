//! Components on disk, by the digest of their bytes, and what references last meant.
//!
//! ```text
//! images/sha256/<digest>                a component
//! images/references/<sha256 of name>    which component a name meant, as JSON
//! ```
//! Files come into place by renaming, so that what is there is whole; what was fetched is checked against its digest first.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use host::Digest;
use serde::{Deserialize, Serialize};

use super::beside::Shelved;

/// The directory of a node's images.
#[derive(Debug)]
pub struct Cache {
    root: PathBuf,
    drafts: AtomicU64,
}

/// What a reference means: a manifest, and the component it leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The name asked for.
    pub reference: String,
    /// `repository@sha256:…` of the manifest.
    pub id: String,
    /// The digest of the component's bytes.
    pub component: String,
    /// The size of the component.
    pub size: u64,
}

// === impl Cache ===

impl Cache {
    /// Opens the directory, making it when it is not there.
    pub fn open(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        for directory in ["sha256", "references", "drafts"] {
            std::fs::create_dir_all(root.join(directory))?;
        }
        // Drafts of a process that is gone.
        for draft in std::fs::read_dir(root.join("drafts"))? {
            std::fs::remove_file(draft?.path())?;
        }
        Ok(Self { root, drafts: AtomicU64::new(0) })
    }

    /// The components, with their sizes and when each was last used.
    pub fn components(&self) -> io::Result<Vec<(Digest, u64, SystemTime)>> {
        let mut components = Vec::new();
        for entry in std::fs::read_dir(self.root.join("sha256"))? {
            let entry = entry?;
            let (Ok(digest), metadata) = (entry.file_name().to_string_lossy().parse(), entry.metadata()?) else {
                continue;
            };
            components.push((digest, metadata.len(), metadata.modified()?));
        }
        Ok(components)
    }

    /// Notes that a component is used now.
    pub fn touch(&self, digest: &Digest) -> io::Result<()> {
        std::fs::File::open(self.path(digest))?.set_modified(SystemTime::now())
    }

    /// Lets go of a component, and of the names that meant it.
    pub fn remove(&self, digest: &Digest) -> io::Result<()> {
        match std::fs::remove_file(self.path(digest)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        for entry in std::fs::read_dir(self.root.join("references"))? {
            let path = entry?.path();
            let image: Option<Image> = serde_json::from_slice(&std::fs::read(&path)?).ok();
            if image.is_none_or(|image| image.component.parse() == Ok(*digest)) {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// The file of a component, if it is here.
    pub fn component(&self, digest: &Digest) -> Option<PathBuf> {
        let path = self.path(digest);
        path.is_file().then_some(path)
    }

    /// What a reference last meant, if the component is still here.
    pub fn known(&self, reference: &str) -> Option<Image> {
        let image: Image = serde_json::from_slice(&std::fs::read(self.note(reference)).ok()?).ok()?;
        let digest: Digest = image.component.parse().ok()?;
        (image.reference == reference && self.component(&digest).is_some()).then_some(image)
    }

    /// Notes what a reference means.
    pub fn note_meaning(&self, image: &Image) -> io::Result<()> {
        let draft = self.draft();
        std::fs::write(&draft, serde_json::to_vec(image)?)?;
        std::fs::rename(&draft, self.note(&image.reference))
    }

    /// What other nodes may have of it.
    pub(crate) fn shelf(&self) -> Shelved {
        Shelved(self.root.join("sha256"))
    }

    /// A file to write to; nobody else has it.
    pub fn draft(&self) -> PathBuf {
        let turn = self.drafts.fetch_add(1, Ordering::Relaxed);
        self.root.join("drafts").join(turn.to_string())
    }

    /// Makes a draft, whose digest has been checked, the component of that digest.
    pub fn keep(&self, draft: &Path, digest: &Digest) -> io::Result<PathBuf> {
        let path = self.path(digest);
        std::fs::rename(draft, &path)?;
        Ok(path)
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.root.join("sha256").join(digest.hex())
    }

    fn note(&self, reference: &str) -> PathBuf {
        self.root.join("references").join(Digest::of(reference.as_bytes()).hex())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meaning_lasts_as_long_as_its_component() {
        let directory = tempfile::tempdir().expect("a directory");
        let cache = Cache::open(directory.path()).expect("a cache");
        let digest = Digest::of(b"wasm");
        let image = Image {
            reference: "hello:v1".into(),
            id: "hello@sha256:00".into(),
            component: digest.to_string(),
            size: 4,
        };
        cache.note_meaning(&image).expect("noted");
        assert_eq!(cache.known("hello:v1"), None);
        let draft = cache.draft();
        std::fs::write(&draft, b"wasm").expect("written");
        let kept = cache.keep(&draft, &digest).expect("kept");
        assert_eq!(cache.known("hello:v1"), Some(image));
        assert_eq!(cache.known("hello:v2"), None);
        assert!(kept.is_file());
        cache.remove(&digest).expect("removed");
        assert_eq!(cache.known("hello:v1"), None);
        assert_eq!(std::fs::read_dir(directory.path().join("references")).expect("a directory").count(), 0);
        cache.remove(&digest).expect("removed again");
    }
}
