//! Objects in containers: `wasi:blobstore` 0.2.0-draft, on a mount of the guest.
//!
//! A container is a directory right below the mount, and an object is a file in it; an object `a/b` is the file `b` in the
//! directory `a`. So what is kept this way is found in the volume, and what lies in the volume is found this way. Names that no
//! file could have are refused, and links are not followed, so nothing leads out of the mount.
//!
//! - An object is there whole or not at all: it is written beside the containers and moved to its place when it is finished, on the
//!   disk before its writer is told so. Who reads one goes on with what it was, whatever becomes of it meanwhile.
//! - What is written counts as what is written to the mount in any other way.
//! - A guest without such a mount is told so by every function.
//! - Nothing of the disk is waited for on the guests' threads, save the pieces of a stream.

mod shelf;
mod value;

#[allow(missing_docs, unreachable_pub, clippy::pedantic)]
mod bindings {
    wasmtime::component::bindgen!({
        path: "wit/blobstore",
        world: "coracle:blobstore/guest",
        imports: { default: async | trappable },
        require_store_data_send: true,
        with: {
            "wasi:io": wasmtime_wasi::p2::bindings::io,
            "wasi:blobstore/container.container": super::Container,
            "wasi:blobstore/container.stream-object-names": super::Names,
            "wasi:blobstore/types.incoming-value": super::value::Incoming,
            "wasi:blobstore/types.outgoing-value": super::value::Outgoing,
        },
    });
}

use std::io;
use std::sync::Arc;

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream};

use self::bindings::wasi::blobstore::types::{ContainerMetadata, ObjectId, ObjectMetadata};
use self::bindings::wasi::blobstore::{blobstore, container, types};
use self::shelf::Shelf;
use self::value::{Incoming, Outgoing};
use crate::guest::Guest;
use crate::spec::Mount;

/// A container that a guest has a handle on.
#[expect(unreachable_pub, reason = "the bindings name it so")]
pub struct Container {
    name: String,
}

/// Names of objects that are still to be told.
#[expect(unreachable_pub, reason = "the bindings name it so")]
pub struct Names(std::vec::IntoIter<String>);

/// Where a guest keeps its objects, if it has such a place.
#[derive(Clone)]
pub(crate) struct Blobs(Option<Arc<Shelf>>);

/// The part of a [`Guest`] that these interfaces need.
pub(crate) struct BlobsView<'a> {
    pub(crate) blobs: &'a Blobs,
    pub(crate) table: &'a mut ResourceTable,
}

struct HasBlobs;

impl HasData for HasBlobs {
    type Data<'a> = BlobsView<'a>;
}

type Answer<T> = wasmtime::Result<Result<T, String>>;

/// Adds every interface.
pub(crate) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    types::add_to_linker::<_, HasBlobs>(linker, Guest::blobs)?;
    container::add_to_linker::<_, HasBlobs>(linker, Guest::blobs)?;
    blobstore::add_to_linker::<_, HasBlobs>(linker, Guest::blobs)
}

// === impl Blobs ===

impl Blobs {
    pub(crate) fn on(mount: Option<&Mount>) -> Self {
        Self(mount.map(|mount| Arc::new(Shelf::new(mount))))
    }
}

// === impl BlobsView ===

impl BlobsView<'_> {
    fn shelf(&self) -> Result<Arc<Shelf>, String> {
        self.blobs.0.clone().ok_or_else(|| "no volume is given to wasi:blobstore".to_owned())
    }

    /// Does it where waiting for the disk harms nobody.
    async fn ask<T: Send + 'static>(
        &mut self,
        act: impl FnOnce(&Shelf) -> io::Result<T> + Send + 'static,
    ) -> Answer<T> {
        let shelf = match self.shelf() {
            Ok(shelf) => shelf,
            Err(why) => return Ok(Err(why)),
        };
        let done = tokio::task::spawn_blocking(move || act(&shelf)).await?;
        Ok(done.map_err(|error| error.to_string()))
    }

    fn name_of(&self, container: &Resource<Container>) -> wasmtime::Result<String> {
        Ok(self.table.get(container)?.name.clone())
    }
}

