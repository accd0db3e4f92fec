//! The cluster's administrator: the kubeconfig that a server writes for people, and the client of its own process.
//!
//! The file is written anew when other servers are known or another authority signs; who read it before goes on with what he has.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use client::{Client, Identity, Kubeconfig, Target};
use jiff::Timestamp;

use crate::data_dir::{self, DataDir};
use crate::papers::Papers;
use crate::pki::Authority;
use crate::servers;

/// What the cluster, its user and its context are called in the file.
const NAME: &str = "coracle";

/// The administrator at one server.
#[derive(Clone)]
pub(crate) struct Administrator {
    authority: Arc<Authority>,
    papers: Arc<Papers>,
    /// Where this server is reached.
    here: String,
    file: PathBuf,
    /// The servers that are known.
    known: Arc<Mutex<Vec<String>>>,
}

// === impl Administrator ===

impl Administrator {
    /// The administrator at the server that is reached at `here`.
    pub(crate) fn new(authority: &Arc<Authority>, papers: Arc<Papers>, here: &str, data: &DataDir) -> Self {
        let (authority, file) = (authority.clone(), data.join("kubeconfig"));
        Self { authority, papers, here: here.to_owned(), file, known: Arc::default() }
    }

    /// A client with the administrator's rights.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        let identity = Identity::Papers(self.papers.clone());
        Ok(Client::new(Target::trusting(&format!("https://{}", self.here), self.authority.trust().clone(), identity)?))
    }

    /// Writes the file, which tells of these servers from now on.
    pub(crate) fn learn(&self, servers: Vec<String>) -> anyhow::Result<()> {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = servers;
        self.write()
    }

    /// Writes the file.
    pub(crate) fn write(&self) -> anyhow::Result<()> {
        // Held throughout: one writes after the other.
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let credential = self.authority.administrator(Timestamp::now())?;
        let (url, ca) = (format!("https://{}", self.here), self.authority.certificate());
        let own = Kubeconfig::single(NAME, &url, &ca, &credential.certificate, &credential.key);
        data_dir::write(&self.file, &servers::kubeconfig(&own, NAME, &self.here, &known).to_yaml()?)
    }
}
