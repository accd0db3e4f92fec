//! A control-plane member: store, API server and manager in this process.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use api::Object;
use api::level::Levels;
use client::{Client, Identity, Target};
use controllers::{Ruling, Signers};
use futures::future::BoxFuture;
use jiff::Timestamp;
use network::tunnel::{Hub, Relay};
use state::Snapshot;
use store::{Pace, Seat, Store};
use tokio::net::TcpListener;
use tokio::sync::Mutex;

use crate::acme;
use crate::administrator::Administrator;
use crate::args;
use crate::authority::Rotation;
use crate::data_dir::{self, DataDir};
use crate::figures::Figures;
use crate::level::{self, Leveling};
use crate::node;
use crate::papers::{Own, Papers};
use crate::peers::{self, Coming};
use crate::pki::{self, Authority, Credential};
use crate::progress::{self, Progress};
use crate::running::{Running, asked_to_end};
use crate::servers;
use crate::snapshot::{self, Keeping, Refilling};
use crate::tunnel::{self, Door};

/// How long the API may take to say that it is ready.
const READY_PATIENCE: Duration = Duration::from_secs(30);

/// The control plane of this process.
pub(crate) struct Control {
    /// Where the API answers.
    pub(crate) address: SocketAddr,
    pub(crate) store: Store,
    pub(crate) authority: Arc<Authority>,
    administrator: Administrator,
    /// Who the node in this process is.
    node: Option<Arc<Papers>>,
    /// The way of the node in this process to other nodes, until it is taken.
    door: Option<Door>,
    parts: Running,
}

/// How a control plane is set up.
pub(crate) struct Options<'a> {
    pub(crate) data: &'a DataDir,
    pub(crate) listen: SocketAddr,
    /// Further names that the API's certificate is valid for.
    pub(crate) names: &'a [String],
    /// The name of the node that is to run in this process.
    pub(crate) node: Option<&'a str>,
    /// How long the certificates of machines are good.
    pub(crate) signing: Duration,
    /// Where certificates for Ingresses come from.
    pub(crate) acme: acme::Config,
    /// What is written about requests.
    pub(crate) audit: Option<apiserver::Audit>,
    /// When nodes are lost, and what follows.
    pub(crate) loss: args::Loss,
    pub(crate) addresses: args::Addresses,
    /// Where the keys lie that seal what the store writes, if not with it.
    pub(crate) keys: Option<&'a Path>,
    /// What is said of the schedule of snapshots.
    pub(crate) snapshots: BTreeMap<String, String>,
    /// How it comes to a cluster of several servers; none where there is only ever this one.
    pub(crate) coming: Option<Coming>,
    /// What it speaks.
    pub(crate) levels: Levels,
}

