//! A container's sockets and names: the host's words for a network, said to the pod's place on ours.
//!
//! Thin on purpose: host and network have the same shapes and do not know each other. Only one thing is added: the connections
//! that a container took are counted, so that one that is to stop can first close its [`Doors`] and let those inside finish.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use host::{Connecting, Connection, NetworkError, Resolving};
use network::policy::{Direction, Peer, PortProtocol};
use network::{Attachment, BindError, Fabric, Origin, Refused};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// One container on its pod's network.
pub(crate) struct PodNetwork {
    attachment: Arc<Attachment>,
    fabric: Fabric,
    doors: Arc<Doors>,
    names: Names,
}

/// How a pod looks up names.
#[derive(Clone)]
pub(crate) struct Names {
    resolver: dns::Resolver,
    ask: Arc<dns::Ask>,
    /// Guests' threads do no I/O: questions are asked on the agent's.
    runtime: Handle,
}

/// Where others come in to a container, and how many are inside.
pub(crate) struct Doors {
    /// None once they are closed.
    open: Mutex<Option<Vec<Door>>>,
    inside: watch::Sender<usize>,
}

/// Where one listener's guests come in.
type Door = Arc<Mutex<Entrance>>;

#[derive(Default)]
struct Entrance {
    /// None once it is closed.
    listener: Option<network::Listener>,
    /// Those who had come before it closed, and wait to be accepted.
    row: VecDeque<network::Stream>,
    /// Whoever waits to accept somebody.
    host: Option<Waker>,
}

/// One who came in; leaves when dropped.
struct Guest(Arc<Doors>);

// === impl PodNetwork ===

impl PodNetwork {
    pub(crate) fn new(attachment: Arc<Attachment>, fabric: Fabric, doors: Arc<Doors>, names: Names) -> Self {
        Self { attachment, fabric, doors, names }
    }
}

impl host::Network for PodNetwork {
    fn bind(&self, local: SocketAddr) -> Result<Box<dyn host::Port>, NetworkError> {
        let socket = self.attachment.bind(local).map_err(not_bound)?;
        Ok(Box::new(Port { socket, doors: self.doors.clone() }))
    }

    fn connect(&self, to: SocketAddr) -> Connecting {
        let connecting = self.attachment.connect(to);
        Box::pin(async move { connecting.await.map(connection).map_err(refused) })
    }

    fn datagrams(&self, local: SocketAddr) -> Result<Box<dyn host::Datagrams>, NetworkError> {
        Ok(Box::new(Datagrams(self.attachment.datagrams(local).map_err(not_bound)?)))
    }

    fn resolve(&self, name: String) -> Resolving {
        self.names.resolve(name, self.fabric.clone(), self.attachment.origin().clone())
    }
}

// === impl Names ===

impl Names {
    /// Names as `pod`, which has this address, looks them up.
    pub(crate) fn of(resolver: dns::Resolver, pod: &k8s_openapi::api::core::v1::Pod, address: IpAddr) -> Self {
        let ask = Arc::new(resolver.ask_for(pod, &[address]));
        Self { resolver, ask, runtime: Handle::current() }
    }

    /// The address that the pod itself has for a name, without asking anybody.
    pub(crate) fn alias(&self, name: &str) -> Option<IpAddr> {
        let mut hosts = self.ask.hosts.iter();
        hosts.find(|(host, _)| host.eq_ignore_ascii_case(name)).map(|(_, address)| *address)
    }

    fn resolve(&self, name: String, fabric: Fabric, origin: Origin) -> Resolving {
        let names = self.clone();
        let looking = self.runtime.spawn(async move { names.look_up(&name, &fabric, &origin).await });
        let looking = AbortOnDropHandle::new(looking);
        Box::pin(async move {
            match looking.await {
                Ok(found) => found.map_err(|error| match error {
                    dns::LookupError::Invalid { .. } | dns::LookupError::NoAddress { .. } => NetworkError::NoSuchName,
                    dns::LookupError::Failed { .. } => NetworkError::ResolverBusy,
                }),
                Err(_) => Err(NetworkError::ResolverFailed),
            }
        })
    }

