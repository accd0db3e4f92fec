//! Sockets for datagrams.
//!
//! What is sent to a service goes to one endpoint, and to the same one for as long as it is in use; the answers come from
//! the address that was asked. What is lost is lost silently, as datagrams are.

use std::cell::Cell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use state::Protocol;
use tokio::net::UdpSocket;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::attachment::{self, Pod};
use super::mailbox::Mailbox;
use super::reach::Ends;
use super::space::{Behind, Claim};
use super::{Fabric, canonical};
use crate::balance::Tries;
use crate::policy::Direction;
use crate::{BindError, Origin, Policy, Port, Reach, Refused, Service, Traffic};

/// The largest datagram.
const DATAGRAM_BYTES_MAX: usize = 65_507;
/// How many peers a socket keeps in mind; the one that was silent longest goes.
const FLOWS_MAX: usize = 1024;
/// How long a silent peer keeps its endpoint: what Linux gives a flow that was answered.
const FLOW_IDLE: Duration = Duration::from_secs(180);

/// A socket for datagrams.
pub struct Datagrams {
    fabric: Fabric,
    pod: Arc<Pod>,
    local: SocketAddr,
    mailbox: Arc<Mailbox>,
    flows: Mutex<Flows>,
    _claim: Option<Claim>,
}

/// Whom the socket has to do with.
#[derive(Default)]
struct Flows {
    /// The endpoint that stands for an address of a service, and since when nothing was sent there.
    endpoints: HashMap<SocketAddr, (SocketAddr, Instant)>,
    /// The address of a service that an endpoint answers for.
    asked: HashMap<SocketAddr, SocketAddr>,
    /// The real sockets, by whether they are for IPv4.
    outside: HashMap<bool, Outside>,
}

/// The way out of the cluster.
struct Outside {
    socket: Arc<UdpSocket>,
    /// Who was written to, and may therefore write: nobody else can know that the socket exists.
    known: Arc<Mutex<HashMap<SocketAddr, Instant>>>,
    _reading: AbortOnDropHandle<()>,
}

// === impl Datagrams ===

impl Datagrams {
    pub(super) fn bind(fabric: &Fabric, pod: &Arc<Pod>, local: SocketAddr) -> Result<Self, BindError> {
        let mailbox = Arc::<Mailbox>::default();
        let (local, claim, outside) = match pod.reach {
            Reach::Pod => {
                let claim = fabric.take(pod, Protocol::Udp, local, Behind::Mailbox(mailbox.clone()))?;
                (claim.address(), Some(claim), None)
            }
            Reach::Node => {
                let outside = Outside::bind(fabric, local, &mailbox, Filter::Everybody);
                let outside = outside.map_err(|source| BindError::failed(local, source))?;
                let local = outside.socket.local_addr().map_err(|source| BindError::failed(local, source))?;
                (local, None, Some(outside))
            }
        };
        let mut flows = Flows::default();
        flows.outside.extend(outside.map(|outside| (local.is_ipv4(), outside)));
        Ok(Self { fabric: fabric.clone(), pod: pod.clone(), local, mailbox, flows: Mutex::new(flows), _claim: claim })
    }

    /// The address, its port known.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The next datagram and who sent it.
    pub fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<(Bytes, SocketAddr)> {
        self.mailbox.poll_take(cx).map(|(datagram, from)| {
            let asked = self.flows.lock().asked.get(&from).copied();
            (datagram, asked.unwrap_or(from))
        })
    }

    /// Waits for the next datagram.
    pub async fn receive(&self) -> (Bytes, SocketAddr) {
        std::future::poll_fn(|cx| self.poll_receive(cx)).await
    }

