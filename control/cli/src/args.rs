//! The command line: every word a person may type after `coracle`.

mod acme;
mod addresses;
mod audit;
mod certificate;
mod disk;
mod edge;
mod export;
mod labels;
mod loss;
mod room;
mod snapshot;
mod upgrade;
mod volume;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use api::level::Levels;
use clap::{Args, Parser, Subcommand, ValueEnum};

use acme::Acme;
pub(crate) use addresses::Addresses;
use audit::Audit;
pub(crate) use certificate::{Certificate, CertificateCommand};
use disk::Disk;
use edge::Edge;
pub(crate) use export::{Export, Import};
use labels::Labels;
pub(crate) use loss::Loss;
use room::Room;
pub(crate) use snapshot::{
    RestoreSnapshot, SaveSnapshot, SetSchedule, Snapshot, SnapshotCommand, Volumes, WantedSchedule,
};
pub(crate) use upgrade::{Replacing, Upgrade, UpgradeCommand, UpgradeNodes, UpgradeServers};
pub(crate) use volume::{RestoreVolume, SaveVolume, Volume, VolumeCommand};

/// Kubernetes for WebAssembly, light enough to carry.
#[derive(Debug, Parser)]
#[command(name = "coracle", version, about, propagate_version = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a whole cluster in this process: control plane, node, ingress, DNS and registry
    Up(Up),
    /// Run a control-plane member, which is also a node unless told otherwise
    Server(Server),
    /// Run a node of a cluster that a server elsewhere controls
    Agent(Agent),
    /// Create or change objects from files; local components are pushed to the cluster's registry
    Apply(Apply),
    /// Show objects
    Get(Get),
    /// Tell the story of objects, with their events
    Describe(Describe),
    /// Delete objects
    Delete(Delete),
    /// Print the logs of a pod's container
    Logs(Logs),
    /// Show what nodes or pods use
    Top(Top),
    /// Let ports of this machine lead to a pod
    PortForward(PortForward),
    /// Set how many replicas a workload has
    Scale(Scale),
    /// Follow the rollout of a workload
    Rollout(Rollout),
    /// Wait until objects meet a condition
    Wait(Wait),
    /// Push a component to the cluster's registry
    Push(Push),
    /// Print the kubeconfig of the cluster
    Kubeconfig(Kubeconfig),
    /// Print the token with which an agent joins
    Token(Token),
    /// The authority that vouches for servers, nodes and users, and another in its place
    Certificate(Certificate),
    /// The keys that seal what lies on the servers' disks
    Encryption(Encryption),
    /// The servers of the cluster
    Member(Member),
    /// Another version in the place of the one that runs, machine by machine, while everything goes on
    Upgrade(Upgrade),
    /// Print what people have said of a namespace, as manifests for another cluster
    Export(Export),
    /// Create what `coracle export` printed, all of it or nothing
    Import(Import),
    /// Files that the whole cluster can be brought back from
    Snapshot(Snapshot),
    /// What is in volumes, as files of this machine
    Volume(Volume),
    /// Print the versions of this program and of the server
    Version(Version),
    /// Print the completion script of a shell
    Completion(Completion),
    /// Compile a component into the cache; the runtime starts it for itself
    #[command(hide = true)]
    CompileComponent(CompileComponent),
}

/// What `up`, `server` and `agent` share.
#[derive(Debug, Clone, Args)]
pub(crate) struct Machine {
    /// Where everything is kept
    #[arg(long, env = "CORACLE_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The name of this machine in the cluster [default: the host name]
    #[arg(long, env = "CORACLE_NODE_NAME", value_name = "NAME")]
    pub(crate) node_name: Option<String>,
    /// Where the ingress answers HTTP
    #[arg(long, env = "CORACLE_INGRESS_HTTP", value_name = "ADDRESS")]
    pub(crate) ingress_http: Option<SocketAddr>,
    /// Where the ingress answers HTTPS
    #[arg(long, env = "CORACLE_INGRESS_HTTPS", value_name = "ADDRESS")]
    pub(crate) ingress_https: Option<SocketAddr>,
    /// The address at which node ports and load balancers answer [default: the ingress's]
    #[arg(long, env = "CORACLE_NODE_PORTS", value_name = "IP")]
    pub(crate) node_ports: Option<IpAddr>,
    /// Whether a service at 10.43.x.y answers programs on this machine at 127.43.x.y [default: true for `up`]
    #[arg(long, env = "CORACLE_MIRROR_SERVICES", value_name = "BOOL")]
    pub(crate) mirror_services: Option<bool>,
    /// What pods may use of this machine's memory [default: all of it]
    #[arg(long, env = "CORACLE_MEMORY", value_name = "SIZE", value_parser = disk::bytes)]
    pub(crate) memory: Option<u64>,
    /// The highest level that this one speaks: while one is held back the cluster goes no further, and the last version can still be
    /// brought back [default: what this version speaks]
    #[arg(long, env = "CORACLE_LEVEL_MAX", value_name = "LEVEL", value_parser = up_to)]
    pub(crate) level_max: Option<Levels>,
    #[command(flatten)]
    pub(crate) names: crate::names::Flags,
    #[command(flatten)]
    pub(crate) edge: Edge,
    #[command(flatten)]
    pub(crate) labels: Labels,
    #[command(flatten)]
    pub(crate) room: Room,
    #[command(flatten)]
    pub(crate) disk: Disk,
}