    /// What `origin` is told about a name. A pod that policies isolate asks outside the cluster only where they let it: a
    /// question carries words, too.
    async fn look_up(&self, name: &str, fabric: &Fabric, origin: &Origin) -> Result<Vec<IpAddr>, dns::LookupError> {
        let peer = origin.peer();
        let Some(policy) = fabric.policy().filter(|policy| policy.isolates_egress(&peer)) else {
            return self.resolver.lookup(name, &self.ask).await;
        };
        if let Ok(found) = self.resolver.lookup(name, &self.ask.within_cluster()).await {
            return Ok(found);
        }
        if !policy.may_ask(&peer, name) {
            return Err(dns::LookupError::NoAddress { name: name.to_owned() });
        }
        let mut ask = dns::Ask::clone(&self.ask);
        ask.servers.retain(|server| match server {
            dns::ask::Server::At(address) => {
                let (to, port) = (Peer::Address(*address), PortProtocol::udp(53));
                policy.check(Direction::Egress, &peer, &to, port).is_ok()
            }
            _ => true,
        });
        let found = self.resolver.lookup(name, &ask).await?;
        // Rules about names hold for what a pod was told, and so before it hears of it; not for what it chose to be told.
        if ask.is_impartial() {
            policy.answered(&peer, name, &found);
        }
        Ok(found)
    }
}

// === impl Doors ===

impl Doors {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { open: Mutex::new(Some(Vec::new())), inside: watch::Sender::new(0) })
    }

    /// Takes nobody any more: who comes now is refused, and may go elsewhere. Who waits to be accepted is inside already.
    pub(crate) fn close(self: &Arc<Self>) {
        for door in locked(&self.open).take().into_iter().flatten() {
            let mut door = locked(&door);
            let row = door.listener.take().map(network::Listener::close).unwrap_or_default();
            door.row.extend(row.into_iter().map(|stream| stream.holding(self.enter())));
            if let Some(host) = door.host.take() {
                host.wake();
            }
        }
    }

    /// Returns when nobody is inside.
    pub(crate) async fn empty(&self) {
        // The sender is this value's own: it does not go away first.
        let _ = self.inside.subscribe().wait_for(|inside| *inside == 0).await;
    }

    fn add(&self, listener: network::Listener) -> Door {
        let mut open = locked(&self.open);
        let listener = open.is_some().then_some(listener);
        let door = Arc::new(Mutex::new(Entrance { listener, ..Entrance::default() }));
        if let Some(open) = open.as_mut() {
            // Those that the guest has dropped are only known here.
            open.retain(|door| Arc::strong_count(door) > 1);
            open.push(door.clone());
        }
        door
    }

    fn enter(self: &Arc<Self>) -> Guest {
        self.inside.send_modify(|inside| *inside += 1);
        Guest(self.clone())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.0.inside.send_modify(|inside| *inside -= 1);
    }
}

fn locked<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

// --- The host's shapes. ---

struct Port {
    socket: network::Socket,
    doors: Arc<Doors>,
}

struct Listener {
    local: SocketAddr,
    door: Door,
    doors: Arc<Doors>,
}

struct Reader(network::Reader);

struct Writer(network::Writer);

struct Datagrams(network::Datagrams);

fn connection(stream: network::Stream) -> Connection {
    let (local, remote) = (stream.local(), stream.remote());
    let (reader, writer) = stream.into_split();
    Connection { local, remote, reader: Box::new(Reader(reader)), writer: Box::new(Writer(writer)) }
}

impl host::Port for Port {
    fn local(&self) -> SocketAddr {
        self.socket.local()
    }

    fn listen(self: Box<Self>, backlog: u32) -> Result<Box<dyn host::Listener>, NetworkError> {
        let listener = self.socket.listen(backlog).map_err(not_bound)?;
        let local = listener.local();
        let door = self.doors.add(listener);
        Ok(Box::new(Listener { local, door, doors: self.doors }))
    }

    fn connect(self: Box<Self>, to: SocketAddr) -> Connecting {
        let connecting = self.socket.connect(to);
        Box::pin(async move { connecting.await.map(connection).map_err(refused) })
    }
}

