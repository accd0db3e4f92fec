//! The agent's own loop: a worker for each pod that the cluster wants here.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use api::{GroupKind, Key, Object, Revision, kinds};
use bytes::Bytes;
use client::Client;
use futures::channel::mpsc;
use futures::future::BoxFuture;
use host::{Host, Ledger, Limits};
use http::{Request, Response, header};
use http_body_util::BodyExt;
use network::tunnel::Tunnel;
use network::{Body, Fabric, Outbound};
use state::Snapshot;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::allotment::Allotments;
use crate::config::Config;
use crate::context::Context;
use crate::desired::{Uid, Wanted, desired};
use crate::image::{Cache, ClusterRegistry, Images, Nodes, collect};
use crate::logs::Logs;
use crate::machine::Machine;
use crate::recorder::Recorder;
use crate::volumes::quotas::Quotas;
use crate::volumes::reclaim;
use crate::volumes::remote::Remotes;
use crate::volumes::snapshots;
use crate::volumes::sources::Sources;
use crate::worker::{self, Mail, Post};
use crate::{denials, kept, link, node, pressure};

/// Why an agent could not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Its directory is not usable.
    #[error("failed to open the directory for images {dir}")]
    Images {
        /// The directory.
        dir: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// What a node works with.
pub struct Engines {
    /// Runs components.
    pub host: Host,
    /// Carries what pods say to each other.
    pub fabric: Fabric,
    /// Carries the requests of pods.
    pub outbound: Outbound,
    /// Looks up names.
    pub resolver: dns::Resolver,
    /// The way to other nodes, which may have what this one needs.
    pub tunnel: Tunnel,
}

/// A worker as the loop sees it.
struct Employed {
    post: Post,
    told: Revision,
    /// What its volumes were made from.
    sources: Sources,
}

/// What volumes are made from.
const SOURCES: [GroupKind; 2] = [kinds::CONFIG_MAP, kinds::SECRET];

/// Runs the pods of one node until `shutdown`. Then everything stops at once, and nothing is written about it: the pods are
/// still wanted, and run again when the agent does.
pub async fn run(
    config: Config,
    mut view: watch::Receiver<Snapshot>,
    client: Client,
    engines: Engines,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let Engines { host, fabric, outbound, resolver, tunnel } = engines;
    let images = config.data_dir.join("images");
    let cache =
        Cache::open(&images).map_err(|source| RunError::Images { dir: images.display().to_string(), source })?;
    tunnel.offer(cache.shelf());
    let beside = Nodes { tunnel, view: view.clone(), name: config.node_name.clone() };
    let (recorder, recording) = Recorder::new(client.clone(), config.node_name.clone());
    let denied = fabric.policy().map(|policy| policy.denials().listen());
    let machine = Machine::read(&config.resources, &config.data_dir);
    let quotas: Arc<Quotas> = Arc::default();
    let context = Arc::new(Context {
        guests: Ledger::new(Limits {
            memory_bytes: Some(machine.memory_bytes).filter(|bytes| *bytes > 0),
            ..Limits::default()
        }),
        allotments: std::sync::Mutex::new(Allotments::new(&machine)),
        machine,
        images: Images::new(cache, Arc::new(Registry(client.clone()))).beside(beside),
        logs: Logs::new(config.data_dir.join("logs"), config.rotation),
        addresses: std::sync::Mutex::default(),
        attachments: std::sync::Mutex::default(),
        posts: std::sync::Mutex::default(),
        meter: tokio::sync::Mutex::default(),
        remotes: Remotes::new(config.remote_dir(), quotas.clone(), recorder.clone()),
        quotas,
        sites: Arc::default(),
        pressures: watch::Sender::default(),
        linked: watch::Sender::default(),
        is_stopping: AtomicBool::new(false),
        view: view.clone(),
        config,
        client,
        host,
        fabric,
        outbound,
        resolver,
        recorder,
    });
    let working = async {
        let mut workers = Workers {
            context: context.clone(),
            employed: HashMap::new(),
            finished: HashSet::new(),
            tasks: JoinSet::new(),
            swept: false,
            seen: Snapshot::default(),
        };
        loop {
            let start = Instant::now();
            let world = view.borrow_and_update().clone();
            workers.look(&world);
            // However many pods there are, most of the time is left for them.
            let mut rested = pin!(tokio::time::sleep(2 * start.elapsed()));
            let mut is_due = false;
            loop {
                tokio::select! {
                    changed = view.changed(), if !is_due => match changed {
                        Ok(()) => is_due = true,
                        Err(_) => return,
                    },
                    Some(ended) = workers.tasks.join_next() => {
                        workers.ended(ended);
                    }
                    () = &mut rested, if is_due => break,
                }
            }
        }
    };
    tokio::select! {
        () = async { shutdown.await; node::part(&context).await } => {}
        () = working => {}
        () = recording => {}
        () = tell_denials(denied, context.recorder.clone()) => {}
        () = node::keep(context.clone(), context.client.apart()) => {}
        () = collect::keep(context.clone()) => {}
        () = kept::keep(context.clone()) => {}
        () = pressure::keep(context.clone()) => {}
        () = reclaim::keep(context.clone()) => {}
        () = snapshots::keep(context.clone()) => {}
        () = context.remotes.clone().keep() => {}
        () = link::serve(context.clone()) => {}
    }
    info!(node = %context.config.node_name, "the agent ends");
    Ok(())
}

/// Tells what policies deny, where there are any to obey.
async fn tell_denials(denied: Option<broadcast::Receiver<network::policy::Denial>>, recorder: Recorder) {
    match denied {
        Some(denied) => denials::tell(denied, recorder).await,
        None => std::future::pending().await,
    }
}

struct Workers {
    context: Arc<Context>,
    employed: HashMap<Uid, Employed>,
    /// Pods that are over and done with here, while the cluster still has them: somebody else's finalizer may hold them.
    finished: HashSet<Uid>,
    swept: bool,
    /// The world at the last look.
    seen: Snapshot,
    /// Each gives back whose it was when nothing is left of the pod.
    tasks: JoinSet<(Key, Uid)>,
}

impl Workers {
    /// Tells each worker what changed, and employs one for each new pod. It costs what has changed since the last look, however
    /// many pods there are.
    fn look(&mut self, world: &Snapshot) {
        // A view that has not been filled yet wants nothing, which is not to be believed.
        if world.revision() == Revision::ZERO {
            return;
        }
        let node = self.context.config.node_name.clone();
        if !std::mem::replace(&mut self.swept, true) {
            let config = &self.context.config;
            let wanted: HashSet<&str> = world.pods_on(&node).map(|pod| &*pod.meta().uid).collect();
            for directory in [Some(&config.data_dir), config.memory_dir.as_ref()].into_iter().flatten() {
                sweep(directory, |uid| wanted.contains(uid));
            }
        }
        let seen = std::mem::replace(&mut self.seen, world.clone());
        if SOURCES.iter().any(|kind| !world.agrees(&seen, *kind)) {
            for employed in self.employed.values_mut() {
                if employed.sources.look(world) {
                    let _ = employed.post.unbounded_send(Mail::VolumesChanged);
                }
            }
        }
        for (before, after) in world.changes(&seen, kinds::POD) {
            let here = |view: &Snapshot, pod: &&Object| view.is_on(&node, pod.key());
            let (before, after) = (before.filter(|pod| here(&seen, pod)), after.filter(|pod| here(world, pod)));
            if let Some(before) =
                before.filter(|before| after.is_none_or(|after| after.meta().uid != before.meta().uid))
            {
                self.left(&before.meta().uid);
            }
            if let Some(after) = after {
                match desired(after) {
                    Ok(wanted) => self.wanted(&after.meta().uid, wanted, world),
                    Err(error) => warn!(%error, "a pod is left alone"),
                }
            }
        }
    }

    /// A pod is not in the cluster any more, or not for this node.
    fn left(&mut self, uid: &Uid) {
        self.finished.remove(uid);
        if let Some(employed) = self.employed.get(uid) {
            // Its room is for those who come now, however long it takes to end.
            self.context.allot(|allotments| allotments.release(uid));
            let _ = employed.post.unbounded_send(Mail::Removed);
        }
    }

    /// The cluster says this about a pod of this node.
    fn wanted(&mut self, uid: &Uid, wanted: Wanted, world: &Snapshot) {
        match self.employed.get_mut(uid) {
            Some(employed) if employed.told >= wanted.object.revision() => {}
            Some(employed) => {
                employed.told = wanted.object.revision();
                let _ = employed.post.unbounded_send(Mail::Wanted(wanted));
            }
            None if self.finished.contains(uid) => {}
            None => {
                let (post, mail) = mpsc::unbounded();
                let sources = Sources::of(&wanted.pod, world);
                let employed = Employed { post: post.clone(), told: wanted.object.revision(), sources };
                self.employed.insert(uid.clone(), employed);
                self.context.posts().insert(uid.clone(), post.clone());
                let (context, key, uid) = (self.context.clone(), wanted.object.key().clone(), uid.clone());
                self.tasks.spawn(async move {
                    worker::work(context, wanted, uid.clone(), post, mail).await;
                    (key, uid)
                });
            }
        }
    }

    fn ended(&mut self, ended: Result<(Key, Uid), tokio::task::JoinError>) {
        match ended {
            Ok((key, uid)) => {
                self.employed.remove(&uid);
                self.context.posts().remove(&uid);
                if self.seen.get(&key).is_some_and(|pod| pod.meta().uid == uid) {
                    self.finished.insert(uid);
                }
            }
            Err(error) => warn!(%error, "a worker broke off"),
        }
    }
}

/// Removes what pods left behind that went while no agent ran.
fn sweep(data_dir: &Path, is_wanted: impl Fn(&str) -> bool) {
    for place in ["pods", "logs"] {
        for entry in std::fs::read_dir(data_dir.join(place)).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            // Both are named by the uid, the logs with more before it.
            let uid = name.rsplit('_').next().unwrap_or_default();
            if !is_wanted(uid)
                && let Err(error) = std::fs::remove_dir_all(entry.path())
            {
                warn!(path = %entry.path().display(), %error, "files of a pod were left behind");
            }
        }
    }
}

/// The cluster's registry, which the API server serves.
struct Registry(Client);

impl ClusterRegistry for Registry {
    fn get(&self, path: String, accept: &'static str) -> BoxFuture<'_, Result<Response<Body>, String>> {
        Box::pin(async move {
            let request = Request::get(path).header(header::ACCEPT, accept).body(client::no_body());
            let response = self.0.request(request.map_err(|error| error.to_string())?).await;
            let response = response.map_err(|error| error.to_string())?;
            Ok(response.map(|body| {
                body.map_err(network::BoxError::from).map_frame(|frame| frame.map_data(Bytes::from)).boxed_unsync()
            }))
        })
    }
}