pub(crate) async fn run(args: args::Server) -> anyhow::Result<()> {
    let progress = Progress::new();
    let data = DataDir::take(data_dir::path(args.machine.data_dir.as_deref())?)?;
    let step = progress.step("control plane");
    let name = if args.no_node { None } else { Some(node::name(args.machine.node_name.as_deref())?) };
    let acme = args.acme.config()?;
    let audit = args.audit.config()?;
    let keys = args.encryption_keys.as_deref();
    let levels = args.machine.levels();
    let coming = Some(peers::coming(&data, args.join.as_deref(), args.token.as_deref(), levels).await?);
    let (listen, names, node) = (args.listen, &args.names[..], name.as_deref());
    let (signing, loss, addresses) = (args.signing.cluster_signing_duration, args.loss.clone(), args.addresses);
    let snapshots = snapshot::wanted(&args.snapshots)?;
    let options = Options {
        data: &data,
        listen,
        names,
        node,
        signing,
        acme,
        audit,
        loss,
        addresses,
        keys,
        snapshots,
        coming,
        levels,
    };
    let mut control = Control::start(options).await?;
    step.done(&format!("https://{}", control.reachable()));
    let mut addresses = node::Addresses { api: Some(control.address), ..node::Addresses::default() };
    let mut node = None;
    if let Some(name) = name {
        let step = progress.step("node");
        let client = control.node_client()?;
        let options = node::Options {
            data: &data,
            name: &name,
            machine: &args.machine,
            defaults: &node::MACHINE,
            api: control.address,
            trust: control.authority.trust().clone(),
            door: control.door()?,
            is_apart: false,
            kept: None,
        };
        let started = node::Node::start(options, control.store.view(), client).await?;
        addresses = node::Addresses { api: addresses.api, ..started.addresses.clone() };
        step.done(&name);
        node = Some(started);
    }
    addresses.write(&data)?;
    progress::say(&format!("kubeconfig: {}", data.join("kubeconfig").display()));
    progress::say(&format!(
        "join a node: coracle agent --server https://{} --token $(coracle token)",
        control.reachable()
    ));
    let ended = match &mut node {
        Some(node) => tokio::select! {
            asked = asked_to_end() => asked.map_err(Into::into),
            error = control.failed() => Err(error),
            error = node.failed() => Err(error),
        },
        None => tokio::select! {
            asked = asked_to_end() => asked.map_err(Into::into),
            error = control.failed() => Err(error),
        },
    };
    let stopped = match node {
        Some(node) => node.stop().await,
        None => Ok(()),
    };
    ended.and(stopped).and(control.stop().await)
}

