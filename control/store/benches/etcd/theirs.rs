//! Members of etcd, as its package starts them: its own timers and limits.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::measure::{Running, free};
use anyhow::{Context, ensure};
use serde_json::Value;

use crate::Members;
use crate::load::put_until_answered;

/// A start takes an election.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Cluster {
    places: Vec<Place>,
    /// One for each place, but for the one that was killed.
    processes: Vec<Option<Running>>,
}

struct Place {
    name: String,
    directory: PathBuf,
    peers_at: SocketAddr,
    clients_at: SocketAddr,
}

// === impl Cluster ===

impl Cluster {
    pub(crate) async fn start(directory: &Path, count: usize) -> anyhow::Result<Self> {
        let mut places = Vec::new();
        for index in 0..count {
            let name = format!("m{index}");
            places.push(Place { directory: directory.join(&name), name, peers_at: free()?, clients_at: free()? });
        }
        let mut cluster = Self { processes: Vec::new(), places };
        for index in 0..count {
            let process = cluster.process(index)?;
            cluster.processes.push(Some(process));
        }
        for place in &cluster.places {
            put_until_answered(&[place.clients_at], PATIENCE).await?;
        }
        Ok(cluster)
    }

    fn process(&self, index: usize) -> anyhow::Result<Running> {
        let place = &self.places[index];
        let everybody = self.places.iter().map(|place| format!("{}=http://{}", place.name, place.peers_at));
        let (peers_at, clients_at) = (format!("http://{}", place.peers_at), format!("http://{}", place.clients_at));
        let mut command = Command::new("etcd");
        command
            .args(["--name", &place.name, "--initial-cluster", &everybody.collect::<Vec<_>>().join(",")])
            .arg("--data-dir")
            .arg(&place.directory)
            .args(["--listen-peer-urls", &peers_at, "--initial-advertise-peer-urls", &peers_at])
            .args(["--listen-client-urls", &clients_at, "--advertise-client-urls", &clients_at]);
        Running::start(&mut command)
    }

    fn living(&self) -> impl Iterator<Item = (usize, &Running)> {
        self.processes.iter().enumerate().filter_map(|(index, process)| Some((index, process.as_ref()?)))
    }
}

impl Members for Cluster {
    fn name(&self) -> &'static str {
        "etcd"
    }

    fn alive(&self) -> Vec<(SocketAddr, u32)> {
        self.living().map(|(index, process)| (self.places[index].clients_at, process.pid())).collect()
    }

    async fn leader(&self) -> anyhow::Result<usize> {
        for _ in 0..1_000 {
            for (index, (address, _)) in self.alive().into_iter().enumerate() {
                if leads(address)? {
                    return Ok(index);
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        anyhow::bail!("nobody")
    }

    fn kill(&mut self, index: usize) -> anyhow::Result<()> {
        let (index, _) = self.living().nth(index).context("no such member")?;
        self.processes[index] = None;
        Ok(())
    }

    async fn revive(&mut self) -> anyhow::Result<()> {
        for index in 0..self.places.len() {
            if self.processes[index].is_none() {
                self.processes[index] = Some(self.process(index)?);
                put_until_answered(&[self.places[index].clients_at], PATIENCE).await?;
            }
        }
        Ok(())
    }
}

/// Whether the member at this address is the leader that it knows of.
fn leads(address: SocketAddr) -> anyhow::Result<bool> {
    let endpoint = format!("http://{address}");
    let output = Command::new("etcdctl")
        .env("ETCDCTL_API", "3")
        .args(["--endpoints", &endpoint, "endpoint", "status", "--write-out", "json"])
        .output()
        .context("cannot start etcdctl")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout)?;
    let status = &told[0]["Status"];
    Ok(status["leader"].as_u64().is_some_and(|leader| status["header"]["member_id"].as_u64() == Some(leader)))
}
