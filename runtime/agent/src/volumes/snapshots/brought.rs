//! An archive that is brought to this node: on its way under a name that nobody finds, and in its place once it was read.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use api::snapshots::Handle;

use super::disk::NEXT;
use crate::context::Context;
use crate::volumes::archive;

/// What is on its way. What is dropped without being kept is gone.
pub(crate) struct Brought {
    node: String,
    name: String,
    next: PathBuf,
    path: PathBuf,
}

// === impl Brought ===

impl Brought {
    /// Where an archive lies, if that is a name for one.
    pub(crate) fn path(context: &Context, name: &str) -> Option<PathBuf> {
        Handle::is_name(name).then(|| context.config.archives_dir().join(format!("{name}.tar.gz")))
    }

    /// A file for what comes.
    pub(crate) fn begin(context: &Context, name: &str) -> io::Result<(Self, File)> {
        let none = || io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is no name of an archive"));
        let path = Self::path(context, name).ok_or_else(none)?;
        let folder = context.config.archives_dir();
        std::fs::create_dir_all(&folder)?;
        let next = folder.join(format!(".{name}{NEXT}"));
        let file = File::options().write(true).create_new(true).open(&next)?;
        Ok((Self { node: context.config.node_name.clone(), name: name.to_owned(), next, path }, file))
    }

    /// Puts it in its place, if all of it can be read: what it is called from now on, and how many bytes a volume made from it has
    /// to hold.
    pub(crate) fn keep(self) -> io::Result<(Handle, u64)> {
        let file = File::open(&self.next)?;
        let bytes = archive::measure(&file)?;
        let hash = archive::hash(&mut File::open(&self.next)?)?;
        file.sync_all()?;
        std::fs::hard_link(&self.next, &self.path)?;
        if let Some(folder) = self.path.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok((Handle { node: self.node.clone(), name: self.name.clone(), hash }, bytes))
    }
}

impl Drop for Brought {
    fn drop(&mut self) {
        // It is in its place under another name, or is of no use.
        let _ = std::fs::remove_file(&self.next);
    }
}