impl Machine {
    /// What this one speaks.
    pub(crate) fn levels(&self) -> Levels {
        self.level_max.unwrap_or(Levels::OWN)
    }
}

fn up_to(text: &str) -> Result<Levels, String> {
    let highest = text.parse().ok().and_then(Levels::up_to);
    highest.ok_or_else(|| format!("this version speaks levels {}", Levels::OWN))
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) machine: Machine,
    /// Where the API answers
    #[arg(long, env = "CORACLE_LISTEN", default_value = "127.0.0.1:6443", value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,
    #[command(flatten)]
    pub(crate) acme: Acme,
    #[command(flatten)]
    pub(crate) audit: Audit,
    #[command(flatten)]
    pub(crate) signing: Signing,
    #[command(flatten)]
    pub(crate) loss: Loss,
    #[command(flatten)]
    pub(crate) addresses: Addresses,
    /// The file with the keys that seal what lies on the disk, made if it is missing; without it the data cannot be read
    /// [default: store/keys.json in the data directory]
    #[arg(long, env = "CORACLE_ENCRYPTION_KEYS", value_name = "FILE")]
    pub(crate) encryption_keys: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) snapshots: WantedSchedule,
    /// A manifest, or a folder of manifests, to apply once the cluster is up
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR")]
    pub(crate) files: Vec<PathBuf>,
}

/// How the cluster's authority signs.
#[derive(Debug, Args)]
pub(crate) struct Signing {
    /// How long certificates of nodes and servers are good; they are replaced when two thirds of it are over
    #[arg(long, env = "CORACLE_CLUSTER_SIGNING_DURATION", default_value = "24h", value_name = "DURATION",
        value_parser = crate::durations::parse)]
    pub(crate) cluster_signing_duration: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct Server {
    #[command(flatten)]
    pub(crate) machine: Machine,
    /// Where the API answers
    #[arg(long, env = "CORACLE_LISTEN", default_value = "0.0.0.0:6443", value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,
    /// A further name or address that the API's certificate is valid for
    #[arg(long = "tls-san", env = "CORACLE_TLS_SAN", value_delimiter = ',', value_name = "NAME")]
    pub(crate) names: Vec<String>,
    #[command(flatten)]
    pub(crate) acme: Acme,
    #[command(flatten)]
    pub(crate) audit: Audit,
    #[command(flatten)]
    pub(crate) signing: Signing,
    #[command(flatten)]
    pub(crate) loss: Loss,
    #[command(flatten)]
    pub(crate) addresses: Addresses,
    /// The file with the keys that seal what lies on the disk, made if it is missing; without it the data cannot be read
    /// [default: store/keys.json in the data directory]
    #[arg(long, env = "CORACLE_ENCRYPTION_KEYS", value_name = "FILE")]
    pub(crate) encryption_keys: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) snapshots: WantedSchedule,
    /// Run no pods here
    #[arg(long, env = "CORACLE_NO_NODE")]
    pub(crate) no_node: bool,
    /// The URL of a server whose cluster this one is to be a server of; needed only the first time
    #[arg(long, env = "CORACLE_JOIN", value_name = "URL")]
    pub(crate) join: Option<String>,
    /// What `coracle token create --role server` printed; needed only the first time
    #[arg(long, env = "CORACLE_TOKEN", value_name = "TOKEN")]
    pub(crate) token: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Agent {
    #[command(flatten)]
    pub(crate) machine: Machine,
    /// Where other nodes reach this one
    #[arg(long, env = "CORACLE_LISTEN", default_value = "0.0.0.0:6443", value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,
    /// The server's URL
    #[arg(long, env = "CORACLE_SERVER", value_name = "URL")]
    pub(crate) server: String,
    /// What `coracle token` printed on the server; needed only the first time
    #[arg(long, env = "CORACLE_TOKEN", value_name = "TOKEN")]
    pub(crate) token: Option<String>,
}

