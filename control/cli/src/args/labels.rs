//! What a node says about itself, for pods that are to be in some places and not in others.

use std::collections::BTreeMap;

use api::rules::{Causes, labels};
use clap::Args;

#[derive(Debug, Clone, Args)]
pub(crate) struct Labels {
    /// Labels of this node, such as `disk=ssd,rack=7`
    #[arg(long = "node-labels", env = "CORACLE_NODE_LABELS", value_name = "NAME=VALUE,…", value_delimiter = ',', value_parser = label)]
    own: Vec<(String, String)>,
    /// The zone that fails as a whole: its label `topology.kubernetes.io/zone`
    #[arg(long, env = "CORACLE_ZONE", value_name = "NAME")]
    zone: Option<String>,
    /// The region of zones: its label `topology.kubernetes.io/region`
    #[arg(long, env = "CORACLE_REGION", value_name = "NAME")]
    region: Option<String>,
}

// === impl Labels ===

impl Labels {
    /// All of them; or what is wrong with them.
    pub(crate) fn all(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let mut all: BTreeMap<String, String> = self.own.iter().cloned().collect();
        for (name, value) in [("zone", &self.zone), ("region", &self.region)] {
            all.extend(value.clone().map(|value| (format!("topology.kubernetes.io/{name}"), value)));
        }
        let mut causes = Causes::default();
        labels("--node-labels", &all, &mut causes);
        match causes.into_inner().into_iter().next() {
            None => Ok(all),
            Some(cause) => anyhow::bail!("{}: {}", cause.field, cause.message),
        }
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not of the form NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}
