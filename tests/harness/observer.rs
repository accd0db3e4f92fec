//! Somebody on a machine of the fleet's network: who looks at the cluster by a mirror, and asks it by any server or by a certain one.

use std::fs;
use std::future::{Future, pending};
use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use api::{Object, kinds};
use client::{Client, Kubeconfig, Target, Watched, mirror};
use http::Method;
use serde_json::{Value, json};
use state::Snapshot;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::{Fleet, Servers};

/// Somebody who looks, and asks.
pub struct Observer {
    /// Its threads are on the machine.
    runtime: Runtime,
    /// A client for each server, which asks no other.
    clients: Vec<Client>,
    /// Asks another when one does not answer.
    anybody: Client,
    world: watch::Receiver<Snapshot>,
}

/// One of the servers, as one of them tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Its number.
    pub id: String,
    /// Where it is.
    pub address: String,
    /// Whether it has a vote.
    pub is_voter: bool,
    /// Whether it leads.
    pub is_leader: bool,
}

/// Longest that an answer may take where somebody waits for it and may ask again.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(20);

// === impl Observer ===

impl Observer {
    /// Somebody on this machine, who knows the fleet's first machines as its servers.
    pub fn at(fleet: &Fleet, machine: usize, servers: usize) -> anyhow::Result<Self> {
        let urls = (0..servers).map(|server| fleet.told(server, "api")).collect();
        Self::who_knows(&fleet.kubeconfig(), urls, |build| fleet.namespaces().on(machine, build))
    }

    /// Somebody on the machine of these servers.
    pub fn of(servers: &Servers) -> anyhow::Result<Self> {
        let urls = servers.all_alive().into_iter().map(|server| servers.api(server)).collect();
        Self::who_knows(&servers.kubeconfig(0), urls, |build| build())
    }

    fn who_knows(
        kubeconfig: &Path,
        addresses: Vec<String>,
        there: impl FnOnce(fn() -> io::Result<Runtime>) -> io::Result<Runtime>,
    ) -> anyhow::Result<Self> {
        let papers = Papers::of(kubeconfig)?;
        let urls: Vec<String> = addresses.into_iter().map(|address| format!("https://{address}")).collect();
        let clients = urls.iter().map(|url| Ok(Client::new(papers.target(url)?)));
        let clients = clients.collect::<anyhow::Result<Vec<_>>>()?;
        let first = urls.first().context("a fleet has a server")?;
        let anybody = urls.iter().try_fold(papers.target(first)?, |target, url| target.or(url))?;
        let anybody = Client::new(anybody);
        let runtime = there(|| Builder::new_multi_thread().worker_threads(2).enable_all().build())?;
        let (publish, world) = watch::channel(Snapshot::default());
        let watched = [kinds::NODE, kinds::POD].map(Watched::all).to_vec();
        let nothing = |_: &Snapshot| std::collections::BTreeSet::new();
        runtime.spawn(mirror(anybody.clone(), watched, nothing, publish, pending()));
        Ok(Self { runtime, clients, anybody, world })
    }