impl host::Listener for Listener {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Result<Connection, NetworkError>> {
        let mut door = locked(&self.door);
        if let Some(stream) = door.row.pop_front() {
            return Poll::Ready(Ok(connection(stream)));
        }
        let accepted = match &mut door.listener {
            Some(listener) => listener.poll_accept(cx),
            // Closed: the guest waits for somebody who never comes, until it is ended.
            None => {
                tracing::trace!(local = %self.local, "accepts nobody any more");
                Poll::Pending
            }
        };
        door.host = accepted.is_pending().then(|| cx.waker().clone());
        accepted.map(|accepted| match accepted {
            Ok(stream) => Ok(connection(stream.holding(self.doors.enter()))),
            Err(error) => Err(broken(&error)),
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        *locked(&self.door) = Entrance::default();
    }
}

impl host::Reader for Reader {
    fn poll_read(&mut self, cx: &mut Context<'_>, bytes_max: usize) -> Poll<Result<Bytes, NetworkError>> {
        self.0.poll_chunk(cx, bytes_max).map_err(|error| broken(&error))
    }
}

impl host::Writer for Writer {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, NetworkError>> {
        self.0.poll_ready(cx).map(Ok)
    }

    fn write(&mut self, bytes: Bytes) -> Result<(), NetworkError> {
        self.0.send(bytes).map_err(|error| broken(&error))
    }
}

impl host::Datagrams for Datagrams {
    fn local(&self) -> SocketAddr {
        self.0.local()
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<(Bytes, SocketAddr), NetworkError>> {
        self.0.poll_receive(cx).map(Ok)
    }

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<()> {
        // A datagram that finds no room is lost, as on any network.
        Poll::Ready(())
    }

    fn send(&mut self, datagram: Bytes, to: SocketAddr) -> Result<(), NetworkError> {
        self.0.send(datagram, to).map_err(refused)
    }
}

// --- The host's words. ---

fn not_bound(error: BindError) -> NetworkError {
    match error {
        BindError::InUse(_) | BindError::NoPort => NetworkError::InUse,
        BindError::NotOwn(_) => NetworkError::NotLocal,
        BindError::Failed { source, .. } => broken(&source),
    }
}

fn refused(refused: Refused) -> NetworkError {
    match refused {
        // A service without endpoints refuses, as it does behind kube-proxy.
        Refused::Nobody(_) | Refused::NoEndpoint { .. } | Refused::NoPort { .. } => NetworkError::Refused,
        Refused::Unreachable(_) => NetworkError::Unreachable,
        Refused::Denied { .. } => NetworkError::Denied,
        Refused::TimedOut { .. } => NetworkError::TimedOut,
        Refused::Failed { source, .. } => broken(&source),
    }
}

fn broken(error: &io::Error) -> NetworkError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => NetworkError::Refused,
        io::ErrorKind::ConnectionReset => NetworkError::Reset,
        io::ErrorKind::ConnectionAborted => NetworkError::Aborted,
        io::ErrorKind::BrokenPipe => NetworkError::Broken,
        io::ErrorKind::TimedOut => NetworkError::TimedOut,
        io::ErrorKind::PermissionDenied => NetworkError::Denied,
        io::ErrorKind::AddrInUse => NetworkError::InUse,
        io::ErrorKind::AddrNotAvailable => NetworkError::NotLocal,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => NetworkError::Unreachable,
        _ => NetworkError::Other(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use host::Network as _;
    use network::Citizen;
    use state::Snapshot;

    use super::*;
    use crate::fixture::pod;

    const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 42, 0, 5));

