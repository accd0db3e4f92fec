//! What a pod is on the network: an address, ports, and a loopback that its containers share.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use futures::future::BoxFuture;
use state::Protocol;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc;

use super::space::{Arriving, Behind, Claim, Space, any};
use super::{Datagrams, Fabric};
use crate::readiness::Speaker;
use crate::{BindError, Origin, Reach, Refused, Stream};

/// The fewest and the most connections that may wait to be accepted.
const BACKLOG: std::ops::RangeInclusive<usize> = 1..=4096;

/// What a pod is on the network.
#[derive(Clone, Debug)]
pub struct Citizen {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its addresses; the first one is what its connections come from.
    pub addresses: Vec<IpAddr>,
    /// Whether it is on the node's own network: its ports and its loopback are real ones, and it reaches what the node does.
    pub host_network: bool,
}

/// A pod's place on the network. Dropping it detaches the pod; connections that stand are not cut.
#[must_use = "dropping an attachment takes the pod off the network"]
pub struct Attachment {
    fabric: Fabric,
    pod: Arc<Pod>,
}

/// A pod that is attached.
pub(super) struct Pod {
    pub(super) origin: Origin,
    pub(super) reach: Reach,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) space: Arc<Space>,
}

/// A local address that is taken for a stream, not used yet.
pub struct Socket {
    fabric: Fabric,
    pod: Arc<Pod>,
    held: Held,
}

enum Held {
    /// A port of the pod's.
    Own(Claim),
    /// A port of the node's.
    Real(TcpSocket, SocketAddr),
}

/// Where connections to a listener go in.
pub(super) type Door = mpsc::Sender<Arriving>;

/// Takes connections at an address of a pod.
pub struct Listener {
    local: SocketAddr,
    from: Arrivals,
}

enum Arrivals {
    Own { arriving: mpsc::Receiver<Arriving>, _claim: Claim },
    Real { listener: TcpListener, fabric: Fabric },
}

// === impl Attachment ===

impl Attachment {
    pub(super) fn new(fabric: Fabric, citizen: Citizen) -> Self {
        let address = citizen.addresses.first().copied().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let pod = Arc::new(Pod {
            origin: Origin::pod(citizen.namespace, citizen.name, address),
            reach: if citizen.host_network { Reach::Node } else { Reach::Pod },
            addresses: citizen.addresses.into_iter().map(|address| address.to_canonical()).collect(),
            space: Arc::default(),
        });
        Self { fabric, pod }
    }

    pub(super) fn pod(&self) -> &Arc<Pod> {
        &self.pod
    }

    /// Whether the pod is ready: what this node believes from now on, whatever the cluster still says. Of pods on the node's own network,
    /// which share one address, it is not kept.
    pub fn tell_ready(&self, is_ready: bool) {
        if self.pod.reach == Reach::Pod {
            for address in &self.pod.addresses {
                self.fabric.readiness().tell(self.speaker(), *address, is_ready);
            }
        }
    }

    fn speaker(&self) -> Speaker {
        Speaker(Arc::as_ptr(&self.pod).addr())
    }

    /// Who this pod is to others.
    pub fn origin(&self) -> &Origin {
        &self.pod.origin
    }

    /// Takes a local address for a stream: port 0 is any free one, the unspecified address all that the pod has.
    pub fn bind(&self, local: SocketAddr) -> Result<Socket, BindError> {
        let local = canonical(local);
        let held = match self.pod.reach {
            Reach::Pod => Held::Own(self.fabric.take(&self.pod, Protocol::Tcp, local, Behind::Taken)?),
            Reach::Node => self.fabric.at_home(|| real_socket(local)).map(|(socket, at)| Held::Real(socket, at))?,
        };
        Ok(Socket { fabric: self.fabric.clone(), pod: self.pod.clone(), held })
    }

    /// Connects to `to` from an address of the network's choice.
    pub fn connect(&self, to: SocketAddr) -> BoxFuture<'static, Result<Stream, Refused>> {
        self.fabric.connect_from(self.pod.clone(), None, to)
    }

    /// Takes a local address for datagrams, by the rules of [`bind`](Self::bind).
    pub fn datagrams(&self, local: SocketAddr) -> Result<Datagrams, BindError> {
        Datagrams::bind(&self.fabric, &self.pod, canonical(local))
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        for address in &self.pod.addresses {
            self.fabric.readiness().forget(self.speaker(), *address);
        }
        self.fabric.detach(&self.pod);
    }
}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Attachment").field(&self.pod.origin).finish()
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn real_socket(local: SocketAddr) -> Result<(TcpSocket, SocketAddr), BindError> {
    let made = if local.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let bound = made.and_then(|socket| {
        socket.set_reuseaddr(true)?;
        socket.bind(local)?;
        let at = socket.local_addr()?;
        Ok((socket, at))
    });
    bound.map_err(|source| BindError::failed(local, source))
}

// === impl Pod ===

impl Pod {
    /// The node's own place on the pod network.
    pub(super) fn gateway(address: IpAddr) -> Self {
        Self { origin: Origin::Node("".into()), reach: Reach::Pod, addresses: vec![address], space: Arc::default() }
    }

