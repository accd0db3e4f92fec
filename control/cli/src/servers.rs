//! Which servers this process knows of: those that the world tells of, kept for its next start.

use std::net::SocketAddr;

use api::kinds;
use client::{Kubeconfig, Servers};
use network::Latest;
use state::Snapshot;
use tokio::sync::watch;

use crate::data_dir::{self, DataDir};

/// The file that says which servers a node has been told of: one a line, as `host:port`.
const FILE: &str = "servers";

/// Tells of the servers whenever they are others than before, until the world ends or `shutdown` comes.
pub(crate) async fn follow(
    mut view: watch::Receiver<Snapshot>,
    mut tell: impl FnMut(Vec<String>),
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let following = async {
        let mut last = Vec::new();
        loop {
            let now = client::published(&view.borrow_and_update());
            // A world that tells of none is one that has not been told.
            if now != last && !now.is_empty() {
                last.clone_from(&now);
                tell(now);
            }
            if view.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = shutdown => {}
        () = following => {}
    }
    Ok(())
}

/// The servers that were kept.
pub(crate) fn kept(data: &DataDir) -> Vec<String> {
    let text = std::fs::read_to_string(data.join(FILE)).unwrap_or_default();
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(String::from).collect()
}

/// Keeps the servers for the next start.
pub(crate) fn keep(data: &std::path::Path, servers: &[String]) {
    if let Err(error) = data_dir::write(&data.join(FILE), &(servers.join("\n") + "\n")) {
        tracing::warn!(%error, "which servers there are is not kept");
    }
}

/// The kubeconfig of a server, with the others of the cluster: each has a context, and the one that is meant stays this one.
pub(crate) fn kubeconfig(own: &Kubeconfig, name: &str, here: &str, servers: &[String]) -> Kubeconfig {
    let others = servers.iter().filter(|server| *server != here);
    others
        .fold(own.clone(), |config, other| config.with_server(&format!("{name}@{other}"), &format!("https://{other}")))
}

/// The servers that a node answers over: those it was told to ask, and those that the world tells of, but for one in this process.
pub(crate) fn over(view: watch::Receiver<Snapshot>, given: Vec<String>, own: Option<String>) -> Latest<Vec<String>> {
    network::published(view, &[kinds::ENDPOINTS, kinds::SERVICE], move |world| {
        let mut servers = Servers::given(given.clone());
        servers.learn(client::published(world), 0);
        servers.all().into_iter().filter(|server| Some(server) != own.as_ref()).collect()
    })
}

/// Where the servers listen, as far as the world tells of their addresses; and where else pods are not let.
pub(crate) fn sockets(view: watch::Receiver<Snapshot>, also: Vec<SocketAddr>) -> Latest<Vec<SocketAddr>> {
    network::published(view, &[kinds::ENDPOINTS, kinds::SERVICE], move |world| {
        let servers = client::published(world).into_iter().filter_map(|server| server.parse().ok());
        also.iter().copied().chain(servers).collect()
    })
}