    /// A pod's two containers, and the doors of the first.
    fn containers(fabric: &Fabric) -> (PodNetwork, PodNetwork, Arc<Doors>) {
        let citizen =
            Citizen { namespace: "shop".into(), name: "web".into(), addresses: vec![ADDRESS], host_network: false };
        let attachment = Arc::new(fabric.attach(citizen));
        let view = Snapshot::default();
        let resolver =
            dns::Resolver::new(dns::Authority::default(), dns::Machine::default(), &view).expect("a resolver");
        let pod = pod(r#"{"containers":[],"hostAliases":[{"ip":"10.9.9.9","hostnames":["db"]}]}"#);
        let names = Names::of(resolver, &pod, ADDRESS);
        let doors = Doors::new();
        let one = PodNetwork::new(attachment.clone(), fabric.clone(), doors.clone(), names.clone());
        (one, PodNetwork::new(attachment, fabric.clone(), Doors::new(), names), doors)
    }

    async fn accept(listener: &mut Box<dyn host::Listener>) -> Connection {
        std::future::poll_fn(|cx| listener.poll_accept(cx)).await.expect("a connection")
    }

    async fn said(reader: &mut Box<dyn host::Reader>) -> Bytes {
        std::future::poll_fn(|cx| reader.poll_read(cx, 100)).await.expect("bytes")
    }

    #[tokio::test]
    async fn who_is_isolated_asks_nobody_outside() {
        let fabric = Fabric::new();
        let object = |kind: api::GroupKind, name: &str, rest: &str| {
            let version = if kind.group.is_empty() { "v1".to_owned() } else { format!("{}/v1", kind.group) };
            let text = format!(
                r#"{{"apiVersion":"{version}","kind":"{}","metadata":{{"name":"{name}","namespace":"shop"}},{rest}}}"#,
                kind.kind
            );
            api::Object::from_value(kind, &serde_json::from_str(&text).expect("JSON")).expect("an object")
        };
        let deny = r#""spec":{"podSelector":{},"policyTypes":["Egress"]}"#;
        let view = Snapshot::load(
            api::Revision(1),
            [
                object(api::kinds::POD, "web", r#""spec":{"containers":[]}"#),
                object(api::kinds::NETWORK_POLICY, "deny", deny),
            ],
        );
        fabric.obey(network::Policy::fixed(network::PolicyTable::from(&view)));
        let (pod, _, _doors) = containers(&fabric);
        assert_eq!(pod.resolve("db".to_owned()).await, Ok(vec![IpAddr::from([10, 9, 9, 9])]));
        assert_eq!(pod.resolve("secret.example.com".to_owned()).await, Err(NetworkError::NoSuchName));
        let denials = fabric.policy().expect("obeyed").denials();
        assert_eq!(denials.count(Direction::Egress), 1);
    }

    #[tokio::test]
    async fn containers_of_a_pod_talk_over_their_loopback() {
        let fabric = Fabric::new();
        let (server, client, _doors) = containers(&fabric);
        let any = SocketAddr::from(([0, 0, 0, 0], 8080));
        let mut listener = server.bind(any).and_then(|port| port.listen(8)).expect("a listener");
        assert_eq!(client.bind(any).err(), Some(NetworkError::InUse));
        let mut near = client.connect(SocketAddr::from(([127, 0, 0, 1], 8080))).await.expect("a connection");
        let mut far = accept(&mut listener).await;
        near.writer.write(Bytes::from_static(b"hello")).expect("written");
        assert_eq!(said(&mut far.reader).await, "hello");
        drop(near);
        assert_eq!(said(&mut far.reader).await, "");
        let nobody = client.connect(SocketAddr::from(([127, 0, 0, 1], 81))).await;
        assert_eq!(nobody.err(), Some(NetworkError::Refused));
        assert_eq!(client.resolve("db".to_owned()).await, Ok(vec![IpAddr::from([10, 9, 9, 9])]));
        assert_eq!(client.resolve("web".to_owned()).await, Ok(vec![ADDRESS]));
        let aliases = ["DB", "web", "kv"].map(|name| client.names.alias(name).map(|address| address.to_string()));
        assert_eq!(aliases.map(Option::unwrap_or_default), ["10.9.9.9", "10.42.0.5", ""]);
    }

    #[tokio::test]
    async fn closed_doors_refuse_and_those_inside_may_finish() {
        let fabric = Fabric::new();
        let (server, client, doors) = containers(&fabric);
        let at = SocketAddr::new(ADDRESS, 8080);
        let mut listener = server.bind(at).and_then(|port| port.listen(8)).expect("a listener");
        let near = client.connect(at).await.expect("a connection");
        let far = accept(&mut listener).await;
        let waiting = client.connect(at).await.expect("room in the row");
        doors.close();
        assert_eq!(client.connect(at).await.err(), Some(NetworkError::Refused));
        assert!(tokio::time::timeout(Duration::from_millis(20), doors.empty()).await.is_err(), "one is inside");
        drop((near, far));
        assert!(
            tokio::time::timeout(Duration::from_millis(20), doors.empty()).await.is_err(),
            "and one is at the door"
        );
        drop((accept(&mut listener).await, waiting));
        doors.empty().await;
        let late = server.bind(at).and_then(|port| port.listen(8)).expect("a port");
        assert_eq!(client.connect(at).await.err(), Some(NetworkError::Refused), "nobody new either");
        drop(late);
    }
}
