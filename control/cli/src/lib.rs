//! The one binary: it reads arguments, environment, files and clocks, and puts the parts together.
//!
//! Everything else is given values. [`run`] is the table of contents: each command is one module, and the long-lived ones end
//! in [`node`] and [`server`](control), which own what they start.

mod access;
mod acme;
mod administrator;
mod again;
mod apply;
mod args;
mod authority;
mod bootstrap;
mod certificate;
mod control;
mod data_dir;
mod describe;
mod durations;
mod encryption;
mod events;
mod export;
mod figures;
mod gateway;
mod get;
mod ingress_status;
mod join;
mod level;
mod logs;
mod manifests;
mod member;
mod memory_dir;
mod names;
mod node;
mod papers;
mod peers;
mod pki;
mod port_forward;
mod progress;
mod push;
mod running;
mod servers;
mod snapshot;
mod trouble;
mod tunnel;
mod up;
mod upgrade;
mod verbs;
mod volume;
mod wait;
mod what;

use std::process::ExitCode;

use anyhow::Context;
use args::{Arguments, Command, RolloutCommand, TokenCommand};
use clap::{CommandFactory, Parser};
use jiff::Timestamp;
use tracing_subscriber::EnvFilter;

/// A tenth less processor time for a request than with the system's, measured by the bench of the edge.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs the program: what `main` is.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Command::CompileComponent(args) = &arguments.command {
        return host::compile::child_main(&args.input, &args.output, &args.links);
    }
    let default = match arguments.command {
        Command::Up(_) => "warn",
        // The DNS server of others tells every question at this level, and their Raft every heartbeat that finds nobody, and as an
        // error every change of the members that finds no leader, of which whoever wants it is told.
        Command::Server(_) | Command::Agent(_) => {
            "info,hickory_server=warn,openraft=error,openraft::raft::api::management=off"
        }
        _ => "error",
    };
    if matches!(arguments.command, Command::Up(_) | Command::Server(_) | Command::Agent(_)) {
        open_many_files();
    }
    let filter = EnvFilter::try_from_env("CORACLE_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", told(&error));
            ExitCode::FAILURE
        }
    }
}

/// Allows this process as many open files as it may allow itself: pods, connections and images take some each.
fn open_many_files() {
    let known = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let wanted = rustix::process::Rlimit { current: known.maximum, maximum: known.maximum };
    // What cannot be had is gone without.
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, wanted);
}

/// An error with all its causes in one line, none said twice.
fn told(error: &anyhow::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain().map(ToString::to_string) {
        if !parts.last().is_some_and(|last| last.contains(&cause)) {
            parts.push(cause);
        }
    }
    parts.join(": ")
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Kubeconfig(args) => return kubeconfig(&args),
        Command::Completion(args) => {
            clap_complete::generate(args.shell, &mut Arguments::command(), "coracle", &mut std::io::stdout());
            return Ok(());
        }
        _ => {}
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")?;
    let done = runtime.block_on(async {
        match command {
            Command::Up(args) => up::run(args).await,
            Command::Server(args) => control::run(args).await,
            Command::Agent(args) => join::run(args).await,
            Command::Apply(args) => apply::run(args).await,
            Command::Get(args) => get::run(args).await,
            Command::Describe(args) => describe::run(args, Timestamp::now()).await,
            Command::Delete(args) => verbs::delete(args).await,
            Command::Top(args) => get::top(args).await,
            Command::Logs(args) => logs::run(args).await,
            Command::PortForward(args) => port_forward::run(args).await,
            Command::Scale(args) => verbs::scale(args).await,
            Command::Rollout(args) => match args.command {
                RolloutCommand::Status(args) => verbs::rollout_status(args).await,
            },
            Command::Wait(args) => wait::run(args).await,
            Command::Push(args) => pushed(args).await,
            Command::Certificate(args) => certificate::run(args.command).await,
            Command::Encryption(args) => encryption::run(args.command).await,
            Command::Member(args) => member::run(args.command).await,
            Command::Upgrade(args) => upgrade::run(args.command).await,
            Command::Export(args) => export::export(args).await,
            Command::Import(args) => export::import(args).await,
            Command::Snapshot(args) => snapshot::run(args.command, Timestamp::now()).await,
            Command::Volume(args) => volume::run(args.command).await,
            Command::Version(args) => verbs::version(args).await,
            Command::Token(args) => {
                let command = args.command.unwrap_or(TokenCommand::Create(args.fresh));
                bootstrap::run(command, Timestamp::now()).await
            }
            Command::CompileComponent(_) | Command::Kubeconfig(_) | Command::Completion(_) => Ok(()),
        }
    });
    // Blocking work that was given up, such as a read of standard input, shall not hold the exit.
    runtime.shutdown_background();
    done
}

fn kubeconfig(args: &args::Kubeconfig) -> anyhow::Result<()> {
    let file = data_dir::path(args.data_dir.as_deref())?.join("kubeconfig");
    let text = std::fs::read_to_string(&file).with_context(|| {
        format!("cannot read {}; start a cluster with `coracle up`, or say where it is with --data-dir", file.display())
    })?;
    print!("{text}");
    Ok(())
}

async fn pushed(args: args::Push) -> anyhow::Result<()> {
    let (repository, tag) = push::name_and_tag(&args.name)?;
    let cluster = access::cluster(&args.access)?;
    let digest = push::push(&cluster.client, &args.file, repository, tag).await?;
    println!("{repository}:{tag}@{digest}");
    Ok(())
}
