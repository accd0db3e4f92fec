//! `wasi:filesystem` 0.3: wasmtime's, asked for room where files grow.

use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::oneshot;
use wasmtime::component::{
    Access, Accessor, FutureReader, Resource, Source, StreamConsumer, StreamReader, StreamResult,
};
use wasmtime::{AsContextMut, StoreContextMut};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystem, WasiFilesystemView};
use wasmtime_wasi::p3::bindings::filesystem::preopens;
use wasmtime_wasi::p3::bindings::filesystem::types::{
    Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, ErrorCode, Filesize, Host, HostDescriptor,
    HostDescriptorWithStore, MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p3::filesystem::{FilesystemError, FilesystemResult};

use super::output::Growth;
use super::{FilesView, HasFiles};
use crate::guest::Guest;
use crate::quota::Quota;

/// How a transfer into a file ended.
type Ended = oneshot::Sender<Result<(), ErrorCode>>;

/// So much is written at once.
const CHUNK_BYTES_MAX: usize = 64 * 1024;

/// What a guest writes to a file that may not grow as it likes.
struct Writing {
    file: Arc<std::fs::File>,
    growth: Growth,
    /// Where the next byte goes; none if that is the end.
    at: Option<u64>,
    ended: Option<Ended>,
}

/// The same store for what is wasmtime's own.
fn wasi(store: &Accessor<Guest, HasFiles>) -> Accessor<Guest, WasiFilesystem> {
    store.with_getter::<WasiFilesystem>(<Guest as WasiFilesystemView>::filesystem)
}

fn wasi_access<'a>(store: &'a mut Access<'_, Guest, HasFiles>) -> Access<'a, Guest, WasiFilesystem> {
    Access::<Guest, WasiFilesystem>::new(store.as_context_mut(), <Guest as WasiFilesystemView>::filesystem)
}

fn quota(store: &Accessor<Guest, HasFiles>, fd: &Resource<Descriptor>) -> Option<Quota> {
    store.with(|mut store| store.get().quota(fd))
}

/// Waits until what is on the disk is kept elsewhere, too.
async fn keep(what: Option<(Quota, Option<Arc<std::fs::File>>)>) -> FilesystemResult<()> {
    match what {
        Some((quota, file)) => Ok(quota.kept(file).await?),
        None => Ok(()),
    }
}

/// What is under a limit is written here, the rest by wasmtime: the reason to refuse it, or how to write it.
fn writing(store: &mut Access<'_, Guest, HasFiles>, fd: &Resource<Descriptor>, at: Option<u64>) -> Option<Writing> {
    let mut files = store.get();
    let quota = files.quota(fd)?;
    let Ok(Descriptor::File(file)) = files.table().get(fd) else { return None };
    if file.perms.write_not_permitted() {
        return None;
    }
    let file = file.file.clone();
    Some(Writing { growth: Growth::new(file.clone(), quota, at), file, at, ended: None })
}

fn written(
    store: &mut Access<'_, Guest, HasFiles>,
    data: StreamReader<u8>,
    mut writing: Writing,
) -> wasmtime::Result<FutureReader<Result<(), ErrorCode>>> {
    let (ended, end) = oneshot::channel();
    writing.ended = Some(ended);
    data.pipe(store.as_context_mut(), writing)?;
    FutureReader::new(store.as_context_mut(), end)
}

impl preopens::Host for FilesView<'_> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        self.preopened()
    }
}

impl Host for FilesView<'_> {
    fn convert_error_code(&mut self, error: FilesystemError) -> wasmtime::Result<ErrorCode> {
        Host::convert_error_code(&mut self.wasi(), error)
    }
}

impl HostDescriptor for FilesView<'_> {
    fn drop(&mut self, fd: Resource<Descriptor>) -> wasmtime::Result<()> {
        self.forget(&fd);
        HostDescriptor::drop(&mut self.wasi(), fd)
    }
}

impl HostDescriptorWithStore<Guest> for HasFiles {
    fn read_via_stream(
        mut store: Access<'_, Guest, Self>,
        fd: Resource<Descriptor>,
        at: Filesize,
    ) -> wasmtime::Result<(StreamReader<u8>, FutureReader<Result<(), ErrorCode>>)> {
        WasiFilesystem::read_via_stream(wasi_access(&mut store), fd, at)
    }

    fn write_via_stream(
        mut store: Access<'_, Guest, Self>,
        fd: Resource<Descriptor>,
        data: StreamReader<u8>,
        at: Filesize,
    ) -> wasmtime::Result<FutureReader<Result<(), ErrorCode>>> {
        match writing(&mut store, &fd, Some(at)) {
            Some(writing) => written(&mut store, data, writing),
            None => WasiFilesystem::write_via_stream(wasi_access(&mut store), fd, data, at),
        }
    }

