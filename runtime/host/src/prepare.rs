//! From bytes to a workload: look in the cache, join and compile if needed, map, link, classify.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wasmtime::component::Component;

use crate::artifact::{Digest, Linked, NotWasm, Shape, Source};
use crate::cache::{Checked, Draft};
use crate::compile::{self, CompileError};
use crate::host::Shared;
use crate::kind::Uses;
use crate::workload::Workload;
use crate::{compose, link, map};

/// Enough to recognise what is not wasm, a tar archive included.
const HEAD_BYTES: u64 = 512;

/// Why a component cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The bytes are something else.
    #[error(transparent)]
    NotWasm(#[from] NotWasm),
    /// The bytes are not those that were asked for.
    #[error("the component's digest is {found}, not {expected} as asked for")]
    OtherDigest {
        /// What was asked for.
        expected: Digest,
        /// What there is.
        found: Digest,
    },
    /// The bytes could not be read.
    #[error("failed to read the component")]
    Source(#[source] io::Error),
    /// The compile cache could not be used.
    #[error("failed to use the compile cache")]
    Cache(#[source] io::Error),
    /// The compiler did not accept the component.
    #[error("failed to compile the component: {0}")]
    Compile(#[source] CompileError),
    /// The component wants what nobody here has.
    #[error("the component imports {}, which nothing here provides{}", .imports.join(" and "), told(.linked))]
    MissingImport {
        /// Every import without a provider.
        imports: Vec<String>,
        /// Those that were asked: what is linked to the component.
        linked: Vec<Asked>,
    },
    /// One that is linked to it is not to be read.
    #[error("{name}, which is linked to the component: {why}")]
    Linked {
        /// Which.
        name: String,
        /// Why.
        why: Box<PrepareError>,
    },
    /// An import is there, but of another shape.
    #[error("the component does not fit its imports: {0}")]
    Link(String),
    /// The component neither answers requests nor runs.
    #[error(
        "the component exports neither wasi:http/incoming-handler@0.2, wasi:http/handler@0.3 nor wasi:cli/run, but {}",
        listed(.exports)
    )]
    NoEntry {
        /// What it does export.
        exports: Vec<String>,
    },
    /// The host is being stopped.
    #[error("the host is being stopped")]
    Stopping,
}

/// A linked component that does not have what is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// What it is called.
    pub name: String,
    /// What it has instead.
    pub exports: Vec<String>,
    /// What of the missing it wants itself.
    pub wants: Vec<String>,
}

/// What others have of it, or the cached form if there is one, else a new one; then everything that makes it runnable.
pub(crate) async fn prepare(
    host: Arc<Shared>,
    own: Digest,
    source: Source,
    links: Vec<Linked>,
) -> Result<Workload, PrepareError> {
    let digest = own.joint(links.iter().map(|link| link.digest));
    let place = host.prepared.place(digest);
    let mut place = place.lock().await;
    if let Some(shared) = place.upgrade() {
        return Ok(Workload { shared });
    }
    let workload = match made(host.clone(), digest, (own, source), links.clone()).await {
        Err(PrepareError::MissingImport { imports, .. }) if !links.is_empty() => {
            return Err(blocking(&host, move |_| Ok(nobody_has(imports, &links))).await?);
        }
        made => made?,
    };
    *place = Arc::downgrade(&workload.shared);
    Ok(workload)
}

async fn made(
    host: Arc<Shared>,
    digest: Digest,
    (own, source): (Digest, Source),
    links: Vec<Linked>,
) -> Result<Workload, PrepareError> {
    if let Some(workload) = blocking(&host, move |host| cached(host, digest)).await? {
        return Ok(workload);
    }
    let _turn = host.compiling.lock().await;
    // Whoever had the turn before may have compiled this very component.
    if let Some(workload) = blocking(&host, move |host| cached(host, digest)).await? {
        return Ok(workload);
    }
    let input = blocking(&host, move |host| input(host, own, source)).await?;
    let links = blocking(&host, move |host| {
        links.into_iter().map(|link| linked_input(host, link)).collect::<Result<Vec<_>, _>>()
    });
    let (links, output) = (links.await?, host.cache.draft());
    compile(&host, input.path(), &links, output.path()).await.map_err(|error| match error {
        CompileError::NotWasm(not_wasm) => PrepareError::NotWasm(not_wasm),
        error => PrepareError::Compile(error),
    })?;
    blocking(&host, move |host| {
        let compiled = host.cache.keep(&digest, output).map_err(PrepareError::Cache)?;
        let component = map::component(&host.engine, &compiled)
            .map_err(|error| PrepareError::Compile(CompileError::Refused(format!("{error:#}"))))?;
        workload(host, digest, &component)
    })
    .await
}

/// A file to compile from.
enum Input {
    /// The caller's own file.
    Given(PathBuf),
    /// The caller's bytes, written down.
    Written(Draft),
}

impl Input {
    fn path(&self) -> &Path {
        match self {
            Input::Given(path) => path,
            Input::Written(draft) => draft.path(),
        }
    }
}

async fn blocking<T: Send + 'static>(
    host: &Arc<Shared>,
    work: impl FnOnce(&Arc<Shared>) -> Result<T, PrepareError> + Send + 'static,
) -> Result<T, PrepareError> {
    let shared = host.clone();
    host.guests().spawn_blocking(move || work(&shared)).await.map_err(|_| PrepareError::Stopping)?
}