    /// The same place, for what is done there on behalf of `origin`.
    pub(super) fn on_behalf_of(&self, origin: Origin) -> Self {
        Self { origin, reach: self.reach, addresses: self.addresses.clone(), space: self.space.clone() }
    }

    /// The pod's own address of the family of `like`, or its first.
    pub(super) fn address(&self, like: IpAddr) -> IpAddr {
        let mut own = self.addresses.iter().copied();
        own.clone().find(|own| own.is_ipv4() == like.is_ipv4()).or_else(|| own.next()).unwrap_or(like)
    }

    /// Who takes connections at `to`, one of the pod's addresses or its loopback.
    pub(super) fn listener(&self, to: SocketAddr) -> Option<Door> {
        match self.space.find(Protocol::Tcp, to)? {
            Behind::Listener(door) => Some(door),
            Behind::Taken | Behind::Mailbox(_) => None,
        }
    }

    /// Where a connection of the pod's to `to` comes from.
    pub(super) fn source(&self, bound: Option<SocketAddr>, to: SocketAddr) -> SocketAddr {
        let port = bound.map_or_else(|| any(|_| true).unwrap_or_default(), |bound| bound.port());
        let ip = match bound.map(|bound| bound.ip()).filter(|ip| !ip.is_unspecified()) {
            Some(ip) => ip,
            None if is_own(to.ip()) && to.is_ipv4() => Ipv4Addr::LOCALHOST.into(),
            None if is_own(to.ip()) => Ipv6Addr::LOCALHOST.into(),
            None => self.address(to.ip()),
        };
        SocketAddr::new(ip, port)
    }
}

/// Whether an address means whoever uses it: its loopback, or none in particular, which Linux takes for the loopback.
pub(super) fn is_own(ip: IpAddr) -> bool {
    ip.is_loopback() || ip.is_unspecified()
}

// === impl Socket ===

impl Socket {
    /// The address, its port known.
    pub fn local(&self) -> SocketAddr {
        match &self.held {
            Held::Own(claim) => claim.address(),
            Held::Real(_, at) => *at,
        }
    }

    /// Takes connections from now on; about `backlog` of them wait to be accepted.
    pub fn listen(self, backlog: u32) -> Result<Listener, BindError> {
        let local = self.local();
        let backlog = (backlog as usize).clamp(*BACKLOG.start(), *BACKLOG.end());
        let from = match self.held {
            Held::Own(claim) => {
                let (sender, arriving) = mpsc::channel(backlog);
                claim.put(Behind::Listener(sender));
                Arrivals::Own { arriving, _claim: claim }
            }
            Held::Real(socket, _) => {
                let listening = self.fabric.at_home(|| socket.listen(backlog as u32));
                let listener = listening.map_err(|source| BindError::failed(local, source))?;
                Arrivals::Real { listener, fabric: self.fabric }
            }
        };
        Ok(Listener { local, from })
    }

    /// Connects from this address.
    pub fn connect(self, to: SocketAddr) -> BoxFuture<'static, Result<Stream, Refused>> {
        let Self { fabric, pod, held } = self;
        let local = match &held {
            Held::Own(claim) => claim.address(),
            Held::Real(_, at) => *at,
        };
        let connecting = fabric.connect_from(pod, Some(local), to);
        match held {
            Held::Own(claim) => Box::pin(async move { Ok(connecting.await?.holding(claim)) }),
            // The port of a real socket is the kernel's to give: connections to the cluster do not use it, and
            // those that leave it get one of their own.
            Held::Real(..) => connecting,
        }
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Socket").field(&self.local()).finish()
    }
}

// === impl Listener ===

impl Listener {
    /// The address that connections come to.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The next connection. After an error there may be more.
    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<Stream>> {
        match &mut self.from {
            Arrivals::Own { arriving, .. } => loop {
                match ready!(arriving.poll_recv(cx)).map(Arriving::accept) {
                    Some(Some(stream)) => return Poll::Ready(Ok(stream)),
                    Some(None) => {}
                    // The claim holds a sender for as long as this lives.
                    None => return Poll::Pending,
                }
            },
            Arrivals::Real { listener, fabric } => {
                let (real, _) = ready!(listener.poll_accept(cx))?;
                Poll::Ready(fabric.carried(real))
            }
        }
    }

    /// Takes nobody any more: who comes from now on is refused. Those are given who had come and were not accepted yet.
    pub fn close(mut self) -> Vec<Stream> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut row = Vec::new();
        if let Arrivals::Own { arriving, .. } = &mut self.from {
            arriving.close();
            loop {
                match arriving.poll_recv(&mut cx) {
                    Poll::Ready(Some(one)) => row.extend(one.accept()),
                    Poll::Ready(None) => return row,
                    // Somebody is between the door and the row, on another thread, for a moment.
                    Poll::Pending => std::thread::yield_now(),
                }
            }
        }
        while let Poll::Ready(Ok(stream)) = self.poll_accept(&mut cx) {
            row.push(stream);
        }
        row
    }

    /// Waits for the next connection.
    pub async fn accept(&mut self) -> std::io::Result<Stream> {
        std::future::poll_fn(|cx| self.poll_accept(cx)).await
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Listener").field(&self.local).finish()
    }
}