impl Control {
    /// Starts the control plane; it is ready when this returns.
    pub(crate) async fn start(options: Options<'_>) -> anyhow::Result<Self> {
        let now = Timestamp::now();
        let authority = Authority::open(&options.data.join("pki"), now)?;
        let authority = Arc::new(authority.signing_for(options.signing));
        let mut parts = Running::new();
        let listener = TcpListener::bind(options.listen).await;
        let listener = listener.with_context(|| {
            format!("the API cannot listen on {}; choose another address with --listen", options.listen)
        })?;
        let address = listener.local_addr()?;
        let names = pki::server_names(options.names, &own_addresses(address.ip()));
        let issue = {
            let authority = authority.clone();
            move || authority.server(&names, Timestamp::now())
        };
        let mut own = Own::default();
        let serving = own.make("server", &mut parts, issue)?;
        let here = reachable(address).to_string();
        let signer = authority.clone();
        let papers = own.make("administrator", &mut parts, move || signer.administrator(Timestamp::now()))?;
        let administrator = Administrator::new(&authority, papers, &here, options.data);
        administrator.write()?;

        let mut config = store::Config::new(options.data.join("store"));
        if let Some(keys) = options.keys {
            config.keys = keys.to_owned();
        }
        let mut peer = None;
        let store = match &options.coming {
            None => Store::open(config).await,
            Some(coming) => {
                config.pace = Pace::CLUSTER;
                let founds = matches!(coming, Coming::Founder);
                let (signer, address) = (authority.clone(), here.clone());
                let papers = own.make("peer", &mut parts, move || peers::credential(&signer, &address))?;
                let seat = Seat { address: here.clone(), transport: peers::transport(&authority, &papers), founds };
                peer = Some(papers);
                Store::open_at(config, seat).await
            }
        };
        let store = store.context("the store cannot be opened")?;
        // Before anybody is answered, and anything else is written.
        if let Err(refused) = level::check(options.levels, &store.snapshot()) {
            store.shutdown().await;
            return Err(refused);
        }
        let hub = Hub::new();
        let (mut door, mut node) = (None, None);
        if let Some(name) = options.node {
            let (signer, user) = (authority.clone(), name.to_owned());
            let papers = own.make("node", &mut parts, move || node_credential(&signer, &user))?;
            let relay = Relay::Here(hub.clone());
            let others = servers::over(store.view(), Vec::new(), Some(here.clone()));
            let identity = network::tunnel::Identity::new(name, papers.clone(), authority.trust().clone());
            door = Some(tunnel::door(identity, store.view(), relay, others, address, None));
            node = Some(papers);
        }
        let rotation = Rotation {
            authority: authority.clone(),
            store: store.clone(),
            own,
            administrator: administrator.clone(),
            node: options.node.map(String::from),
            gone: Arc::new(Mutex::new(authority.agreed().step)),
        };
        let (signer, teller) = (authority.clone(), authority.clone());
        let accounts = Arc::new(apiserver::Issuer::new(&pki::account_key(&options.data.join("pki"))?)?);
        let mut protocols = tunnel::protocols(&hub, door.as_ref().map(|door| &door.tunnel));
        protocols.extend(options.coming.as_ref().map(|_| peers::protocol(store.clone())));
        let config = apiserver::Config {
            tls: apiserver::Tls { server: serving, clients: authority.trust().clone() },
            clock: Arc::new(Timestamp::now),
            entropy: Arc::new(|| uuid::Uuid::new_v4().as_u128()),
            registry_dir: options.data.join("registry"),
            join: Some(apiserver::Join {
                ca: Arc::new(move || teller.certificate()),
                sign: Arc::new(move |request: &str, node: &str| {
                    signer.sign_node(request, node, Timestamp::now()).map_err(|error| format!("{error:#}"))
                }),
                charter: options.coming.is_some().then(|| peers::charter(&authority, options.data)),
            }),
            charter: Some(peers::charter(&authority, options.data)),
            rotation: Some(Arc::new(rotation.clone())),
            accounts: accounts.clone(),
            audit: options.audit,
            patience: options.loss.patience(),
            outages: options.loss.outages(),
            protocols,
            siblings: peer.map(|papers| peers::siblings(&store, &authority, &papers)),
            told: level::told(options.levels),
        };
        let server =
            apiserver::Server::open(config, store.clone(), listener).await.context("the API cannot be served")?;
        let gate = Arc::new(Gate(server.gate()));
        let figures = Arc::new(Figures(server.links()));
        let keeping = Keeping {
            wanted: options.snapshots,
            // A laptop sleeps better without.
            is_usual: options.coming.is_some(),
            base: options.data.path().to_owned(),
            store: store.clone(),
            backups: server.backups(),
        };
        let folder = options.data.join(snapshot::REFILL_FOLDER);
        let refilling = Refilling { folder, store: store.clone(), backups: server.backups() };
        parts.start("API server", server.serve(parts.stopping()));
        parts.start("snapshots", keeping.run(parts.stopping()));
        parts.start("volumes of before", refilling.run(parts.stopping()));
        parts.start("change of authorities", rotation.run(parts.stopping()));
        let seed = uuid::Uuid::new_v4().as_u64_pair().0;
        let usual = manager::Config::seeded(seed);
        let config = manager::Config {
            node_grace: options.loss.lease_grace(usual.node_grace),
            outages: options.loss.outages(),
            pod_network: options.addresses.cluster_cidr,
            root_certificate: Some(authority.certificate().into()),
            signers: signers(&authority, &accounts),
            gate: Some(gate),
            figures: Some(figures),
            ..usual
        };
        let managed = manager::run(config, store.clone(), Timestamp::now, parts.stopping());
        parts.start("manager", managed);
        let writer = administrator.clone();
        let tell = move |known: Vec<String>| {
            if let Err(error) = writer.learn(known) {
                tracing::warn!(%error, "the kubeconfig does not tell of all servers");
            }
        };
        parts.start("kubeconfig", servers::follow(store.view(), tell, parts.stopping()));
        let ordering = acme::run(options.acme, store.clone(), administrator.client()?, parts.stopping());
        parts.start("ACME client", ordering);
        let mut control = Self { address, store, authority, administrator, node, door, parts };
        let leveling = Leveling { store: control.store.clone(), told: level::told(options.levels) };
        control.parts.start("level", leveling.run(control.parts.stopping()));
        if let Some(Coming::Guest(url)) = &options.coming {
            peers::be_admitted(&control.store, url, &control.authority, &here).await?;
        }
        // Not before: to those who have not let it in yet it is none of theirs.
        if options.coming.is_some() {
            let (removed, words) = peers::removal(options.data);
            let (store, authority) = (control.store.clone(), control.authority.clone());
            let remaining = peers::remain(store, authority, removed, words, control.parts.stopping());
            control.parts.start("membership", remaining);
        }
        let (client, store) = (control.client()?, control.store.clone());
        tokio::select! {
            ready = ready(&client, &store) => ready?,
            error = control.failed() => return Err(error),
        }
        Ok(control)
    }

