//! `wasi:filesystem` 0.2: wasmtime's, asked for room where files grow.

use std::sync::Arc;

use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    self, Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, DirectoryEntryStream, ErrorCode,
    Filesize, Host, HostDescriptor, HostDirectoryEntryStream, MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult};

use super::FilesView;
use super::output::{Growth, Limited};

impl preopens::Host for FilesView<'_> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        self.preopened()
    }
}

impl Host for FilesView<'_> {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<ErrorCode> {
        self.wasi().convert_error_code(error)
    }

    fn filesystem_error_code(&mut self, error: Resource<wasmtime::Error>) -> wasmtime::Result<Option<ErrorCode>> {
        self.wasi().filesystem_error_code(error)
    }
}

impl FilesView<'_> {
    /// The stream, limited if the file is.
    fn limited(
        &mut self,
        fd: &Resource<Descriptor>,
        at: Option<u64>,
        stream: Resource<DynOutputStream>,
    ) -> FsResult<Resource<DynOutputStream>> {
        let Some(quota) = self.quota(fd) else { return Ok(stream) };
        let Descriptor::File(file) = self.table().get(fd)? else { return Ok(stream) };
        let growth = Growth::new(file.file.clone(), quota, at);
        let stream = self.table().delete(stream)?;
        let limited: DynOutputStream = Box::new(Limited { stream, growth });
        Ok(self.table().push(limited)?)
    }
}

impl FilesView<'_> {
    /// Waits until what is on the disk is kept elsewhere, too.
    async fn keep(what: Option<(super::Quota, Option<Arc<std::fs::File>>)>) -> FsResult<()> {
        match what {
            Some((quota, file)) => Ok(quota.kept(file).await?),
            None => Ok(()),
        }
    }
}

