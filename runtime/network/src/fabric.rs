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
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::policy::{Direction, Peer, Policy, PortProtocol};
use crate::services::PortRef;
use crate::stream::carry;
use crate::{
    BindError, Config, Fault, Handler, Latest, Origin, Reach, Refused, Remote, Request, Response, Service,
    ServiceTable, Services, Stream, balance, call, handler,
};
use attachment::Pod;
use space::{Arriving, Behind, Claim};

mod attachment;
mod bridge;
mod datagrams;
mod mailbox;
mod space;

pub use attachment::{Attachment, Citizen, Listener, Socket};
pub use datagrams::Datagrams;

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
}

type Handlers = imbl::HashMap<SocketAddr, Arc<Bound>>;

type Pods = imbl::HashMap<IpAddr, Arc<Pod>>;

/// The ends of a connection that are asked whether it may be. What is on another node is asked there.
#[derive(Clone, Copy)]
enum Ends {
    Both,
    Source,
    Target,
}

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
        let shared = Shared {
            handlers: ArcSwap::default(),
            pods: ArcSwap::default(),
            turns: AtomicU64::default(),
            services,
            config,
            remote: OnceLock::new(),
            policy: OnceLock::new(),
            gateway: ArcSwap::from_pointee(Pod::gateway(GATEWAY)),
            home: Handle::try_current().ok(),
            pool: bridge::Pool::default(),
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
        let before = self.shared.gateway.swap(Arc::new(Pod::gateway(address)));
        let now = self.shared.gateway.load_full();
        self.shared.pods.rcu(|pods| pods.without(&before.address(address)).update(address, now.clone()));
    }

    /// This node, as one who asks.
    pub fn node(&self) -> Origin {
        Origin::Node(self.shared.config.node.clone())
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
        let remote = self.shared.remote.get().filter(|remote| remote.reaches(address.ip()));
        let remote = remote.ok_or(Fault::Unreachable(address))?.clone();
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
        let (fabric, origin) = (self.clone(), origin.clone());
        Box::pin(async move {
            let source = fabric.source(&origin, to);
            fabric.reach(&origin, Reach::Pod, source, to).await
        })
    }

    /// Connects `origin` to a pod of this node: where the way from another node ends.
    pub fn connect_here(&self, origin: &Origin, to: SocketAddr) -> BoxFuture<'static, Result<Stream, Refused>> {
        let (fabric, origin) = (self.clone(), origin.clone());
        Box::pin(async move {
            let source = fabric.source(&origin, to);
            fabric.open_here(&origin, source, to, Ends::Target).await.unwrap_or(Err(Refused::Nobody(to)))
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
                return fabric.reach(&pod.origin, pod.reach, source, to).await;
            }
            if let Some(Behind::Listener(listener)) = pod.space.find(Protocol::Tcp, to) {
                return fabric.enter(listener, source, to).await;
            }
            let own = SocketAddr::new(pod.address(to.ip()), to.port());
            let bound = fabric.shared.handlers.load().get(&own).cloned();
            match (bound, pod.reach) {
                (Some(bound), _) => Ok(fabric.serve(&bound, source, to)),
                (None, Reach::Node) => fabric.leave(to).await,
                (None, Reach::Pod) => Err(Refused::Nobody(to)),
            }
        })
    }

    /// Connects to wherever `to` is.
    async fn reach(
        &self,
        origin: &Origin,
        reach: Reach,
        source: SocketAddr,
        to: SocketAddr,
    ) -> Result<Stream, Refused> {
        let to = canonical(to);
        let service = self.shared.services.load().at(to.ip()).cloned();
        match service {
            Some(service) => self.through(&service, origin, source, to).await,
            None => self.open(origin, reach, source, to).await,
        }
    }

    /// Connects to one of the endpoints of a service.
    async fn through(
        &self,
        service: &Service,
        origin: &Origin,
        source: SocketAddr,
        to: SocketAddr,
    ) -> Result<Stream, Refused> {
        let port = service.port(PortRef::Number(to.port()));
        let port = port.map_err(|_| Refused::NoPort { service: service.to_string(), port: to.port() })?;
        let mut refused = Refused::NoEndpoint { service: format!("{service}:{}", port.number) };
        let mut tried = Vec::new();
        while tried.len() < balance::ATTEMPTS_MAX {
            let Some(endpoint) = balance::pick(&port.endpoints, &tried, balance::draw()) else { break };
            tried.push(endpoint.address);
            let in_flight = endpoint.load.enter();
            // Endpoints written by hand may lie outside; they are reached as pods reach what is outside.
            match self.open(origin, Reach::Pod, source, endpoint.address).await {
                Ok(stream) => return Ok(stream.seen_as(to).holding(in_flight)),
                Err(error) if error.is_worth_another_try() => refused = error,
                Err(error) => return Err(error),
            }
        }
        Err(refused)
    }

    /// Connects to an address that is nobody's but the one who has it.
    async fn open(&self, origin: &Origin, reach: Reach, source: SocketAddr, to: SocketAddr) -> Result<Stream, Refused> {
        if let Some(opened) = self.open_here(origin, source, to, Ends::Both).await {
            return opened;
        }
        if let Some(remote) = self.shared.remote.get().filter(|remote| remote.reaches(to.ip())) {
            self.permit(origin, to, Protocol::Tcp, Ends::Source)?;
            let opened = self.home(remote.stream(origin.clone(), to)).await;
            return opened.unwrap_or(Err(Refused::Unreachable(to)));
        }
        if self.is_inside(to.ip()) {
            return Err(Refused::Unreachable(to));
        }
        self.permit(origin, to, Protocol::Tcp, Ends::Source)?;
        if reach == Reach::Pod && !self.shared.config.egress.allows(to) {
            return Err(Refused::Denied { from: origin.to_string(), to });
        }
        self.leave(to).await
    }

    /// Connects to an address of this node's pods; `None`: it is not one.
    async fn open_here(
        &self,
        origin: &Origin,
        source: SocketAddr,
        to: SocketAddr,
        ends: Ends,
    ) -> Option<Result<Stream, Refused>> {
        if let Some(listener) = self.listener(to) {
            return Some(match self.permit(origin, to, Protocol::Tcp, ends) {
                Ok(()) => self.enter(listener, source, to).await,
                Err(refused) => Err(refused),
            });
        }
        let bound = self.shared.handlers.load().get(&to).cloned();
        if let Some(bound) = bound {
            return Some(self.permit(origin, to, Protocol::Tcp, ends).map(|()| self.serve(&bound, source, to)));
        }
        let is_ours = self.shared.pods.load().contains_key(&to.ip());
        is_ours.then_some(Err(Refused::Nobody(to)))
    }

    fn listener(&self, to: SocketAddr) -> Option<tokio::sync::mpsc::Sender<Arriving>> {
        let found = self.shared.pods.load().get(&to.ip())?.space.find(Protocol::Tcp, to);
        match found? {
            Behind::Listener(listener) => Some(listener),
            Behind::Taken | Behind::Mailbox(_) => None,
        }
    }

    /// A connection to who listens, waiting where the row before the listener is full.
    async fn enter(
        &self,
        listener: tokio::sync::mpsc::Sender<Arriving>,
        source: SocketAddr,
        to: SocketAddr,
    ) -> Result<Stream, Refused> {
        use tokio::sync::mpsc::error::TrySendError;
        let (near, far) = Stream::pair(source, to);
        let waiting = match listener.try_send(Arriving::new(far)) {
            Ok(()) => return Ok(near),
            Err(TrySendError::Closed(_)) => return Err(Refused::Nobody(to)),
            Err(TrySendError::Full(arriving)) => arriving,
        };
        let limit = self.shared.config.connect_timeout;
        let sent = self.home(async move { timeout(limit, listener.send(waiting)).await }).await;
        match sent {
            Some(Ok(Ok(()))) => Ok(near),
            Some(Err(_)) => Err(Refused::TimedOut { to, limit }),
            Some(Ok(Err(_))) | None => Err(Refused::Nobody(to)),
        }
    }

    /// A connection to who answers requests.
    fn serve(&self, bound: &Bound, source: SocketAddr, to: SocketAddr) -> Stream {
        let (near, far) = Stream::pair(source, to);
        self.start(bridge::serve(bound.handler.clone(), far, bound.closing.clone()));
        near
    }

    /// A connection to the world outside.
    async fn leave(&self, to: SocketAddr) -> Result<Stream, Refused> {
        let limit = self.shared.config.connect_timeout;
        let connected = self.home(async move { timeout(limit, TcpStream::connect(to)).await }).await;
        match connected {
            Some(Ok(Ok(real))) => self.carried(real).map_err(|source| Refused::failed(to, source)),
            Some(Ok(Err(source))) => Err(Refused::failed(to, source)),
            Some(Err(_)) => Err(Refused::TimedOut { to, limit }),
            None => Err(Refused::Unreachable(to)),
        }
    }

    /// A real connection as a stream.
    fn carried(&self, real: TcpStream) -> std::io::Result<Stream> {
        real.set_nodelay(true)?;
        let (local, remote) = (real.local_addr()?, real.peer_addr()?);
        let (near, far) = Stream::pair(local, remote);
        self.start(async move {
            if let Err(error) = carry(far, real).await {
                tracing::debug!(%remote, error = &error as &dyn std::error::Error, "a connection broke off");
            }
        });
        Ok(near)
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

    /// A socket for datagrams of the node's own, at its end of the pod network.
    pub fn datagrams(&self) -> Result<Datagrams, BindError> {
        let gateway = self.shared.gateway.load_full();
        let local = SocketAddr::new(gateway.address(GATEWAY), 0);
        Datagrams::bind(self, &gateway, local)
    }

    // --- What all of them need. ---

    /// Whether `origin` may reach `to`, as far as these ends are concerned: asked at every dial.
    fn permit(&self, origin: &Origin, to: SocketAddr, protocol: Protocol, ends: Ends) -> Result<(), Refused> {
        self.permit_unless(origin, to, protocol, ends, |_| false)
    }

    /// Whether `origin` may reach `to`, which is not in the cluster.
    pub(crate) fn permit_outside(&self, origin: &Origin, to: SocketAddr) -> Result<(), Refused> {
        self.permit(origin, to, Protocol::Tcp, Ends::Source)
    }

    /// As [`permit`](Self::permit), but an end's no does not count where that end is excused.
    fn permit_unless(
        &self,
        origin: &Origin,
        to: SocketAddr,
        protocol: Protocol,
        ends: Ends,
        is_excused: impl Fn(Direction) -> bool,
    ) -> Result<(), Refused> {
        let Some(policy) = self.shared.policy.get().filter(|policy| !policy.is_open()) else { return Ok(()) };
        let port = PortProtocol { number: to.port(), protocol };
        let here = self.shared.pods.load().get(&to.ip()).cloned();
        let (from, at) = (origin.peer(), here.as_ref().map_or(Peer::Address(to.ip()), |pod| pod.origin.peer()));
        for direction in ends.directions() {
            let checked = policy.check_unless(*direction, &from, &at, port, || is_excused(*direction));
            checked.map_err(|_| Refused::Denied { from: origin.to_string(), to })?;
        }
        Ok(())
    }

    /// Whether an address is one of the cluster's, and so never to be looked for outside.
    fn is_inside(&self, ip: IpAddr) -> bool {
        self.shared.config.is_inside(ip)
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

    /// Where a connection of `origin` to `to` comes from.
    fn source(&self, origin: &Origin, to: SocketAddr) -> SocketAddr {
        match origin {
            Origin::Outside(address) => *address,
            Origin::Pod { address, .. } => SocketAddr::new(*address, space::any(|_| true).unwrap_or_default()),
            Origin::Ingress | Origin::Node(_) => self.shared.gateway.load().source(None, to),
        }
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

// === impl Ends ===

impl Ends {
    fn directions(self) -> &'static [Direction] {
        match self {
            Self::Both => &[Direction::Egress, Direction::Ingress],
            Self::Source => &[Direction::Egress],
            Self::Target => &[Direction::Ingress],
        }
    }
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