    /// Where the API is reached from this machine.
    pub(crate) fn reachable(&self) -> SocketAddr {
        reachable(self.address)
    }

    /// A client with the administrator's rights.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        self.administrator.client()
    }

    /// The way of the node in this process to other nodes.
    pub(crate) fn door(&mut self) -> anyhow::Result<Door> {
        self.door.take().context("this process runs no node")
    }

    /// A client with the rights of the node in this process. It asks this server, and others when this one has lost them.
    pub(crate) fn node_client(&mut self) -> anyhow::Result<Client> {
        let papers = self.node.clone().context("this process runs no node")?;
        let identity = Identity::Papers(papers);
        let url = format!("https://{}", self.reachable());
        let client = Client::new(Target::trusting(&url, self.authority.trust().clone(), identity)?);
        let told = client.clone();
        let following = servers::follow(self.store.view(), move |known| told.learn(known), self.parts.stopping());
        self.parts.start("servers", following);
        Ok(client)
    }

    /// Returns when a part has ended although nobody asked it to.
    pub(crate) async fn failed(&mut self) -> anyhow::Error {
        let error = self.parts.failed().await;
        // Whatever noticed first has less to say.
        let Some(why) = self.store.failure() else { return error };
        anyhow!(
            "the store has stopped: {why}; a server that is started again looks whether what it has is what was written, and has the \
             others fill it anew where it is not"
        )
    }

    /// Has another server lead, stops the parts, then the store they stand on.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        peers::hand_over(&self.store).await;
        let stopped = self.parts.stop().await;
        self.store.shutdown().await;
        stopped
    }
}

/// Waits until the API answers.
async fn ready(client: &Client, store: &Store) -> anyhow::Result<()> {
    let asking = async {
        while client.send(http::Method::GET, "/readyz", None, "").await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    // One of several may have to wait until enough of the others are back.
    if store.cluster().borrow().voters() > 1 {
        asking.await;
        return Ok(());
    }
    tokio::time::timeout(READY_PATIENCE, asking).await.context("the API did not become ready")
}

/// Lets the API server rule about what controllers create.
#[derive(Debug)]
struct Gate(apiserver::Gate);

impl manager::Gate for Gate {
    fn is_guarded(&self, world: &Snapshot) -> bool {
        self.0.is_guarded(world)
    }

    fn rule<'a>(&'a self, object: Object, world: &'a Snapshot) -> BoxFuture<'a, Ruling> {
        Box::pin(self.0.rule(object, world))
    }
}

/// Signs what controllers decide, with keys that they do not see.
fn signers(authority: &Arc<Authority>, accounts: &Arc<apiserver::Issuer>) -> Signers {
    let (authority, accounts) = (authority.clone(), accounts.clone());
    Signers {
        certificate: Some(Arc::new(move |order| authority.sign_order(order).map_err(|error| format!("{error:#}")))),
        token: Some(Arc::new(move |claims| accounts.issue(claims).map_err(|error| error.to_string()))),
    }
}

fn node_credential(authority: &Authority, node: &str) -> anyhow::Result<Credential> {
    authority.client(&format!("system:node:{node}"), &["system:nodes"], Timestamp::now())
}

/// The address under which a listener is reached from its own machine.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::new(node::own_address(), address.port()),
        IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::new(node::own_address(), address.port()),
        _ => address,
    }
}

fn own_addresses(listen: IpAddr) -> Vec<IpAddr> {
    if listen.is_unspecified() { vec![node::own_address()] } else { vec![listen] }
}
