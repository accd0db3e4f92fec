//! What a guest may import.
//!
//! Every workload gets the whole of WASI 0.2 and 0.3 with `wasi:http`, and the drafts that people use (`wasi:keyvalue`,
//! `wasi:config`, `wasi:blobstore`, `wasi:logging`): standard libraries import most of it whether
//! they use it or not. Imports alone give no rights; those come from the guest's own context. The sockets linked here
//! are our own, over the guest's [`Network`](crate::Network); those of wasmtime-wasi, which are the node's, are left out. Its
//! files are reached through our limits.

use wasmtime::Engine;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, HasData, Linker, ResourceTable};

use wasmtime_wasi::cli::{WasiCli, WasiCliView};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView};
use wasmtime_wasi::random::{WasiRandom, WasiRandomView};

use crate::files::HasFiles;
use crate::guest::Guest;
use crate::{blobs, keyvalue, logging, settings, sockets};

/// The part of a [`Guest`] that streams and pollables need.
struct HasTable;

impl HasData for HasTable {
    type Data<'a> = &'a mut ResourceTable;
}

/// Everything there is to import, for every workload of an engine.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    add_p2(&mut linker)?;
    add_p3(&mut linker)?;
    sockets::add_to_linker(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
    keyvalue::add_to_linker(&mut linker)?;
    settings::add_to_linker(&mut linker)?;
    logging::add_to_linker(&mut linker)?;
    blobs::add_to_linker(&mut linker)?;
    Ok(linker)
}

/// WASI 0.2 without its sockets.
fn add_p2(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem, io, random};

    io::error::add_to_linker::<_, HasTable>(linker, Guest::table)?;
    io::poll::add_to_linker::<_, HasTable>(linker, Guest::table)?;
    io::streams::add_to_linker::<_, HasTable>(linker, Guest::table)?;
    clocks::wall_clock::add_to_linker::<_, WasiClocks>(linker, Guest::clocks)?;
    clocks::monotonic_clock::add_to_linker::<_, WasiClocks>(linker, Guest::clocks)?;
    filesystem::types::add_to_linker::<_, HasFiles>(linker, Guest::files)?;
    filesystem::preopens::add_to_linker::<_, HasFiles>(linker, Guest::files)?;
    random::random::add_to_linker::<_, WasiRandom>(linker, Guest::random)?;
    random::insecure::add_to_linker::<_, WasiRandom>(linker, Guest::random)?;
    random::insecure_seed::add_to_linker::<_, WasiRandom>(linker, Guest::random)?;
    cli::exit::add_to_linker::<_, WasiCli>(linker, Guest::cli)?;
    cli::environment::add_to_linker::<_, WasiCli>(linker, Guest::cli)?;
    cli::stdin::add_to_linker::<_, WasiCli>(linker, Guest::cli)?;
    cli::stdout::add_to_linker::<_, WasiCli>(linker, Guest::cli)?;
    cli::stderr::add_to_linker::<_, WasiCli>(linker, Guest::cli)?;
    cli::terminal_input::add_to_linker::<_, WasiCli>(linker, Guest::cli)?;
    cli::terminal_output::add_to_linker::<_, WasiCli>(linker, Guest::cli)?;
    cli::terminal_stdin::add_to_linker::<_, WasiCli>(linker, Guest::cli)?;
    cli::terminal_stdout::add_to_linker::<_, WasiCli>(linker, Guest::cli)?;
    cli::terminal_stderr::add_to_linker::<_, WasiCli>(linker, Guest::cli)
}

/// WASI 0.3 without its sockets.
fn add_p3(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    use wasmtime_wasi::p3::bindings::filesystem;
    use wasmtime_wasi::p3::{cli, clocks, random};

    cli::add_to_linker(linker)?;
    clocks::add_to_linker(linker)?;
    filesystem::types::add_to_linker::<_, HasFiles>(linker, Guest::files)?;
    filesystem::preopens::add_to_linker::<_, HasFiles>(linker, Guest::files)?;
    random::add_to_linker(linker)
}

/// The imports of a component that nothing provides, by name.
pub(crate) fn missing(linker: &Linker<Guest>, component: &Component) -> Vec<String> {
    let engine = component.engine();
    component
        .component_type()
        .imports(engine)
        .filter(|(name, import)| match import.ty {
            ComponentItem::ComponentInstance(_) => !provides(linker, engine, name),
            ComponentItem::Type(_) => false,
            _ => true,
        })
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// Asks the linker itself, which knows about compatible versions, for a module of that name: what it says tells whether
/// anything is there.
fn provides(linker: &Linker<Guest>, engine: &Engine, name: &str) -> bool {
    match Component::from_binary(engine, &probe(name)).and_then(|probe| linker.instantiate_pre(&probe)) {
        Ok(_) => true,
        Err(error) => !error.root_cause().to_string().ends_with("implementation is missing"),
    }
}

/// The binary of `(component (import "NAME" (core module)))`.
fn probe(name: &str) -> Vec<u8> {
    let mut import = vec![1, 0];
    leb128(&mut import, name.len());
    import.extend_from_slice(name.as_bytes());
    import.extend_from_slice(&[0, 0x11, 0]);

    let mut component = b"\0asm\x0d\0\x01\0".to_vec();
    component.extend_from_slice(&[3, 3, 1, 0x50, 0]);
    component.push(10);
    leb128(&mut component, import.len());
    component.extend_from_slice(&import);
    component
}

fn leb128(out: &mut Vec<u8>, mut value: usize) {
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine;

    fn check(imports: &str, expected: &[&str]) {
        let engine = engine::compiler().expect("an engine without a pool");
        let linker = linker(&engine).expect("wasi links");
        let imports: Vec<_> =
            imports.split_whitespace().map(|name| format!("(import \"{name}\" (instance))")).collect();
        let binary = wat::parse_str(format!("(component {})", imports.concat())).expect("the text is well-formed");
        let component = Component::new(&engine, binary).expect("it compiles");
        assert_eq!(missing(&linker, &component), expected);
    }

    #[test]
    fn the_probe_is_what_it_says() {
        let text = r#"(component (import "acme:billing/api" (core module)))"#;
        assert_eq!(Ok(probe("acme:billing/api")), wat::parse_str(text).map_err(|error| error.to_string()));
    }

    #[test]
    fn all_of_wasi_is_there_in_every_compatible_version() {
        check("wasi:cli/environment@0.2.0 wasi:http/outgoing-handler@0.2.6 wasi:sockets/tcp@0.2.3", &[]);
        check("wasi:keyvalue/store@0.2.0-draft wasi:keyvalue/atomics@0.2.0-draft2 wasi:config/store@0.2.0-rc.1", &[]);
        check("wasi:logging/logging@0.1.0-draft wasi:blobstore/blobstore@0.2.0-draft", &[]);
        check("wasi:http/client@0.3.0 wasi:sockets/types@0.3.0 wasi:clocks/system-clock@0.3.0", &[]);
    }

    #[test]
    fn every_missing_import_is_named() {
        check(
            "wasi:keyvalue/store@0.2.0-draft3 wasi:cli/environment@0.2.0 acme:billing/api",
            &["wasi:keyvalue/store@0.2.0-draft3", "acme:billing/api"],
        );
    }
}
