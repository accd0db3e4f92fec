//! Configuration that a guest asks for by name: `wasi:config` 0.2.0-rc.1, out of the settings of its [`Spec`](crate::Spec).

#[allow(missing_docs, unreachable_pub, clippy::pedantic)]
mod bindings {
    wasmtime::component::bindgen!({
        path: "wit/config",
        world: "coracle:config/guest",
        imports: { default: trappable },
        require_store_data_send: true,
    });
}

use wasmtime::component::{HasData, Linker};

use self::bindings::wasi::config::store::{self, Error};
use crate::guest::Guest;

/// The settings of a guest, each name once.
pub(crate) struct SettingsView<'a>(pub(crate) &'a [(String, String)]);

struct HasSettings;

impl HasData for HasSettings {
    type Data<'a> = SettingsView<'a>;
}

/// Adds the interface.
pub(crate) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    store::add_to_linker::<_, HasSettings>(linker, Guest::settings)
}

impl store::Host for SettingsView<'_> {
    fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<String>, Error>> {
        Ok(Ok(self.0.iter().find(|(name, _)| *name == key).map(|(_, value)| value.clone())))
    }

    fn get_all(&mut self) -> wasmtime::Result<Result<Vec<(String, String)>, Error>> {
        Ok(Ok(self.0.to_vec()))
    }
}
