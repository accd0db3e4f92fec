//! Who answers at which address of this node, and the one way there.
//!
//! Two kinds of citizens: whoever answers requests is a [`Handler`] bound to an address, whoever has sockets is a pod with
//! an [`Attachment`]. They reach each other: a connection to a handler is served as HTTP, a request to a listener is sent
//! over a connection. What is not here is asked of the [`Remote`], a cluster address of the service table, and the rest of
//! the world of the egress policy.
//!
//! Readers take no lock: the tables are persistent maps behind one pointer each, and a change swaps the pointer. The agent
//! binds an address when a container may be reached and drops the [`Binding`] when it may not; requests under way are not cut.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures::future::BoxFuture;
use state::Protocol;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::policy::Policy;
use crate::{
    BindError, Config, Fault, Handler, Latest, Origin, Reach, Readiness, Refused, Remote, Request, Response,
    ServiceTable, Services, Stream, call, handler,
};
use attachment::Pod;
use space::{Behind, Claim};

mod asking;
mod attachment;
mod bridge;
mod datagrams;
mod mailbox;
mod progress;
mod reach;
mod row;
mod space;

pub use asking::Security;
pub use attachment::{Attachment, Citizen, Listener, Socket};
pub use datagrams::Datagrams;
use reach::Ends;
pub use row::{Row, Waiting};

/// The address of the node's own end of every connection, while nobody has said a better one.
const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1));

/// The addresses of this node's pods, who answers there, and the ways to the rest. Cloning shares it.
#[derive(Clone)]
pub struct Fabric {
    shared: Arc<Shared>,
}

/// An address that is answered at. Dropping it unbinds the address, unless somebody else was bound there since.
#[must_use = "dropping a binding unbinds the address"]
pub struct Binding {
    address: SocketAddr,
    turn: u64,
    /// Tells the connections that are served at the address to end once they have nothing under way.
    closing: CancellationToken,
    shared: Arc<Shared>,
}

struct Shared {
    handlers: ArcSwap<Handlers>,
    pods: ArcSwap<Pods>,
    turns: AtomicU64,
    services: Services,
    config: Config,
    remote: OnceLock<Arc<dyn Remote>>,
    /// Without one, everything may be.
    policy: OnceLock<Policy>,
    /// The node's own place on the network: where its connections come from.
    gateway: ArcSwap<Pod>,
    /// Where real sockets and timers live: callers may be polled anywhere.
    home: Option<Handle>,
    pool: bridge::Pool,
    /// Who waits for a service that has nobody yet.
    waiting: watch::Sender<Waiting>,
}

type Handlers = imbl::HashMap<SocketAddr, Arc<Bound>>;

type Pods = imbl::HashMap<IpAddr, Arc<Pod>>;

struct Bound {
    /// Tells one binding of an address from the next.
    turn: u64,
    handler: Handler,
    closing: CancellationToken,
}

// === impl Fabric ===

impl Fabric {
    /// A fabric on which nobody answers, in a cluster without services.
    pub fn new() -> Self {
        Self::over(Latest::fixed(ServiceTable::default()), Config::default())
    }