/// Which cluster a command speaks to.
#[derive(Debug, Clone, Args)]
pub(crate) struct Access {
    /// The kubeconfig file [default: $KUBECONFIG, the data directory's, ~/.kube/config]
    #[arg(long, env = "CORACLE_KUBECONFIG", value_name = "FILE", global = true)]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The namespace
    #[arg(short, long, value_name = "NAME", global = true)]
    pub(crate) namespace: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Apply {
    #[command(flatten)]
    pub(crate) access: Access,
    /// A manifest, a folder of manifests, or `-` for standard input
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR", required = true)]
    pub(crate) files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct PortForward {
    #[command(flatten)]
    pub(crate) access: Access,
    /// The pod, or what selects it: `web-0`, `deploy/web`, `svc/web`
    #[arg(value_name = "POD|KIND/NAME")]
    pub(crate) pod: String,
    /// Which ports: `8080:80`, `80` for the same on both sides, `:80` for any that is free here
    #[arg(value_name = "[LOCAL:]REMOTE", required = true)]
    pub(crate) ports: Vec<String>,
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    pub(crate) address: IpAddr,
}

#[derive(Debug, Args)]
pub(crate) struct Get {
    #[command(flatten)]
    pub(crate) access: Access,
    /// What to show: `pods`, `deploy/web`, `svc,ing` …
    #[arg(value_name = "KIND[/NAME]", required = true)]
    pub(crate) what: Vec<String>,
    /// In all namespaces
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
    /// Only objects with these labels
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub(crate) selector: Option<String>,
    /// Only objects with these fields
    #[arg(long, value_name = "FIELDS")]
    pub(crate) field_selector: Option<String>,
    /// How to print them
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<Output>,
    /// Go on and print what changes
    #[arg(short, long)]
    pub(crate) watch: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Top {
    #[command(flatten)]
    pub(crate) access: Access,
    /// Whose use to show
    #[arg(value_enum)]
    pub(crate) of: Used,
    /// One of them
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// In all namespaces
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
    /// Only those with these labels
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub(crate) selector: Option<String>,
}

/// Whose use of processors and memory is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Used {
    /// What nodes use
    #[value(alias = "node")]
    Nodes,
    /// What pods use
    #[value(alias = "pod")]
    Pods,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// The table, with more columns
    Wide,
    /// The whole object
    Yaml,
    /// The whole object
    Json,
    /// Only `kind/name`
    Name,
}

#[derive(Debug, Args)]
pub(crate) struct Describe {
    #[command(flatten)]
    pub(crate) access: Access,
    /// What to describe
    #[arg(value_name = "KIND[/NAME]", required = true)]
    pub(crate) what: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    pub(crate) access: Access,
    /// What to delete
    #[arg(value_name = "KIND[/NAME]")]
    pub(crate) what: Vec<String>,
    /// What the files in FILE or DIR name
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR")]
    pub(crate) files: Vec<PathBuf>,
    /// Only objects with these labels
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub(crate) selector: Option<String>,
    /// Everything of the kind in the namespace
    #[arg(long)]
    pub(crate) all: bool,
    /// Seconds to stop in
    #[arg(long, value_name = "SECONDS")]
    pub(crate) grace_period: Option<i64>,
    /// Do not wait until the objects are gone
    #[arg(long)]
    pub(crate) no_wait: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    #[command(flatten)]
    pub(crate) access: Access,
    /// The pod, or `deploy/NAME` for one of its pods
    #[arg(value_name = "POD")]
    pub(crate) pod: String,
    /// The container
    #[arg(short, long, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// Go on and print what is logged
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Of the instance before the last restart
    #[arg(short, long)]
    pub(crate) previous: bool,
    /// With the time of each line
    #[arg(long)]
    pub(crate) timestamps: bool,
    /// Only the last lines
    #[arg(long, value_name = "LINES")]
    pub(crate) tail: Option<u64>,
    /// Only what is younger than this, such as `90s` or `2h`
    #[arg(long, value_name = "DURATION")]
    pub(crate) since: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Scale {
    #[command(flatten)]
    pub(crate) access: Access,
    /// What to scale, such as `deploy/web`
    #[arg(value_name = "KIND/NAME", required = true)]
    pub(crate) what: Vec<String>,
    /// How many there shall be
    #[arg(long, value_name = "COUNT")]
    pub(crate) replicas: u32,
}

#[derive(Debug, Args)]
pub(crate) struct Rollout {
    #[command(subcommand)]
    pub(crate) command: RolloutCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RolloutCommand {
    /// Follow the rollout until it is done
    Status(RolloutStatus),
}

#[derive(Debug, Args)]
pub(crate) struct RolloutStatus {
    #[command(flatten)]
    pub(crate) access: Access,
    /// The deployment, such as `deploy/web`
    #[arg(value_name = "KIND/NAME")]
    pub(crate) what: String,
    /// Give up after this long
    #[arg(long, default_value = "10m", value_name = "DURATION")]
    pub(crate) timeout: String,
}

#[derive(Debug, Args)]
pub(crate) struct Wait {
    #[command(flatten)]
    pub(crate) access: Access,
    /// What to wait for
    #[arg(value_name = "KIND/NAME", required = true)]
    pub(crate) what: Vec<String>,
    /// `condition=NAME[=VALUE]`, `delete` or `jsonpath={.path}=VALUE`
    #[arg(long = "for", value_name = "CONDITION")]
    pub(crate) condition: String,
    /// Give up after this long
    #[arg(long, default_value = "30s", value_name = "DURATION")]
    pub(crate) timeout: String,
}

#[derive(Debug, Args)]
pub(crate) struct Push {
    #[command(flatten)]
    pub(crate) access: Access,
    /// The component
    #[arg(value_name = "FILE.wasm")]
    pub(crate) file: PathBuf,
    /// What to call it
    #[arg(value_name = "NAME:TAG")]
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct Kubeconfig {
    /// Where the cluster's data is kept
    #[arg(long, env = "CORACLE_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Token {
    #[command(flatten)]
    pub(crate) fresh: CreateToken,
    #[command(subcommand)]
    pub(crate) command: Option<TokenCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token, and print it; what `coracle token` does
    Create(CreateToken),
    /// List the tokens
    List(Access),
    /// Delete tokens
    Delete(DeleteToken),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum TokenRole {
    /// One that runs pods
    Node,
    /// One that holds what is stored, and may itself let others in
    Server,
}

#[derive(Debug, Args)]
pub(crate) struct CreateToken {
    #[command(flatten)]
    pub(crate) access: Access,
    /// When it ends; 0 is never
    #[arg(long, default_value = "24h", value_name = "DURATION")]
    pub(crate) ttl: String,
    /// How many machines may join with it; 0 is any number
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(..=1_000))]
    pub(crate) uses: u32,
    /// What it lets a machine become; a token for a server gives away the keys of the cluster
    #[arg(long, value_enum, default_value_t = TokenRole::Node)]
    pub(crate) role: TokenRole,
    /// A further group of whoever shows it, which begins with `system:bootstrappers:`
    #[arg(long, value_delimiter = ',', value_name = "GROUP")]
    pub(crate) groups: Vec<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteToken {
    #[command(flatten)]
    pub(crate) access: Access,
    /// The tokens, or what they begin with up to the first dot
    #[arg(value_name = "ID", required = true)]
    pub(crate) tokens: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Member {
    #[command(subcommand)]
    pub(crate) command: MemberCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MemberCommand {
    /// List the servers
    List(Access),
    /// Give a server that learns a vote; up to five get theirs by themselves
    Promote(OneMember),
    /// Have no more to do with a server, be it gone or about to go
    Remove(OneMember),
    /// Give the vote of a server to another that has none
    Replace(ReplaceMember),
    /// Have a server lead
    Lead(OneMember),
}

#[derive(Debug, Args)]
pub(crate) struct OneMember {
    #[command(flatten)]
    pub(crate) access: Access,
    /// Its number, as `coracle member list` tells it
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}

#[derive(Debug, Args)]
pub(crate) struct ReplaceMember {
    #[command(flatten)]
    pub(crate) access: Access,
    /// The number of the one that goes
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// The number of the one that takes its place
    #[arg(value_name = "WITH")]
    pub(crate) with: String,
}

#[derive(Debug, Args)]
pub(crate) struct Encryption {
    #[command(subcommand)]
    pub(crate) command: EncryptionCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EncryptionCommand {
    /// Show which keys each server has
    Status(Access),
    /// Have a new key seal everything at every server, and forget the old ones; nothing stops meanwhile
    Rotate(Access),
}

#[derive(Debug, Args)]
pub(crate) struct Version {
    #[command(flatten)]
    pub(crate) access: Access,
    /// Only this program's
    #[arg(long)]
    pub(crate) client: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct CompileComponent {
    /// The component
    pub(crate) input: PathBuf,
    /// Where its machine code goes
    pub(crate) output: PathBuf,
    /// What is linked to it: names and components in turn
    #[arg(allow_hyphen_values = true, trailing_var_arg = true)]
    pub(crate) links: Vec<std::ffi::OsString>,
}
