//! What everything on a node shares.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use api::Key;
use client::Client;
use host::{Host, Ledger};
use network::{Attachment, Fabric, Outbound};
use state::address::{self, NoAddress};
use state::{Claim, Snapshot};
use tokio::sync::watch;

use crate::allotment::Allotments;
use crate::config::Config;
use crate::desired::Uid;
use crate::environment::Surroundings;
use crate::eviction::Pressures;
use crate::image::Images;
use crate::kept::Kept;
use crate::logs::Logs;
use crate::machine::Machine;
use crate::pod::Happening;
use crate::recorder::Recorder;
use crate::usage::Meter;
use crate::volumes::quotas::Quotas;
use crate::volumes::remote::Remotes;
use crate::volumes::snapshots::Sites;
use crate::worker::{Mail, Post};

pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) machine: Machine,
    pub(crate) view: watch::Receiver<Snapshot>,
    pub(crate) client: Client,
    pub(crate) host: Host,
    /// What all guests of the node use together, and may.
    pub(crate) guests: Ledger,
    pub(crate) fabric: Fabric,
    pub(crate) outbound: Outbound,
    pub(crate) resolver: dns::Resolver,
    pub(crate) images: Images,
    pub(crate) logs: Logs,
    pub(crate) recorder: Recorder,
    /// What holds volumes to their sizes.
    pub(crate) quotas: Arc<Quotas>,
    /// What is here of volumes that are elsewhere.
    pub(crate) remotes: Arc<Remotes>,
    /// Who makes or removes which volume.
    pub(crate) sites: Arc<Sites>,
    pub(crate) addresses: Mutex<Addresses>,
    /// The pods' places on the network; each is its worker's.
    pub(crate) attachments: Mutex<HashMap<Uid, Weak<Attachment>>>,
    /// What is used on the node, as it was last measured.
    pub(crate) meter: tokio::sync::Mutex<Meter>,
    /// How often the node was linked to a server.
    pub(crate) linked: watch::Sender<u64>,
    /// Whether the node is about to stop.
    pub(crate) is_stopping: AtomicBool,
    /// What the node is short of.
    pub(crate) pressures: watch::Sender<Pressures>,
    /// What of the node is promised to whom.
    pub(crate) allotments: Mutex<Allotments>,
    /// How the pods' workers are reached.
    pub(crate) posts: Mutex<HashMap<Uid, Post>>,
}

/// The addresses that pods of this node are about to have, or have.
#[derive(Default)]
pub(crate) struct Addresses {
    taken: BTreeMap<IpAddr, Uid>,
    by: HashMap<Uid, IpAddr>,
    last: Option<IpAddr>,
}

// === impl Context ===

impl Context {
    pub(crate) fn view(&self) -> Snapshot {
        self.view.borrow().clone()
    }

    /// Whether the node began with what it had kept, and no server has answered since.
    pub(crate) fn is_alone(&self) -> bool {
        self.config.kept.as_ref().is_some_and(Kept::is_alone)
    }

    pub(crate) fn around<'a>(&self, view: &'a Snapshot, address: IpAddr) -> Surroundings<'a> {
        Surroundings {
            view,
            address,
            host: self.config.host_address(),
            node_cpu_millis: self.machine.cpu_millis,
            node_memory_bytes: self.machine.memory_bytes,
        }
    }

    /// An address that nobody has and no other pod of this node is about to claim.
    pub(crate) fn pick_address(
        &self,
        uid: &Uid,
        preferred: Option<IpAddr>,
        avoid: &BTreeSet<IpAddr>,
    ) -> Result<IpAddr, NoAddress> {
        let view = self.view();
        let ranges = address::ranges(&view, &self.config.node_name)?;
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        match addresses.by.get(uid).copied() {
            // It could not be told yet that this is the pod's.
            Some(address) if !avoid.contains(&address) => return Ok(address),
            // Somebody else has it.
            Some(address) => drop(addresses.taken.remove(&address)),
            None => {}
        }
        let is_others = |address: &IpAddr| addresses.taken.get(address).is_some_and(|by| by != uid);
        let avoided = |address: &IpAddr| avoid.contains(address) || is_others(address);
        let picked = address::pick(&view, &ranges, preferred, addresses.last, avoided)?;
        addresses.taken.insert(picked, uid.clone());
        addresses.by.insert(uid.clone(), picked);
        addresses.last = Some(picked);
        Ok(picked)
    }

    /// Whether the cluster says of this pod, and of no other, that it has the address.
    pub(crate) fn is_held_by(&self, pod: &Key, address: IpAddr) -> bool {
        let view = self.view.borrow();
        let mut holders = view.holders(&Claim::PodIp(address));
        holders.next() == Some(pod) && holders.next().is_none()
    }

    /// A pod's place on the network, while it has one.
    pub(crate) fn attachment(&self, uid: &Uid) -> Option<Arc<Attachment>> {
        self.attachments.lock().unwrap_or_else(PoisonError::into_inner).get(uid)?.upgrade()
    }

    /// Notes a pod's place on the network; before there would be need of more room, those that are gone are forgotten.
    pub(crate) fn note_attachment(&self, uid: &Uid, attachment: &Arc<Attachment>) {
        let mut attachments = self.attachments.lock().unwrap_or_else(PoisonError::into_inner);
        if attachments.len() == attachments.capacity() {
            attachments.retain(|_, known| known.strong_count() > 0);
        }
        attachments.insert(uid.clone(), Arc::downgrade(attachment));
    }

    /// How a pod's worker is reached, while it has one.
    pub(crate) fn post(&self, uid: &Uid) -> Option<Post> {
        self.posts().get(uid).cloned()
    }

    /// Changes what is promised to pods, and tells those who waited for it what they have now.
    pub(crate) fn allot<T>(&self, change: impl FnOnce(&mut Allotments) -> T) -> T {
        let (changed, granted) = {
            let mut allotments = self.allotments.lock().unwrap_or_else(PoisonError::into_inner);
            let changed = change(&mut allotments);
            (changed, allotments.grant())
        };
        for (uid, pod) in granted {
            if let Some(post) = self.post(&uid) {
                // Who does not read his post any more gives it back in a moment.
                let _ = post.unbounded_send(Mail::Happened(Happening::Allotted(pod)));
            }
        }
        changed
    }

    /// The workers of all pods.
    pub(crate) fn posts(&self) -> std::sync::MutexGuard<'_, HashMap<Uid, Post>> {
        self.posts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the address that a pod had or tried for.
    pub(crate) fn return_addresses(&self, uid: &Uid) {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(address) = addresses.by.remove(uid) {
            addresses.taken.remove(&address);
        }
    }
}