    /// A fabric on which nobody answers, in a cluster with `services`. Real sockets are those of the runtime it is made on.
    pub fn over(services: Services, config: Config) -> Self {
        let gateway = Arc::new(Pod::gateway(GATEWAY));
        let shared = Shared {
            handlers: ArcSwap::default(),
            pods: ArcSwap::from_pointee(Pods::unit(GATEWAY, gateway.clone())),
            turns: AtomicU64::default(),
            services,
            config,
            remote: OnceLock::new(),
            policy: OnceLock::new(),
            gateway: ArcSwap::new(gateway),
            home: Handle::try_current().ok(),
            pool: bridge::Pool::default(),
            waiting: watch::Sender::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// From here on what is on other nodes is reached by `remote`. Only the first one counts.
    pub fn reach_by(&self, remote: Arc<dyn Remote>) {
        if self.shared.remote.set(remote).is_err() {
            tracing::warn!("the way to other nodes is known already; another one is ignored");
        }
    }

    /// From here on connections and datagrams are only let through as `policy` says. Only the first one counts.
    pub fn obey(&self, policy: Policy) {
        if self.shared.policy.set(policy).is_err() {
            tracing::warn!("the policy is known already; another one is ignored");
        }
    }

    /// The policy that is obeyed, if there is one.
    pub fn policy(&self) -> Option<&Policy> {
        self.shared.policy.get()
    }

    /// From here on the node's own end of connections and datagrams has `address`: one of its pods' network that no pod has.
    pub fn stand_at(&self, address: IpAddr) {
        if self.shared.gateway.load().addresses == [address] {
            return;
        }
        let before = self.shared.gateway.swap(Arc::new(Pod::gateway(address)));
        let now = self.shared.gateway.load_full();
        self.shared.pods.rcu(|pods| pods.without(&before.address(address)).update(address, now.clone()));
    }

    /// Which of this node's pods are ready.
    fn readiness(&self) -> &Readiness {
        &self.shared.config.readiness
    }

    /// This node, as one who asks.
    pub fn node(&self) -> Origin {
        Origin::Node(self.shared.config.node.clone())
    }

    /// Who a client of one of the node's listeners is to the cluster. The node's own programs are the node, which always
    /// reaches its pods.
    pub fn origin_of(&self, client: SocketAddr) -> Origin {
        match client.ip().to_canonical() {
            ip if ip.is_loopback() => self.node(),
            ip => Origin::Outside(SocketAddr::new(ip, client.port())),
        }
    }

    // --- Those who answer requests. ---

    /// From here on `handler` answers at `address`, instead of whoever did.
    pub fn bind(&self, address: SocketAddr, handler: Handler) -> Binding {
        let turn = self.shared.turns.fetch_add(1, Ordering::Relaxed);
        let closing = CancellationToken::new();
        let bound = Arc::new(Bound { turn, handler, closing: closing.clone() });
        self.shared.handlers.rcu(|table| table.update(address, bound.clone()));
        Binding { address, turn, closing, shared: self.shared.clone() }
    }

    /// Who answers requests at the address of a pod, if `origin` may ask: in this process, or over a connection.
    pub fn dial(&self, origin: &Origin, address: SocketAddr) -> Result<Handler, Fault> {
        match self.dial_here(origin, address, Ends::Both) {
            Err(Fault::Unreachable(_)) => {}
            found => return found,
        }
        let remote = self.remote(address.ip()).ok_or(Fault::Unreachable(address))?.clone();
        self.permit(origin, address, Protocol::Tcp, Ends::Source)?;
        let (fabric, origin) = (self.clone(), origin.clone());
        Ok(handler(move |request| {
            let asked = remote.request(origin.clone(), address, request);
            let fabric = fabric.clone();
            async move { fabric.home(asked).await.unwrap_or_else(|| Err(Fault::Unreachable(address))) }
        }))
    }

    /// As [`dial`](Self::dial), but only pods of this node are asked.
    fn dial_here(&self, origin: &Origin, address: SocketAddr, ends: Ends) -> Result<Handler, Fault> {
        let bound = self.shared.handlers.load().get(&address).map(|bound| bound.handler.clone());
        if let Some(handler) = bound {
            self.permit(origin, address, Protocol::Tcp, ends)?;
            return Ok(handler);
        }
        match self.listener(address) {
            None => Err(Fault::Unreachable(address)),
            Some(_) => {
                self.permit(origin, address, Protocol::Tcp, ends)?;
                let (fabric, origin) = (self.clone(), origin.clone());
                Ok(handler(move |request| bridge::exchange(fabric.clone(), origin.clone(), address, request)))
            }
        }
    }

    /// Who answers requests at an address of the loopback of `origin`, a pod of this node. Its containers alone ask there: no
    /// policy has a say.
    pub fn dial_own(&self, origin: &Origin, to: SocketAddr) -> Result<Handler, Fault> {
        if self.own_listener(origin, to).is_some() {
            let (fabric, origin) = (self.clone(), origin.clone());
            return Ok(handler(move |request| bridge::exchange(fabric.clone(), origin.clone(), to, request)));
        }
        let own = origin.address().map(|ip| SocketAddr::new(ip, to.port()));
        let bound = own.and_then(|own| self.shared.handlers.load().get(&own).map(|bound| bound.handler.clone()));
        bound.ok_or(Fault::Unreachable(to))
    }

    /// Has `request` answered at the address of a pod.
    pub async fn send(&self, origin: &Origin, address: SocketAddr, request: Request) -> Result<Response, Fault> {
        call(self.dial(origin, address)?, request).await
    }

    /// Has `request` answered at the address of a pod of this node: where the way from another node ends.
    pub async fn send_here(&self, origin: &Origin, address: SocketAddr, request: Request) -> Result<Response, Fault> {
        call(self.dial_here(origin, address, Ends::Target)?, request).await
    }

    /// The addresses at which requests are answered, in no order.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.shared.handlers.load().keys().copied().collect()
    }

    // --- Those who have sockets. ---

    /// Puts a pod on the network.
    pub fn attach(&self, citizen: Citizen) -> Attachment {
        let attachment = Attachment::new(self.clone(), citizen);
        let pod = attachment.pod();
        // Pods on the node's network share its address; their ports are real ones, and not looked for here.
        if pod.reach == Reach::Pod {
            let join = |pods: &Arc<Pods>| {
                let mut pods = Pods::clone(pods);
                pods.extend(pod.addresses.iter().map(|address| (*address, pod.clone())));
                pods
            };
            self.shared.pods.rcu(join);
        }
        attachment
    }

    fn detach(&self, pod: &Arc<Pod>) {
        self.shared.pods.rcu(|pods| {
            let mut left = Pods::clone(pods);
            for address in &pod.addresses {
                if left.get(address).is_some_and(|there| Arc::ptr_eq(there, pod)) {
                    left.remove(address);
                }
            }
            left
        });
    }

    /// Connects `origin` to `to`: a pod, a service, or what egress policy lets pods reach.
    pub fn connect(&self, origin: &Origin, to: SocketAddr) -> BoxFuture<'static, Result<Stream, Refused>> {
        self.connect_as(origin, Reach::Pod, to)
    }