impl blobstore::Host for BlobsView<'_> {
    async fn create_container(&mut self, name: String) -> Answer<Resource<Container>> {
        match self
            .ask({
                let name = name.clone();
                move |shelf| shelf.create(&name)
            })
            .await?
        {
            Ok(()) => Ok(Ok(self.table.push(Container { name })?)),
            Err(why) => Ok(Err(why)),
        }
    }

    async fn get_container(&mut self, name: String) -> Answer<Resource<Container>> {
        match self
            .ask({
                let name = name.clone();
                move |shelf| shelf.created_at(&name)
            })
            .await?
        {
            Ok(_) => Ok(Ok(self.table.push(Container { name })?)),
            Err(why) => Ok(Err(why)),
        }
    }

    async fn delete_container(&mut self, name: String) -> Answer<()> {
        self.ask(move |shelf| shelf.remove(&name)).await
    }

    async fn container_exists(&mut self, name: String) -> Answer<bool> {
        self.ask(move |shelf| shelf::is_there(shelf.created_at(&name))).await
    }

    async fn copy_object(&mut self, from: ObjectId, to: ObjectId) -> Answer<()> {
        self.ask(move |shelf| shelf.copy((&from.container, &from.object), (&to.container, &to.object))).await
    }

    async fn move_object(&mut self, from: ObjectId, to: ObjectId) -> Answer<()> {
        self.ask(move |shelf| shelf.rename((&from.container, &from.object), (&to.container, &to.object))).await
    }
}

impl container::Host for BlobsView<'_> {}

impl container::HostContainer for BlobsView<'_> {
    async fn name(&mut self, container: Resource<Container>) -> Answer<String> {
        Ok(Ok(self.name_of(&container)?))
    }

    async fn info(&mut self, container: Resource<Container>) -> Answer<ContainerMetadata> {
        let name = self.name_of(&container)?;
        self.ask(move |shelf| Ok(ContainerMetadata { created_at: shelf.created_at(&name)?, name })).await
    }

    async fn get_data(
        &mut self,
        container: Resource<Container>,
        object: String,
        start: u64,
        end: u64,
    ) -> Answer<Resource<Incoming>> {
        let name = self.name_of(&container)?;
        let opened = self.ask(move |shelf| Incoming::new(shelf.open(&name, &object)?, start, end)).await?;
        match opened {
            Ok(incoming) => Ok(Ok(self.table.push(incoming)?)),
            Err(why) => Ok(Err(why)),
        }
    }

    async fn write_data(
        &mut self,
        container: Resource<Container>,
        object: String,
        value: Resource<Outgoing>,
    ) -> Answer<()> {
        let name = self.name_of(&container)?;
        let checked = self.ask({
            let (name, object) = (name.clone(), object.clone());
            move |shelf| shelf.expect_writable(&name, &object)
        });
        match checked.await? {
            Ok(()) => Ok(self.table.get_mut(&value)?.is_for(name, object)),
            Err(why) => Ok(Err(why)),
        }
    }

    async fn list_objects(&mut self, container: Resource<Container>) -> Answer<Resource<Names>> {
        let name = self.name_of(&container)?;
        match self.ask(move |shelf| shelf.objects(&name)).await? {
            Ok(names) => Ok(Ok(self.table.push(Names(names.into_iter()))?)),
            Err(why) => Ok(Err(why)),
        }
    }

    async fn delete_object(&mut self, container: Resource<Container>, object: String) -> Answer<()> {
        self.delete_objects(container, vec![object]).await
    }

    async fn delete_objects(&mut self, container: Resource<Container>, objects: Vec<String>) -> Answer<()> {
        let name = self.name_of(&container)?;
        self.ask(move |shelf| objects.iter().try_for_each(|object| shelf.remove_object(&name, object))).await
    }

    async fn has_object(&mut self, container: Resource<Container>, object: String) -> Answer<bool> {
        let name = self.name_of(&container)?;
        self.ask(move |shelf| shelf::is_there(shelf.open(&name, &object))).await
    }

    async fn object_info(&mut self, container: Resource<Container>, object: String) -> Answer<ObjectMetadata> {
        let name = self.name_of(&container)?;
        self.ask(move |shelf| {
            let file = shelf.open(&name, &object)?;
            let size = file.metadata()?.len();
            Ok(ObjectMetadata { created_at: shelf::changed_at(&file)?, size, name: object, container: name })
        })
        .await
    }

    async fn clear(&mut self, container: Resource<Container>) -> Answer<()> {
        let name = self.name_of(&container)?;
        self.ask(move |shelf| shelf.clear(&name)).await
    }

    async fn drop(&mut self, container: Resource<Container>) -> wasmtime::Result<()> {
        self.table.delete(container)?;
        Ok(())
    }
}

