//! Finding the cluster that a command speaks to.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use client::{Client, Kubeconfig};

use crate::args;
use crate::data_dir;

/// A cluster and the namespace that is meant when none is named.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

/// The cluster that the arguments or the environment point to.
pub(crate) fn cluster(access: &args::Access) -> anyhow::Result<Cluster> {
    let file = kubeconfig_file(access.kubeconfig.as_deref())?;
    let text =
        std::fs::read_to_string(&file).with_context(|| format!("cannot read the kubeconfig {}", file.display()))?;
    let config = Kubeconfig::parse(&text).with_context(|| format!("in {}", file.display()))?;
    let target =
        config.target(file.parent().unwrap_or(Path::new("."))).with_context(|| format!("in {}", file.display()))?;
    let namespace = access.namespace.clone().unwrap_or_else(|| config.namespace().to_owned());
    Ok(Cluster { client: Client::new(target), namespace })
}

fn kubeconfig_file(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let own = match variable("CORACLE_DATA_DIR") {
        Some(directory) => Some(directory),
        None => data_dir::default_path().ok(),
    };
    let candidates = [
        variable("KUBECONFIG"),
        own.map(|directory| directory.join("kubeconfig")),
        variable("HOME").map(|home| home.join(".kube/config")),
    ];
    match candidates.into_iter().flatten().find(|file| file.exists()) {
        Some(file) => Ok(file),
        None => bail!("no kubeconfig found; start a cluster with `coracle up`, or name one with --kubeconfig"),
    }
}