    /// Sends a datagram, which may get lost; only what is forbidden, and what can never be sent, is told.
    pub fn send(&self, datagram: Bytes, to: SocketAddr) -> Result<(), Refused> {
        let to = canonical(to);
        if datagram.len() > DATAGRAM_BYTES_MAX {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "the datagram is too large");
            return Err(Refused::Failed { to, source });
        }
        if attachment::is_own(to.ip()) {
            return self.send_to_self(datagram, to);
        }
        match self.endpoint(to)? {
            Some(endpoint) => self.send_to(datagram, endpoint, Reach::Pod),
            None => {
                self.flows.lock().asked.remove(&to);
                self.send_to(datagram, to, self.pod.reach)
            }
        }
    }

    fn send_to_self(&self, datagram: Bytes, to: SocketAddr) -> Result<(), Refused> {
        if self.pod.reach == Reach::Node {
            return self.send_outside(datagram, to);
        }
        if let Some(Behind::Mailbox(mailbox)) = self.pod.space.find(Protocol::Udp, to) {
            mailbox.put(datagram, self.pod.source(Some(self.local), to));
        }
        Ok(())
    }

    fn send_to(&self, datagram: Bytes, to: SocketAddr, reach: Reach) -> Result<(), Refused> {
        let (fabric, origin) = (&self.fabric, &self.pod.origin);
        let found = fabric.shared.pods.load().get(&to.ip()).map(|pod| pod.space.find(Protocol::Udp, to));
        let from = self.pod.source(Some(self.local), to);
        let sender = (Some(&*self.mailbox), from);
        if let Some(found) = found {
            let mailbox = match found {
                Some(Behind::Mailbox(mailbox)) => Some(mailbox),
                _ => None,
            };
            fabric.permit_datagram(origin, to, Ends::Both, sender, mailbox.as_deref())?;
            if let Some(mailbox) = mailbox {
                mailbox.put(datagram, from);
            }
            return Ok(());
        }
        if let Some(remote) = fabric.remote(to.ip()) {
            fabric.permit_datagram(origin, to, Ends::Source, sender, None)?;
            remote.datagram(origin.clone(), from, to, datagram);
            return Ok(());
        }
        fabric.guard(origin, reach, to)?;
        fabric.permit_datagram(origin, to, Ends::Source, sender, None)?;
        self.send_outside(datagram, to)
    }

    fn send_outside(&self, datagram: Bytes, to: SocketAddr) -> Result<(), Refused> {
        let mut flows = self.flows.lock();
        let outside = match flows.outside.entry(to.is_ipv4()) {
            Entry::Occupied(bound) => bound.into_mut(),
            Entry::Vacant(none) => {
                let any: IpAddr =
                    if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
                let bound = Outside::bind(&self.fabric, SocketAddr::new(any, 0), &self.mailbox, Filter::Known);
                none.insert(bound.map_err(|source| Refused::failed(to, source))?)
            }
        };
        outside.send(&datagram, to);
        Ok(())
    }

    /// Sends a datagram to a port of a service, on behalf of the same client for as long as the socket is there.
    pub(crate) fn send_to_service(
        &self,
        datagram: Bytes,
        service: &Service,
        port: &Port,
        traffic: Traffic,
    ) -> Result<(), Refused> {
        // The address is nobody's: it stands for the service among the flows of this socket.
        let stand_in = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port.number);
        let endpoint = self.choose(stand_in, service, port, traffic)?;
        self.send_to(datagram, endpoint, Reach::Pod)
    }

    /// The endpoint for an address of a service; `None`: the address is nobody's but the one who has it.
    fn endpoint(&self, to: SocketAddr) -> Result<Option<SocketAddr>, Refused> {
        let services = self.fabric.shared.services.load();
        let service = self.fabric.shared.config.service_at(&services, Protocol::Udp, to);
        let Some(service) = service else { return Ok(None) };
        let port = service.numbered(Protocol::Udp, to.port());
        let port = port.ok_or_else(|| Refused::NoPort { service: service.to_string(), port: to.port() })?;
        self.choose(to, service, port, Traffic::Inside).map(Some)
    }

    /// The endpoint for `to`, the same as before while that is there and the flow is in use.
    fn choose(&self, to: SocketAddr, service: &Service, port: &Port, traffic: Traffic) -> Result<SocketAddr, Refused> {
        let endpoints = port.endpoints_for(traffic);
        let now = Instant::now();
        let mut flows = self.flows.lock();
        if let Some((endpoint, used)) = flows.endpoints.get_mut(&to)
            && now.duration_since(*used) < FLOW_IDLE
            && endpoints.iter().any(|one| one.address == *endpoint)
        {
            *used = now;
            return Ok(*endpoint);
        }
        let mut tries = Tries::new(endpoints, service.session(port, Some(self.pod.source(Some(self.local), to).ip())));
        let Some(chosen) = tries.next_endpoint() else {
            // Datagrams do not wait. Whoever sends another finds somebody.
            let number = port.number;
            self.fabric.call_for(service, move |service| {
                service.numbered(Protocol::Udp, number).is_some_and(|port| !port.endpoints_for(traffic).is_empty())
            });
            return Err(Refused::NoEndpoint { service: format!("{service}:{}", port.number) });
        };
        tries.succeeded(chosen);
        flows.remember(to, chosen.address, now);
        Ok(chosen.address)
    }
}