impl container::HostStreamObjectNames for BlobsView<'_> {
    async fn read_stream_object_names(&mut self, names: Resource<Names>, count: u64) -> Answer<(Vec<String>, bool)> {
        let Names(rest) = self.table.get_mut(&names)?;
        let read = rest.by_ref().take(usize::try_from(count).unwrap_or(usize::MAX)).collect();
        Ok(Ok((read, rest.len() == 0)))
    }

    async fn skip_stream_object_names(&mut self, names: Resource<Names>, count: u64) -> Answer<(u64, bool)> {
        let Names(rest) = self.table.get_mut(&names)?;
        let skipped = rest.by_ref().take(usize::try_from(count).unwrap_or(usize::MAX)).count();
        Ok(Ok((skipped as u64, rest.len() == 0)))
    }

    async fn drop(&mut self, names: Resource<Names>) -> wasmtime::Result<()> {
        self.table.delete(names)?;
        Ok(())
    }
}

impl types::Host for BlobsView<'_> {}

impl types::HostOutgoingValue for BlobsView<'_> {
    async fn new_outgoing_value(&mut self) -> wasmtime::Result<Resource<Outgoing>> {
        Ok(self.table.push(Outgoing::new(self.shelf()))?)
    }

    async fn outgoing_value_write_body(
        &mut self,
        value: Resource<Outgoing>,
    ) -> wasmtime::Result<Result<Resource<DynOutputStream>, ()>> {
        match self.table.get_mut(&value)?.body() {
            Some(stream) => Ok(Ok(self.table.push_child(stream, &value)?)),
            None => Ok(Err(())),
        }
    }

    async fn finish(&mut self, value: Resource<Outgoing>) -> Answer<()> {
        let value = self.table.delete(value)?;
        let done = tokio::task::spawn_blocking(move || value.finish()).await?;
        Ok(done.map_err(|error| error.to_string()))
    }

    async fn drop(&mut self, value: Resource<Outgoing>) -> wasmtime::Result<()> {
        self.table.delete(value)?;
        Ok(())
    }
}

impl types::HostIncomingValue for BlobsView<'_> {
    async fn incoming_value_consume_sync(&mut self, value: Resource<Incoming>) -> Answer<Vec<u8>> {
        let value = self.table.delete(value)?;
        let read = tokio::task::spawn_blocking(move || value.read()).await?;
        Ok(read.map_err(|error| error.to_string()))
    }

    async fn incoming_value_consume_async(&mut self, value: Resource<Incoming>) -> Answer<Resource<DynInputStream>> {
        let value = self.table.delete(value)?;
        Ok(Ok(self.table.push(value.stream())?))
    }

    async fn size(&mut self, value: Resource<Incoming>) -> wasmtime::Result<u64> {
        Ok(self.table.get(&value)?.size())
    }

    async fn drop(&mut self, value: Resource<Incoming>) -> wasmtime::Result<()> {
        self.table.delete(value)?;
        Ok(())
    }
}
