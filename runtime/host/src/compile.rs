//! From wasm to compiled code, preferably in a process of its own; what is linked to a component is made one with it first.
//!
//! Compiling a large component takes hundreds of megabytes that an allocator does not give back. A host that is told of
//! a [`compiler`](crate::Config::compiler) has it done by a child, one at a time and at low priority, and stays small
//! itself.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::Command;
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmparser::{Parser, Payload};
use wit_component::ComponentEncoder;

use crate::artifact::{NotWasm, Shape};
use crate::compose::{ComposeError, Part};
use crate::{cache, compose, engine};

/// The argument by which a program is asked to be the compiler.
pub const SUBCOMMAND: &str = "compile-component";

/// How much of a child's complaint is repeated.
const COMPLAINT_BYTES_MAX: u64 = 4_096;

/// Below everything that answers requests.
const NICENESS: i32 = 10;

/// Why a component could not be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The bytes are not wasm.
    #[error(transparent)]
    NotWasm(#[from] NotWasm),
    /// A core module that is not a WASI preview 1 program.
    #[error("the core module cannot be made a component: {0}")]
    NotAdaptable(String),
    /// It and what is linked to it are not to be made one.
    #[error(transparent)]
    NotJoined(#[from] ComposeError),
    /// The compiler refused it.
    #[error("{0}")]
    Refused(String),
    /// It took too long.
    #[error("gave up after {0:?}")]
    TimedOut(Duration),
    /// Reading, writing or starting the compiler failed.
    #[error("{what}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
}

/// What the program does when it was called as the compiler: reads the wasm file `input` and those that are linked to it, each
/// after its name, writes compiled code to `output`.
///
/// Says on standard error what is wrong, for the host that called it.
pub fn child_main(input: &Path, output: &Path, links: &[OsString]) -> ExitCode {
    let links: Vec<(String, PathBuf)> =
        links.as_chunks().0.iter().map(|[name, file]| (name.to_string_lossy().into_owned(), file.into())).collect();
    // A compiler at normal priority is still a compiler.
    let _ = rustix::process::nice(NICENESS);
    match compile_file(input, &links, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Compiles in a child process, which ends with the future.
pub(crate) async fn in_child(
    program: &Path,
    input: &Path,
    links: &[(String, PathBuf)],
    output: &Path,
    limit: Duration,
) -> Result<(), CompileError> {
    let failed =
        |source| CompileError::Io { what: format!("failed to run the compiler {}", program.display()), source };
    let mut child = Command::new(program)
        .arg(SUBCOMMAND)
        .args([input, output])
        .args(links.iter().flat_map(|(name, file)| [OsStr::new(name), file.as_os_str()]))
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let stderr = child.stderr.take();
    let ended = tokio::time::timeout(limit, async {
        let mut complaint = Vec::new();
        if let Some(stderr) = stderr {
            stderr.take(COMPLAINT_BYTES_MAX).read_to_end(&mut complaint).await?;
        }
        Ok((child.wait().await?, complaint))
    });
    let (status, complaint) = ended.await.map_err(|_| CompileError::TimedOut(limit))?.map_err(failed)?;
    if status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&complaint).trim().to_owned();
    Err(CompileError::Refused(if complaint.is_empty() {
        format!("the compiler ended with {status}")
    } else {
        complaint
    }))
}

/// Compiles from file to file in this process.
pub(crate) fn compile_file(input: &Path, links: &[(String, PathBuf)], output: &Path) -> Result<(), CompileError> {
    let engine = engine::compiler().map_err(|error| CompileError::Refused(format!("{error:#}")))?;
    let mut wasm = component(input)?;
    if !links.is_empty() {
        let linked = links.iter().map(|(_, file)| component(file)).collect::<Result<Vec<_>, _>>()?;
        let parts: Vec<Part<'_>> = links.iter().zip(&linked).map(|((name, _), bytes)| Part { name, bytes }).collect();
        wasm = compose::compose(Part { name: "the component", bytes: &wasm }, &parts)?;
    }
    let compiled = engine.precompile_component(&wasm).map_err(|error| CompileError::Refused(format!("{error:#}")))?;
    cache::write_private(output, &compiled)
        .map_err(|source| CompileError::Io { what: format!("failed to write {}", output.display()), source })
}

/// The component in a file, a core module made one.
fn component(file: &Path) -> Result<Vec<u8>, CompileError> {
    let wasm = fs::read(file)
        .map_err(|source| CompileError::Io { what: format!("failed to read {}", file.display()), source })?;
    match Shape::of(&wasm)? {
        Shape::Component => Ok(wasm),
        Shape::Module => adapt(&wasm),
    }
}

/// Makes a preview 1 module a component: with `_start` a command, else a library.
fn adapt(module: &[u8]) -> Result<Vec<u8>, CompileError> {
    let unfit = |error: &dyn std::fmt::Display| CompileError::NotAdaptable(error.to_string());
    let adapter = if exports(module, "_start").map_err(|error| unfit(&error))? {
        WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER
    } else {
        WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER
    };
    ComponentEncoder::default()
        .module(module)
        .and_then(|encoder| encoder.adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, adapter))
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| unfit(&format!("{error:#}")))
}

fn exports(module: &[u8], name: &str) -> Result<bool, wasmparser::BinaryReaderError> {
    for payload in Parser::new(0).parse_all(module) {
        if let Payload::ExportSection(section) = payload? {
            for export in section {
                if export?.name == name {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}