    fn append_via_stream(
        mut store: Access<'_, Guest, Self>,
        fd: Resource<Descriptor>,
        data: StreamReader<u8>,
    ) -> wasmtime::Result<FutureReader<Result<(), ErrorCode>>> {
        match writing(&mut store, &fd, None) {
            Some(writing) => written(&mut store, data, writing),
            None => WasiFilesystem::append_via_stream(wasi_access(&mut store), fd, data),
        }
    }

    fn read_directory(
        mut store: Access<'_, Guest, Self>,
        fd: Resource<Descriptor>,
    ) -> wasmtime::Result<(StreamReader<DirectoryEntry>, FutureReader<Result<(), ErrorCode>>)> {
        WasiFilesystem::read_directory(wasi_access(&mut store), fd)
    }

    async fn set_size(store: &Accessor<Guest, Self>, fd: Resource<Descriptor>, size: Filesize) -> FilesystemResult<()> {
        store.with(|mut store| store.get().grow_to(&fd, size))?;
        WasiFilesystem::set_size(&wasi(store), fd, size).await
    }

    async fn open_at(
        store: &Accessor<Guest, Self>,
        fd: Resource<Descriptor>,
        how: PathFlags,
        path: String,
        open: OpenFlags,
        flags: DescriptorFlags,
    ) -> FilesystemResult<Resource<Descriptor>> {
        let quota = quota(store, &fd);
        if let Some(quota) = quota.as_ref().filter(|_| open.contains(OpenFlags::TRUNCATE)) {
            quota.taken_away();
        }
        if open.contains(OpenFlags::CREATE) {
            store.with(|mut store| store.get().make_in(&fd))?;
            // It may be there already.
            quota.as_ref().inspect(|quota| quota.taken_away());
        }
        store.with(|mut store| store.get().begin_open()).map_err(|_| ErrorCode::InsufficientMemory)?;
        let opened = WasiFilesystem::open_at(&wasi(store), fd, how, path, open, flags).await;
        store.with(|mut store| store.get().end_open(quota, opened))
    }

    async fn unlink_file_at(
        store: &Accessor<Guest, Self>,
        fd: Resource<Descriptor>,
        path: String,
    ) -> FilesystemResult<()> {
        let quota = quota(store, &fd);
        WasiFilesystem::unlink_file_at(&wasi(store), fd, path).await?;
        quota.inspect(Quota::taken_away);
        Ok(())
    }

    async fn rename_at(
        store: &Accessor<Guest, Self>,
        fd: Resource<Descriptor>,
        path: String,
        to: Resource<Descriptor>,
        to_path: String,
    ) -> FilesystemResult<()> {
        let quota = quota(store, &fd);
        if quota != self::quota(store, &to) {
            return Err(ErrorCode::CrossDevice.into());
        }
        WasiFilesystem::rename_at(&wasi(store), fd, path, to, to_path).await?;
        quota.inspect(Quota::taken_away);
        Ok(())
    }

    async fn link_at(
        store: &Accessor<Guest, Self>,
        fd: Resource<Descriptor>,
        how: PathFlags,
        path: String,
        to: Resource<Descriptor>,
        to_path: String,
    ) -> FilesystemResult<()> {
        if quota(store, &fd) != quota(store, &to) {
            return Err(ErrorCode::CrossDevice.into());
        }
        store.with(|mut store| store.get().make_in(&to))?;
        WasiFilesystem::link_at(&wasi(store), fd, how, path, to, to_path).await
    }

    async fn advise(
        store: &Accessor<Guest, Self>,
        fd: Resource<Descriptor>,
        at: Filesize,
        length: Filesize,
        advice: Advice,
    ) -> FilesystemResult<()> {
        WasiFilesystem::advise(&wasi(store), fd, at, length, advice).await
    }

    async fn sync_data(store: &Accessor<Guest, Self>, fd: Resource<Descriptor>) -> FilesystemResult<()> {
        let kept = store.with(|mut store| store.get().kept(&fd));
        WasiFilesystem::sync_data(&wasi(store), fd).await?;
        keep(kept).await
    }

    async fn get_flags(store: &Accessor<Guest, Self>, fd: Resource<Descriptor>) -> FilesystemResult<DescriptorFlags> {
        WasiFilesystem::get_flags(&wasi(store), fd).await
    }

    async fn get_type(store: &Accessor<Guest, Self>, fd: Resource<Descriptor>) -> FilesystemResult<DescriptorType> {
        WasiFilesystem::get_type(&wasi(store), fd).await
    }

