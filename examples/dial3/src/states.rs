//! What each state allows, and which word a refusal has.

use std::fmt::Debug;

use wasip3::sockets::ip_name_lookup::resolve_addresses;
use wasip3::sockets::types::{
    ErrorCode, IpAddressFamily, IpSocketAddress, Ipv6SocketAddress, TcpSocket, UdpSocket,
};

use crate::{Done, v4};

/// A port nobody listens on.
const CLOSED: u16 = 9;

/// What was not as it should be.
#[derive(Default)]
struct Checks {
    done: u32,
    wrong: Vec<String>,
}

pub async fn check_all() -> Done {
    let mut checks = Checks::default();
    checks.streams().await;
    checks.connection().await;
    checks.datagrams().await;
    checks.names().await;
    if checks.wrong.is_empty() { Ok(format!("{} checks", checks.done)) } else { Err(checks.wrong.join("\n")) }
}

fn local(port: u16) -> IpSocketAddress {
    v4([127, 0, 0, 1], port)
}

fn mapped(port: u16) -> IpSocketAddress {
    let address = (0, 0, 0, 0, 0, 0xffff, 0x7f00, 1);
    IpSocketAddress::Ipv6(Ipv6SocketAddress { port, flow_info: 0, address, scope_id: 0 })
}

fn port(address: &IpSocketAddress) -> u16 {
    match address {
        IpSocketAddress::Ipv4(address) => address.port,
        IpSocketAddress::Ipv6(address) => address.port,
    }
}

fn tcp() -> TcpSocket {
    TcpSocket::create(IpAddressFamily::Ipv4).expect("a socket")
}

// === impl Checks ===

impl Checks {
    fn that<T: Debug>(&mut self, what: &str, found: T, expected: &str) {
        self.done += 1;
        let found = format!("{found:?}");
        if !found.contains(expected) {
            self.wrong.push(format!("{what}: {found}, not {expected}"));
        }
    }

    fn refused<T>(&mut self, what: &str, result: Result<T, ErrorCode>, expected: &str) {
        self.that(what, result.map(drop), expected);
    }

    async fn streams(&mut self) {
        let socket = tcp();
        self.refused("local address while unbound", socket.get_local_address(), "InvalidState");
        self.refused("remote address while unbound", socket.get_remote_address(), "InvalidState");
        self.refused("bind to multicast", socket.bind(v4([224, 0, 0, 1], 80)), "InvalidArgument");
        self.refused("bind to another family", socket.bind(mapped(80)), "InvalidArgument");
        self.refused("bind elsewhere", socket.bind(v4([192, 0, 2, 1], 80)), "AddressNotBindable");
        self.refused("connect to port 0", socket.connect(local(0)).await, "InvalidArgument");
        self.refused("connect to 0.0.0.0", socket.connect(v4([0; 4], 80)).await, "InvalidArgument");
        self.refused("bind", socket.bind(local(0)), "Ok");
        self.refused("bind again", socket.bind(local(0)), "InvalidState");
        self.refused("hop limit 0", socket.set_hop_limit(0), "InvalidArgument");
        self.refused("keep-alive count 0", socket.set_keep_alive_count(0), "InvalidArgument");
        self.refused("set send buffer", socket.set_send_buffer_size(1 << 20), "Ok");
        self.that("send buffer", socket.get_send_buffer_size(), "Ok(1048576)");
        let own = socket.get_local_address().expect("it is bound");
        self.refused("bind to a taken address", tcp().bind(own), "AddressInUse");
        let (nothing, ended) = socket.receive();
        self.that("receive while bound", (nothing.collect().await, ended.await), "([], Err(ErrorCode::InvalidState))");

        let six = TcpSocket::create(IpAddressFamily::Ipv6).expect("a socket");
        self.refused("bind to mapped", six.bind(mapped(80)), "InvalidArgument");
        self.refused("connect to mapped", six.connect(mapped(80)).await, "InvalidArgument");
        let refused = tcp();
        self.refused("connect to nobody", refused.connect(local(CLOSED)).await, "ConnectionRefused");
        self.refused("connect again", refused.connect(local(CLOSED)).await, "InvalidState");
        self.refused("listen after a refusal", refused.listen(), "InvalidState");
    }

    async fn connection(&mut self) {
        let listener = tcp();
        self.refused("an option to inherit", listener.set_hop_limit(42), "Ok");
        let mut connections = match listener.listen() {
            Ok(connections) => connections,
            Err(code) => return self.wrong.push(format!("listen without bind: {code:?}")),
        };
        self.that("is listening", listener.get_is_listening(), "true");
        self.refused("listen twice", listener.listen(), "InvalidState");
        let own = port(&listener.get_local_address().expect("it is bound"));
        let socket = tcp();
        self.refused("connect", socket.connect(local(own)).await, "Ok");
        self.refused("connect twice", socket.connect(local(own)).await, "InvalidState");
        let Some(accepted) = connections.next().await else {
            return self.wrong.push("the connections ended".into());
        };
        self.that("an inherited option", accepted.get_hop_limit(), "Ok(42)");
        let (mut writer, outgoing) = wasip3::wit_stream::new();
        let sent = socket.send(outgoing);
        let (_other, again) = wasip3::wit_stream::new();
        self.that("send twice", socket.send(again).await, "InvalidState");
        let (incoming, ended) = accepted.receive();
        let (nothing, twice) = accepted.receive();
        self.that("receive twice", (nothing.collect().await, twice.await), "([], Err(ErrorCode::InvalidState))");
        // Streams go on without the socket they came from.
        drop((socket, accepted, listener));
        self.that("write", writer.write_all(b"hello".to_vec()).await, "[]");
        drop(writer);
        self.that("what was read", incoming.collect().await, "[104, 101, 108, 108, 111]");
        self.that("both ends say so", (sent.await, ended.await), "(Ok(()), Ok(()))");
    }

    async fn datagrams(&mut self) {
        let new = || UdpSocket::create(IpAddressFamily::Ipv4).expect("a socket");
        let socket = new();
        self.refused("receive while unbound", socket.receive().await, "InvalidState");
        self.refused("disconnect while apart", socket.disconnect(), "InvalidState");
        self.refused("send to nobody", socket.send(vec![1], None).await, "InvalidArgument");
        self.refused("connect to port 0", socket.connect(local(0)), "InvalidArgument");
        self.refused("bind", socket.bind(local(0)), "Ok");
        let own = socket.get_local_address().expect("it is bound");
        let other = new();
        self.refused("connect binds", other.connect(own), "Ok");
        self.that("remote address", other.get_remote_address().map(|peer| port(&peer) == port(&own)), "Ok(true)");
        self.refused("send to another than the peer", other.send(vec![1], Some(local(CLOSED))).await, "InvalidArgument");
        self.refused("send too much", other.send(vec![0; 65_530], None).await, "DatagramTooLarge");
        self.refused("send", other.send(b"me".to_vec(), None).await, "Ok");
        self.that("it came", socket.receive().await.map(|(datagram, _)| datagram), "Ok([109, 101])");
        self.refused("disconnect", other.disconnect(), "Ok");
        self.refused("remote address", other.get_remote_address(), "InvalidState");
    }

    async fn names(&mut self) {
        self.that("an address", resolve_addresses("127.0.0.1".into()).await, "(127, 0, 0, 1)");
        self.that("a wrong name", resolve_addresses("a b".into()).await, "InvalidArgument");
        self.that("nobody's name", resolve_addresses("nobody.invalid".into()).await, "NameUnresolvable");
    }
}