    /// Does something there, to its end.
    pub fn run<T: Send + 'static>(&self, act: impl Future<Output = T> + Send + 'static) -> T {
        let doing = self.runtime.spawn(act);
        self.runtime.block_on(doing).unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    /// Has something go on there.
    pub fn spawn<T: Send + 'static>(
        &self,
        act: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.runtime.spawn(act)
    }

    /// What became of something that went on.
    pub fn join<T>(&self, doing: tokio::task::JoinHandle<T>) -> T {
        self.runtime.block_on(doing).unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    /// Asks only this server.
    pub fn client(&self, server: usize) -> Client {
        self.clients[server].clone()
    }

    /// Asks whichever server answers.
    pub fn anybody(&self) -> Client {
        self.anybody.clone()
    }

    /// The nodes and pods as they are known now.
    pub fn world(&self) -> Snapshot {
        self.world.borrow().clone()
    }

    /// Waits until the nodes and pods are as they should be, and says when they were.
    pub fn until<T>(
        &self,
        patience: Duration,
        mut look: impl FnMut(&Snapshot) -> Result<T, String>,
    ) -> anyhow::Result<T> {
        let mut world = self.world.clone();
        let deadline = Instant::now() + patience;
        self.runtime.block_on(async {
            loop {
                let seen = look(&world.borrow_and_update());
                let why = match seen {
                    Ok(good) => return Ok(good),
                    Err(why) => why,
                };
                let changed = timeout_at(deadline, world.changed()).await;
                changed.map_err(|_| anyhow::anyhow!("not within {patience:?}: {why}"))?.context("the mirror ended")?;
            }
        })
    }

    /// The servers as this one tells.
    pub fn seats(&self, server: usize) -> anyhow::Result<Vec<Seat>> {
        let client = self.client(server);
        self.run(async move { seats(&client).await })
    }

    /// Waits until every server tells of as many with a vote, and of one that leads; and gives its place.
    pub fn settled(&self, fleet: &Fleet, patience: Duration) -> anyhow::Result<usize> {
        let until = std::time::Instant::now() + patience;
        let places: Vec<String> = (0..self.clients.len()).map(|server| fleet.told(server, "api")).collect();
        loop {
            let told: Vec<_> = (0..places.len()).map(|server| self.seats(server)).collect();
            let leaders: Vec<Option<usize>> = told
                .iter()
                .map(|seats| {
                    let seats = seats.as_ref().ok().filter(|seats| seats.len() == places.len())?;
                    let are_voters = seats.iter().all(|seat| seat.is_voter);
                    let leader = seats.iter().find(|seat| seat.is_leader && are_voters)?;
                    places.iter().position(|place| *place == leader.address)
                })
                .collect();
            match leaders[0] {
                Some(leader) if leaders.iter().all(|other| *other == Some(leader)) => return Ok(leader),
                _ => {}
            }
            anyhow::ensure!(std::time::Instant::now() < until, "not of one mind within {patience:?}: {told:?}");
            std::thread::park_timeout(PAUSE);
        }
    }

    /// Has this server lead, and waits until all know it.
    pub fn lead(&self, fleet: &Fleet, server: usize) -> anyhow::Result<()> {
        for _ in 0..10 {
            if self.settled(fleet, Duration::from_secs(60))? == server {
                return Ok(());
            }
            // One that lags behind is refused the lead; it is asked again.
            if self.hand_over(fleet, server).is_err() {
                std::thread::park_timeout(PAUSE * 10);
            }
        }
        anyhow::bail!("server {server} does not come to lead")
    }

    /// Asks for this server to lead.
    pub fn hand_over(&self, fleet: &Fleet, server: usize) -> anyhow::Result<()> {
        let address = fleet.told(server, "api");
        let client = self.client(server);
        self.run(async move {
            let seats = seats(&client).await?;
            let seat = seats.iter().find(|seat| seat.address == address).context("it is a server")?;
            let change = json!({"change": "lead", "id": seat.id}).to_string();
            client.send(Method::POST, MEMBERS, Some("application/json"), change).await?;
            Ok(())
        })
    }

    /// Waits until something that is asked there, again and again, is answered well.
    pub fn answered<T, F>(&self, patience: Duration, mut ask: impl FnMut() -> F + Send + 'static) -> anyhow::Result<T>
    where
        T: Send + 'static,
        F: Future<Output = anyhow::Result<T>> + Send,
    {
        self.run(async move {
            let deadline = Instant::now() + patience;
            loop {
                let why = match timeout(ANSWER_PATIENCE, ask()).await {
                    Ok(Ok(answer)) => return Ok(answer),
                    Ok(Err(error)) => format!("{error:#}"),
                    Err(_) => format!("no answer within {ANSWER_PATIENCE:?}"),
                };
                anyhow::ensure!(Instant::now() < deadline, "not within {patience:?}: {why}");
                sleep(PAUSE).await;
            }
        })
    }
}

/// Where servers are told of and changed.
const MEMBERS: &str = "/coracle/v1/members";

async fn seats(client: &Client) -> anyhow::Result<Vec<Seat>> {
    let told = timeout(ANSWER_PATIENCE, client.get_json::<Value>(MEMBERS)).await??;
    let members = told["members"].as_array().context("a list")?;
    let text = |member: &Value, name: &str| member[name].as_str().unwrap_or_default().to_owned();
    let seat = |member: &Value| Seat {
        id: text(member, "id"),
        address: text(member, "address"),
        is_voter: member["role"] == "voter",
        is_leader: member["isLeader"] == true,
    };
    Ok(members.iter().map(seat).collect())
}

/// What somebody shows to be let in, and by what he knows a server; as a kubeconfig has it.
struct Papers {
    authority: String,
    certificate: String,
    key: String,
}

// === impl Papers ===

impl Papers {
    fn of(kubeconfig: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(kubeconfig)?;
        let value = |name: &str| {
            let mut lines = text.lines().map(str::trim);
            let first = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim));
            // What is long is written on a line of its own.
            let value = if first == Some(">-") { lines.next() } else { first };
            value.map(str::to_owned).with_context(|| format!("the kubeconfig has no {name}"))
        };
        Ok(Self {
            authority: value("certificate-authority-data")?,
            certificate: value("client-certificate-data")?,
            key: value("client-key-data")?,
        })
    }

    /// One server alone.
    fn target(&self, url: &str) -> anyhow::Result<Target> {
        let Self { authority, certificate, key } = self;
        let text = format!(
            "apiVersion: v1
kind: Config
current-context: it
contexts: [{{name: it, context: {{cluster: it, user: it}}}}]
clusters: [{{name: it, cluster: {{server: '{url}', certificate-authority-data: {authority}}}}}]
users: [{{name: it, user: {{client-certificate-data: {certificate}, client-key-data: {key}}}}}]
"
        );
        Ok(Kubeconfig::parse(&text)?.target(Path::new("/"))?)
    }
}

/// Whether a condition of an object is true.
pub fn is_true(object: &Object, condition: &str) -> bool {
    let Ok(tree) = object.tree() else { return false };
    let conditions = tree["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    conditions.iter().any(|one| one["type"] == condition && one["status"] == "True")
}