fn cached(host: &Arc<Shared>, digest: Digest) -> Result<Option<Workload>, PrepareError> {
    let Some(compiled) = host.cache.find(&digest).map_err(PrepareError::Cache)? else {
        return Ok(None);
    };
    match mapped(host, &compiled) {
        Some(component) => workload(host, digest, &component).map(Some),
        None => Ok(None),
    }
}

fn mapped(host: &Shared, compiled: &Checked) -> Option<Component> {
    map::component(&host.engine, compiled)
        .inspect_err(|error| tracing::warn!(%error, "a compiled component could not be mapped, compiling it again"))
        .ok()
}

/// Checks that the source is wasm and is what was asked for.
fn input(host: &Shared, digest: Digest, source: Source) -> Result<Input, PrepareError> {
    let (head, found) = match &source {
        Source::Bytes(bytes) => (bytes[..bytes.len().min(HEAD_BYTES as usize)].to_vec(), Digest::of(bytes)),
        Source::File(path) => {
            let mut head = Vec::new();
            let file = File::open(path).map_err(PrepareError::Source)?;
            file.take(HEAD_BYTES).read_to_end(&mut head).map_err(PrepareError::Source)?;
            let whole = File::open(path).map_err(PrepareError::Source)?;
            (head, Digest::of_reader(whole).map_err(PrepareError::Source)?)
        }
    };
    Shape::of(&head)?;
    if found != digest {
        return Err(PrepareError::OtherDigest { expected: digest, found });
    }
    match source {
        Source::File(path) => Ok(Input::Given(path)),
        Source::Bytes(bytes) => {
            let draft = host.cache.draft();
            draft.write(&bytes).map_err(PrepareError::Cache)?;
            Ok(Input::Written(draft))
        }
    }
}

/// Checks a component that is linked as it checks that which it is linked to.
fn linked_input(host: &Shared, link: Linked) -> Result<(String, PathBuf), PrepareError> {
    let Linked { name, digest, file } = link;
    match input(host, digest, Source::File(file.clone())) {
        Ok(_) => Ok((name, file)),
        Err(why) => Err(PrepareError::Linked { name, why: Box::new(why) }),
    }
}

async fn compile(host: &Shared, input: &Path, links: &[(String, PathBuf)], output: &Path) -> Result<(), CompileError> {
    let (input, links, output) = (input.to_owned(), links.to_owned(), output.to_owned());
    if let Some(program) = host.config.compiler.clone() {
        let limit = host.config.compile_timeout;
        // The child is the guests' runtime's, because only there it is certain that somebody waits for processes.
        let child =
            host.guests().spawn(async move { compile::in_child(&program, &input, &links, &output, limit).await });
        tokio_util::task::AbortOnDropHandle::new(child).await.unwrap_or_else(|error| Err(interrupted(&error)))
    } else {
        let work = host.guests().spawn_blocking(move || compile::compile_file(&input, &links, &output));
        work.await.unwrap_or_else(|error| Err(interrupted(&error)))
    }
}

fn interrupted(error: &tokio::task::JoinError) -> CompileError {
    CompileError::Refused(format!("the compiler was interrupted: {error}"))
}

/// Links a component and finds out what it is.
fn workload(host: &Arc<Shared>, digest: Digest, component: &Component) -> Result<Workload, PrepareError> {
    let link_error = |error: wasmtime::Error| PrepareError::Link(format!("{error:#}"));
    let exports = || component.component_type();
    let exports = exports();
    let names: Vec<&str> = exports.exports(&host.engine).map(|(name, _)| name).collect();
    let uses = Uses::of(names.iter().copied());
    let Some(kind) = uses.kind() else {
        return Err(PrepareError::NoEntry { exports: names.into_iter().map(str::to_owned).collect() });
    };
    let linker = host.linker().map_err(link_error)?;
    let linked = linker.instantiate_pre(component).map_err(|error| match link::missing(linker, component) {
        imports if imports.is_empty() => link_error(error),
        imports => PrepareError::MissingImport { imports, linked: Vec::new() },
    })?;
    Workload::new(host.clone(), digest, kind, uses, linked).map_err(link_error)
}

/// Says of each linked component what it has to do with what is missing.
fn nobody_has(imports: Vec<String>, links: &[Linked]) -> PrepareError {
    let asked = |link: &Linked| {
        let bytes = std::fs::read(&link.file).map_err(|error| error.to_string());
        let names = bytes.and_then(|bytes| compose::names(&bytes).map_err(|error| error.to_string()));
        // What cannot be read was refused before.
        let compose::Names { imports: wants, exports } = names.unwrap_or_default();
        let wants = wants.into_iter().filter(|name| imports.contains(name)).collect();
        Asked { name: link.name.clone(), exports, wants }
    };
    let linked = links.iter().map(asked).collect();
    PrepareError::MissingImport { imports, linked }
}

fn told(linked: &[Asked]) -> String {
    let one = |asked: &Asked| {
        let wants = match asked.wants.as_slice() {
            [] => String::new(),
            wants => format!("imports {} itself and ", wants.join(" and ")),
        };
        format!("; {}, which is linked to it, {wants}exports {}", asked.name, listed(&asked.exports))
    };
    linked.iter().map(one).collect()
}

fn listed(exports: &[String]) -> String {
    match exports {
        [] => "nothing".to_owned(),
        exports => exports.join(", "),
    }
}