impl HostDescriptor for FilesView<'_> {
    fn write_via_stream(&mut self, fd: Resource<Descriptor>, at: Filesize) -> FsResult<Resource<DynOutputStream>> {
        let own = Resource::new_borrow(fd.rep());
        let stream = self.wasi().write_via_stream(fd, at)?;
        self.limited(&own, Some(at), stream)
    }

    fn append_via_stream(&mut self, fd: Resource<Descriptor>) -> FsResult<Resource<DynOutputStream>> {
        let own = Resource::new_borrow(fd.rep());
        let stream = self.wasi().append_via_stream(fd)?;
        self.limited(&own, None, stream)
    }

    async fn write(&mut self, fd: Resource<Descriptor>, bytes: Vec<u8>, at: Filesize) -> FsResult<Filesize> {
        if let Some(quota) = self.quota(&fd)
            && let Descriptor::File(file) = self.table().get(&fd)?
        {
            Growth::new(file.file.clone(), quota, Some(at)).take(bytes.len() as u64)?;
        }
        self.wasi().write(fd, bytes, at).await
    }

    async fn set_size(&mut self, fd: Resource<Descriptor>, size: Filesize) -> FsResult<()> {
        self.grow_to(&fd, size)?;
        self.wasi().set_size(fd, size).await
    }

    async fn open_at(
        &mut self,
        fd: Resource<Descriptor>,
        how: PathFlags,
        path: String,
        open: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Resource<Descriptor>> {
        let quota = self.quota(&fd);
        if let Some(quota) = quota.as_ref().filter(|_| open.contains(OpenFlags::TRUNCATE)) {
            quota.taken_away();
        }
        if open.contains(OpenFlags::CREATE) {
            self.make_in(&fd)?;
            // It may be there already.
            quota.as_ref().inspect(|quota| quota.taken_away());
        }
        // There is no word for too many open files; the C library of guests calls this one ENOMEM.
        self.begin_open().map_err(|_| ErrorCode::InsufficientMemory)?;
        let opened = self.wasi().open_at(fd, how, path, open, flags).await;
        self.end_open(quota, opened)
    }

    fn drop(&mut self, fd: Resource<Descriptor>) -> wasmtime::Result<()> {
        self.forget(&fd);
        HostDescriptor::drop(&mut self.wasi(), fd)
    }

    async fn unlink_file_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<()> {
        let quota = self.quota(&fd);
        self.wasi().unlink_file_at(fd, path).await?;
        quota.inspect(super::Quota::taken_away);
        Ok(())
    }

    /// A file may be renamed over another, or out of a mount.
    async fn rename_at(
        &mut self,
        fd: Resource<Descriptor>,
        path: String,
        to: Resource<Descriptor>,
        to_path: String,
    ) -> FsResult<()> {
        let quotas = [self.quota(&fd), self.quota(&to)];
        if quotas[0] != quotas[1] {
            // What is counted elsewhere cannot come in uncounted.
            return Err(ErrorCode::CrossDevice.into());
        }
        self.wasi().rename_at(fd, path, to, to_path).await?;
        quotas.iter().flatten().for_each(super::Quota::taken_away);
        Ok(())
    }

    async fn link_at(
        &mut self,
        fd: Resource<Descriptor>,
        how: PathFlags,
        path: String,
        to: Resource<Descriptor>,
        to_path: String,
    ) -> FsResult<()> {
        if self.quota(&fd) != self.quota(&to) {
            return Err(ErrorCode::CrossDevice.into());
        }
        self.make_in(&to)?;
        self.wasi().link_at(fd, how, path, to, to_path).await
    }

    fn read_via_stream(&mut self, fd: Resource<Descriptor>, at: Filesize) -> FsResult<Resource<DynInputStream>> {
        self.wasi().read_via_stream(fd, at)
    }

    async fn advise(
        &mut self,
        fd: Resource<Descriptor>,
        at: Filesize,
        length: Filesize,
        advice: Advice,
    ) -> FsResult<()> {
        self.wasi().advise(fd, at, length, advice).await
    }

    async fn sync_data(&mut self, fd: Resource<Descriptor>) -> FsResult<()> {
        let kept = self.kept(&fd);
        self.wasi().sync_data(fd).await?;
        Self::keep(kept).await
    }

    async fn get_flags(&mut self, fd: Resource<Descriptor>) -> FsResult<DescriptorFlags> {
        self.wasi().get_flags(fd).await
    }

    async fn get_type(&mut self, fd: Resource<Descriptor>) -> FsResult<DescriptorType> {
        self.wasi().get_type(fd).await
    }

    async fn set_times(&mut self, fd: Resource<Descriptor>, read: NewTimestamp, written: NewTimestamp) -> FsResult<()> {
        self.wasi().set_times(fd, read, written).await
    }

    async fn read(&mut self, fd: Resource<Descriptor>, length: Filesize, at: Filesize) -> FsResult<(Vec<u8>, bool)> {
        self.wasi().read(fd, length, at).await
    }

    async fn read_directory(&mut self, fd: Resource<Descriptor>) -> FsResult<Resource<DirectoryEntryStream>> {
        self.wasi().read_directory(fd).await
    }

    async fn sync(&mut self, fd: Resource<Descriptor>) -> FsResult<()> {
        let kept = self.kept(&fd);
        self.wasi().sync(fd).await?;
        Self::keep(kept).await
    }

    async fn create_directory_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<()> {
        self.make_in(&fd)?;
        self.wasi().create_directory_at(fd, path).await
    }

    async fn stat(&mut self, fd: Resource<Descriptor>) -> FsResult<DescriptorStat> {
        self.wasi().stat(fd).await
    }

    async fn stat_at(&mut self, fd: Resource<Descriptor>, how: PathFlags, path: String) -> FsResult<DescriptorStat> {
        self.wasi().stat_at(fd, how, path).await
    }

    async fn set_times_at(
        &mut self,
        fd: Resource<Descriptor>,
        how: PathFlags,
        path: String,
        read: NewTimestamp,
        written: NewTimestamp,
    ) -> FsResult<()> {
        self.wasi().set_times_at(fd, how, path, read, written).await
    }

    async fn readlink_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<String> {
        self.wasi().readlink_at(fd, path).await
    }

    async fn remove_directory_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<()> {
        let quota = self.quota(&fd);
        self.wasi().remove_directory_at(fd, path).await?;
        quota.inspect(super::Quota::taken_away);
        Ok(())
    }

    async fn symlink_at(&mut self, fd: Resource<Descriptor>, path: String, to_path: String) -> FsResult<()> {
        self.make_in(&fd)?;
        self.wasi().symlink_at(fd, path, to_path).await
    }

    async fn is_same_object(&mut self, a: Resource<Descriptor>, b: Resource<Descriptor>) -> wasmtime::Result<bool> {
        self.wasi().is_same_object(a, b).await
    }

    async fn metadata_hash(&mut self, fd: Resource<Descriptor>) -> FsResult<MetadataHashValue> {
        self.wasi().metadata_hash(fd).await
    }

    async fn metadata_hash_at(
        &mut self,
        fd: Resource<Descriptor>,
        how: PathFlags,
        path: String,
    ) -> FsResult<MetadataHashValue> {
        self.wasi().metadata_hash_at(fd, how, path).await
    }
}

impl HostDirectoryEntryStream for FilesView<'_> {
    async fn read_directory_entry(
        &mut self,
        stream: Resource<types::DirectoryEntryStream>,
    ) -> FsResult<Option<DirectoryEntry>> {
        self.wasi().read_directory_entry(stream).await
    }

    fn drop(&mut self, stream: Resource<types::DirectoryEntryStream>) -> wasmtime::Result<()> {
        HostDirectoryEntryStream::drop(&mut self.wasi(), stream)
    }
}