impl fmt::Debug for Datagrams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Datagrams").field(&self.local).finish()
    }
}

// === impl Fabric ===

impl Fabric {
    /// Whether a datagram may go from its sender to whoever reads at `to`. What answers a datagram that was let through is
    /// part of the same exchange.
    pub(super) fn permit_datagram(
        &self,
        origin: &Origin,
        to: SocketAddr,
        ends: Ends,
        (sender, from): (Option<&Mailbox>, SocketAddr),
        reader: Option<&Mailbox>,
    ) -> Result<(), Refused> {
        if self.shared.policy.get().is_none_or(Policy::is_open) {
            return Ok(());
        }
        let is_reply = Cell::new(false);
        self.permit_unless(origin, to, Protocol::Udp, ends, |direction| {
            let excused = match direction {
                Direction::Egress => sender.is_some_and(|sender| sender.was_reached_by(to)),
                Direction::Ingress => reader.is_some_and(|reader| reader.has_reached(from)),
            };
            is_reply.set(is_reply.get() || excused);
            excused
        })?;
        // A reply must not be what makes the next one a reply: the exchange ends when it is no longer allowed.
        if !is_reply.get() {
            if let Some(sender) = sender {
                sender.reaches(to);
            }
            if let Some(reader) = reader {
                reader.is_reached_by(from);
            }
        }
        Ok(())
    }
}

// === impl Flows ===

impl Flows {
    fn remember(&mut self, asked: SocketAddr, endpoint: SocketAddr, now: Instant) {
        if let Some((before, _)) = self.endpoints.remove(&asked) {
            self.asked.remove(&before);
        }
        if self.endpoints.len() >= FLOWS_MAX
            && let Some(oldest) = self.endpoints.iter().min_by_key(|(_, (_, used))| *used).map(|(asked, _)| *asked)
            && let Some((endpoint, _)) = self.endpoints.remove(&oldest)
        {
            self.asked.remove(&endpoint);
        }
        self.endpoints.insert(asked, (endpoint, now));
        self.asked.insert(endpoint, asked);
    }
}

// === impl Outside ===

/// Whose datagrams are taken from a real socket.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Filter {
    /// Everybody's: the socket is bound to an address that is known to the world.
    Everybody,
    /// Only of those who were written to.
    Known,
}

impl Outside {
    fn bind(fabric: &Fabric, local: SocketAddr, mailbox: &Arc<Mailbox>, filter: Filter) -> io::Result<Self> {
        let real = std::net::UdpSocket::bind(local)?;
        real.set_nonblocking(true)?;
        fabric.at_home(|| {
            let socket = Arc::new(UdpSocket::from_std(real)?);
            let known = Arc::<Mutex<HashMap<SocketAddr, Instant>>>::default();
            let reading = tokio::spawn(read(socket.clone(), known.clone(), mailbox.clone(), filter));
            Ok(Self { socket, known, _reading: AbortOnDropHandle::new(reading) })
        })
    }

    fn send(&self, datagram: &[u8], to: SocketAddr) {
        let mut known = self.known.lock();
        if known.len() >= FLOWS_MAX && !known.contains_key(&to) {
            let oldest = known.iter().min_by_key(|(_, used)| **used).map(|(peer, _)| *peer);
            oldest.map(|oldest| known.remove(&oldest));
        }
        known.insert(to, Instant::now());
        drop(known);
        if let Err(error) = self.socket.try_send_to(datagram, to) {
            tracing::trace!(%to, %error, "a datagram is lost");
        }
    }
}

async fn read(
    socket: Arc<UdpSocket>,
    known: Arc<Mutex<HashMap<SocketAddr, Instant>>>,
    mailbox: Arc<Mailbox>,
    filter: Filter,
) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        // An error is an answer to something sent before (nobody listens there); the socket goes on.
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        let from = canonical(from);
        if filter == Filter::Everybody || known.lock().contains_key(&from) {
            mailbox.put(Bytes::copy_from_slice(&buffer[..length]), from);
        }
    }
}