    /// Connects `origin` to a pod of this node: where the way from another node ends.
    pub fn connect_here(&self, origin: &Origin, to: SocketAddr) -> BoxFuture<'static, Result<Stream, Refused>> {
        let (fabric, origin) = (self.clone(), origin.clone());
        Box::pin(async move {
            let source = fabric.source(&origin, to);
            let opened = fabric.open_here(&origin, Ends::Target, source, to).await.unwrap_or(Err(Refused::Nobody(to)));
            Ok(fabric.stream_of(opened?, source, to))
        })
    }

    /// Connects a pod to `to`, its own loopback included.
    fn connect_from(
        &self,
        pod: Arc<Pod>,
        bound: Option<SocketAddr>,
        to: SocketAddr,
    ) -> BoxFuture<'static, Result<Stream, Refused>> {
        let fabric = self.clone();
        Box::pin(async move {
            let to = canonical(to);
            let source = pod.source(bound, to);
            if !attachment::is_own(to.ip()) {
                fabric.settle(&pod.origin).await;
                return fabric.reach(&pod.origin, pod.reach, source, to).await;
            }
            if let Some(listener) = pod.listener(to) {
                return fabric.enter(listener, source, to).await;
            }
            let own = SocketAddr::new(pod.address(to.ip()), to.port());
            let bound = fabric.shared.handlers.load().get(&own).cloned();
            match (bound, pod.reach) {
                (Some(bound), _) => Ok(fabric.served(&bound, source, to)),
                (None, Reach::Node) => fabric.leave(to).await,
                (None, Reach::Pod) => Err(Refused::Nobody(to)),
            }
        })
    }

    // --- Datagrams. ---

    /// Delivers a datagram to a pod of this node; where the way from another node ends. It may get lost.
    pub fn deliver(&self, origin: &Origin, from: SocketAddr, to: SocketAddr, datagram: Bytes) {
        let found = self.shared.pods.load().get(&to.ip()).and_then(|pod| pod.space.find(Protocol::Udp, to));
        if let Some(Behind::Mailbox(mailbox)) = found
            && self.permit_datagram(origin, to, Ends::Target, (None, from), Some(&mailbox)).is_ok()
        {
            mailbox.put(datagram, from);
        }
    }

    /// A socket for datagrams on behalf of `origin`, at the node's own end of the pod network.
    pub fn datagrams(&self, origin: &Origin) -> Result<Datagrams, BindError> {
        let pod = Arc::new(self.shared.gateway.load().on_behalf_of(origin.clone()));
        let local = SocketAddr::new(pod.address(GATEWAY), 0);
        Datagrams::bind(self, &pod, local)
    }

    // --- What all of them need. ---

    /// The way to another node that has pods with such addresses.
    fn remote(&self, ip: IpAddr) -> Option<&Arc<dyn Remote>> {
        self.shared.remote.get().filter(|remote| remote.reaches(ip))
    }

    /// Takes a port of a pod, unless a handler answers there.
    fn take(&self, pod: &Pod, protocol: Protocol, local: SocketAddr, behind: Behind) -> Result<Claim, BindError> {
        let ip = local.ip();
        if !attachment::is_own(ip) && !pod.addresses.contains(&ip) {
            return Err(BindError::NotOwn(local));
        }
        let handlers = self.shared.handlers.load_full();
        let is_answered = |port| pod.addresses.iter().any(|own| handlers.contains_key(&SocketAddr::new(*own, port)));
        pod.space.take(protocol, local, |port| protocol != Protocol::Tcp || !is_answered(port), behind)
    }

    /// Has `work` done where real sockets and timers live, and called off when nobody waits for it any more.
    async fn home<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Option<T> {
        match &self.shared.home {
            Some(home) => AbortOnDropHandle::new(home.spawn(work)).await.ok(),
            None => Some(work.await),
        }
    }

    /// Has `make` make a real socket where such live.
    fn at_home<T>(&self, make: impl FnOnce() -> T) -> T {
        let _entered = self.shared.home.as_ref().map(Handle::enter);
        make()
    }

    /// Starts what goes on as long as a connection does, and ends with it.
    fn start(&self, work: impl Future<Output = ()> + Send + 'static) {
        match &self.shared.home {
            Some(home) => drop(home.spawn(work)),
            None => drop(tokio::spawn(work)),
        }
    }
}

impl Default for Fabric {
    fn default() -> Self {
        Self::new()
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

// === impl Binding ===

impl Binding {
    /// The address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Binding {
    fn drop(&mut self) {
        self.shared.handlers.rcu(|table| match table.get(&self.address) {
            Some(bound) if bound.turn == self.turn => Arc::new(table.without(&self.address)),
            _ => table.clone(),
        });
        self.closing.cancel();
    }
}

#[cfg(test)]
mod tests;
