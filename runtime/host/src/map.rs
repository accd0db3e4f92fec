//! Mapping compiled code: the one unsafe operation of the host.
#![allow(unsafe_code)]

use std::path::Path;

use wasmtime::Engine;
use wasmtime::component::Component;

use crate::cache::Checked;

/// Maps a compiled component; its pages are shared by all who map it.
pub(crate) fn component(engine: &Engine, compiled: &Checked) -> wasmtime::Result<Component> {
    let path: &Path = compiled.path();
    // SAFETY: the file must be the unaltered output of wasmtime's compiler, because it is run as native code. `Checked`
    // is the proof: the cache makes it only for a file whose checksum it has just verified, in a directory with mode
    // 0700, written by our own compiler. Files there are never changed in place, only replaced by rename, so what
    // is mapped stays what was checked. Whoever can write to that directory is this user already.
    unsafe { Component::deserialize_file(engine, path) }
}