    async fn set_times(
        store: &Accessor<Guest, Self>,
        fd: Resource<Descriptor>,
        read: NewTimestamp,
        written: NewTimestamp,
    ) -> FilesystemResult<()> {
        WasiFilesystem::set_times(&wasi(store), fd, read, written).await
    }

    async fn sync(store: &Accessor<Guest, Self>, fd: Resource<Descriptor>) -> FilesystemResult<()> {
        let kept = store.with(|mut store| store.get().kept(&fd));
        WasiFilesystem::sync(&wasi(store), fd).await?;
        keep(kept).await
    }

    async fn create_directory_at(
        store: &Accessor<Guest, Self>,
        fd: Resource<Descriptor>,
        path: String,
    ) -> FilesystemResult<()> {
        store.with(|mut store| store.get().make_in(&fd))?;
        WasiFilesystem::create_directory_at(&wasi(store), fd, path).await
    }

    async fn stat(store: &Accessor<Guest, Self>, fd: Resource<Descriptor>) -> FilesystemResult<DescriptorStat> {
        WasiFilesystem::stat(&wasi(store), fd).await
    }

    async fn stat_at(
        store: &Accessor<Guest, Self>,
        fd: Resource<Descriptor>,
        how: PathFlags,
        path: String,
    ) -> FilesystemResult<DescriptorStat> {
        WasiFilesystem::stat_at(&wasi(store), fd, how, path).await
    }

    async fn set_times_at(
        store: &Accessor<Guest, Self>,
        fd: Resource<Descriptor>,
        how: PathFlags,
        path: String,
        read: NewTimestamp,
        written: NewTimestamp,
    ) -> FilesystemResult<()> {
        WasiFilesystem::set_times_at(&wasi(store), fd, how, path, read, written).await
    }

    async fn readlink_at(
        store: &Accessor<Guest, Self>,
        fd: Resource<Descriptor>,
        path: String,
    ) -> FilesystemResult<String> {
        WasiFilesystem::readlink_at(&wasi(store), fd, path).await
    }

    async fn remove_directory_at(
        store: &Accessor<Guest, Self>,
        fd: Resource<Descriptor>,
        path: String,
    ) -> FilesystemResult<()> {
        let quota = quota(store, &fd);
        WasiFilesystem::remove_directory_at(&wasi(store), fd, path).await?;
        quota.inspect(crate::quota::Quota::taken_away);
        Ok(())
    }

    async fn symlink_at(
        store: &Accessor<Guest, Self>,
        fd: Resource<Descriptor>,
        path: String,
        to_path: String,
    ) -> FilesystemResult<()> {
        store.with(|mut store| store.get().make_in(&fd))?;
        WasiFilesystem::symlink_at(&wasi(store), fd, path, to_path).await
    }

    async fn is_same_object(
        store: &Accessor<Guest, Self>,
        fd: Resource<Descriptor>,
        other: Resource<Descriptor>,
    ) -> wasmtime::Result<bool> {
        WasiFilesystem::is_same_object(&wasi(store), fd, other).await
    }

    async fn metadata_hash(
        store: &Accessor<Guest, Self>,
        fd: Resource<Descriptor>,
    ) -> FilesystemResult<MetadataHashValue> {
        WasiFilesystem::metadata_hash(&wasi(store), fd).await
    }

    async fn metadata_hash_at(
        store: &Accessor<Guest, Self>,
        fd: Resource<Descriptor>,
        how: PathFlags,
        path: String,
    ) -> FilesystemResult<MetadataHashValue> {
        WasiFilesystem::metadata_hash_at(&wasi(store), fd, how, path).await
    }
}

// === impl Writing ===

impl Writing {
    /// Writes some of the bytes, as many as there is room for; says how many.
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(CHUNK_BYTES_MAX)];
        self.growth.take(bytes.len() as u64)?;
        match self.at {
            Some(at) => {
                self.file.write_all_at(bytes, at)?;
                self.at = Some(at + bytes.len() as u64);
            }
            None => self.file.write_all_at(bytes, self.file.metadata()?.len())?,
        }
        Ok(bytes.len())
    }

    fn end(&mut self, how: Result<(), ErrorCode>) {
        if let Some(ended) = self.ended.take() {
            // Whoever does not wait for it does not want to know.
            let _ = ended.send(how);
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.end(Ok(()));
    }
}

impl StreamConsumer<Guest> for Writing {
    type Item = u8;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        store: StoreContextMut<'_, Guest>,
        source: Source<'_, u8>,
        _: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let mut source = source.as_direct(store);
        match self.write(source.remaining()) {
            Ok(count) => {
                source.mark_read(count);
                Poll::Ready(Ok(StreamResult::Completed))
            }
            Err(error) => {
                self.end(Err(error.into()));
                Poll::Ready(Ok(StreamResult::Dropped))
            }
        }
    }
}
