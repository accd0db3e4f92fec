//! `wasi:sockets` 0.2 itself: what each state allows, and which word a refusal has.

use std::fmt::Debug;

use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::ip_name_lookup::resolve_addresses;
use wasip2::sockets::network::{
    ErrorCode, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress,
};
use wasip2::sockets::tcp::{ShutdownType, TcpSocket};
use wasip2::sockets::tcp_create_socket::create_tcp_socket;
use wasip2::sockets::udp::OutgoingDatagram;
use wasip2::sockets::udp_create_socket::create_udp_socket;

use crate::Done;

/// A port nobody listens on.
const CLOSED: u16 = 9;

/// Refusals that were not as they should be.
#[derive(Default)]
struct Checks {
    done: u32,
    wrong: Vec<String>,
}

pub fn check_all() -> Done {
    let mut checks = Checks::default();
    checks.unbound();
    checks.addresses();
    checks.bound();
    checks.listening();
    checks.refused();
    checks.connected();
    checks.options();
    checks.datagrams();
    checks.names();
    if checks.wrong.is_empty() {
        println!("{} checks", checks.done);
        return Ok(());
    }
    Err(checks.wrong.join("\n").into())
}

fn v4(a: u8, b: u8, c: u8, d: u8, port: u16) -> IpSocketAddress {
    IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: (a, b, c, d) })
}

fn v6(address: [u16; 8], port: u16) -> IpSocketAddress {
    IpSocketAddress::Ipv6(Ipv6SocketAddress { port, flow_info: 0, address: address.into(), scope_id: 0 })
}

fn local(port: u16) -> IpSocketAddress {
    v4(127, 0, 0, 1, port)
}

fn port(address: &IpSocketAddress) -> u16 {
    match address {
        IpSocketAddress::Ipv4(address) => address.port,
        IpSocketAddress::Ipv6(address) => address.port,
    }
}

fn tcp() -> TcpSocket {
    create_tcp_socket(IpAddressFamily::Ipv4).expect("a socket")
}

fn bind(socket: &TcpSocket, address: IpSocketAddress) -> Result<(), ErrorCode> {
    socket.start_bind(&instance_network(), address)?;
    socket.finish_bind()
}

fn listening() -> (TcpSocket, IpSocketAddress) {
    let socket = tcp();
    bind(&socket, local(0)).expect("it binds");
    socket.start_listen().expect("it listens");
    socket.finish_listen().expect("it listens");
    let address = socket.local_address().expect("it has an address");
    (socket, address)
}

// === impl Checks ===

impl Checks {
    fn that<T: Debug>(&mut self, what: &str, found: T, expected: &str) {
        self.done += 1;
        let found = format!("{found:?}");
        let found = found.replace("ErrorCode::", "");
        if !found.contains(expected) {
            self.wrong.push(format!("{what}: {found}, not {expected}"));
        }
    }

    fn refused_as<T>(&mut self, what: &str, result: Result<T, ErrorCode>, expected: ErrorCode) {
        self.done += 1;
        match result {
            Err(code) if code == expected => {}
            Err(code) => self.wrong.push(format!("{what}: {code:?}, not {expected:?}")),
            Ok(_) => self.wrong.push(format!("{what}: done, not {expected:?}")),
        }
    }

    fn unbound(&mut self) {
        let socket = tcp();
        self.refused_as("finish-bind before start", socket.finish_bind(), ErrorCode::NotInProgress);
        self.refused_as("finish-connect before start", socket.finish_connect(), ErrorCode::NotInProgress);
        self.refused_as("finish-listen before start", socket.finish_listen(), ErrorCode::NotInProgress);
        self.refused_as("listen while unbound", socket.start_listen(), ErrorCode::InvalidState);
        self.refused_as("accept while unbound", socket.accept(), ErrorCode::InvalidState);
        self.refused_as("local-address while unbound", socket.local_address(), ErrorCode::InvalidState);
        self.refused_as("remote-address while unbound", socket.remote_address(), ErrorCode::InvalidState);
        self.refused_as("shutdown while unbound", socket.shutdown(ShutdownType::Both), ErrorCode::InvalidState);
        self.that("is-listening while unbound", socket.is_listening(), "false");
        self.that("address-family", socket.address_family(), "Ipv4");
    }

    fn addresses(&mut self) {
        let network = instance_network();
        let (four, six) = (tcp(), create_tcp_socket(IpAddressFamily::Ipv6).expect("a socket"));
        let mapped = v6([0, 0, 0, 0, 0, 0xffff, 0x7f00, 1], 80);
        let wrong_local = [
            ("multicast", &four, v4(224, 0, 0, 1, 80)),
            ("broadcast", &four, v4(255, 255, 255, 255, 80)),
            ("another family", &four, v6([0, 0, 0, 0, 0, 0, 0, 1], 80)),
            ("another family", &six, local(80)),
            ("mapped", &six, mapped),
            ("mapped anywhere", &six, v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 0)),
            ("compatible", &six, v6([0, 0, 0, 0, 0, 0, 0x7f00, 1], 80)),
            ("multicast", &six, v6([0xff02, 0, 0, 0, 0, 0, 0, 1], 80)),
        ];
        for (what, socket, address) in wrong_local {
            let bound = socket.start_bind(&network, address);
            self.refused_as(&format!("bind to {what}"), bound, ErrorCode::InvalidArgument);
            let connected = socket.start_connect(&network, address);
            self.refused_as(&format!("connect to {what}"), connected, ErrorCode::InvalidArgument);
        }
        let port_zero = four.start_connect(&network, local(0));
        self.refused_as("connect to port 0", port_zero, ErrorCode::InvalidArgument);
        let anywhere = four.start_connect(&network, v4(0, 0, 0, 0, 80));
        self.refused_as("connect to 0.0.0.0", anywhere, ErrorCode::InvalidArgument);
        let anywhere = six.start_connect(&network, v6([0; 8], 80));
        self.refused_as("connect to ::", anywhere, ErrorCode::InvalidArgument);
        self.refused_as("bind elsewhere", bind(&four, v4(192, 0, 2, 1, 80)), ErrorCode::AddressNotBindable);
        // A refused bind leaves the socket as it was.
        self.that("bind after refusals", bind(&four, local(0)), "Ok");
    }

    fn bound(&mut self) {
        let network = instance_network();
        let socket = tcp();
        self.that("start-bind", socket.start_bind(&network, local(0)), "Ok");
        self.refused_as("start-bind twice", socket.start_bind(&network, local(0)), ErrorCode::ConcurrencyConflict);
        self.refused_as("listen while binding", socket.start_listen(), ErrorCode::ConcurrencyConflict);
        self.refused_as("finish-listen while binding", socket.finish_listen(), ErrorCode::NotInProgress);
        self.refused_as("local-address while binding", socket.local_address(), ErrorCode::InvalidState);
        self.that("finish-bind", socket.finish_bind(), "Ok");
        self.refused_as("finish-bind twice", socket.finish_bind(), ErrorCode::NotInProgress);
        self.refused_as("bind again", socket.start_bind(&network, local(0)), ErrorCode::InvalidState);
        let address = socket.local_address();
        self.that("a free port was chosen", address.map(|address| port(&address) != 0), "Ok(true)");
    }

    fn listening(&mut self) {
        let network = instance_network();
        let (socket, address) = listening();
        self.that("is-listening", socket.is_listening(), "true");
        self.refused_as("accept without a client", socket.accept(), ErrorCode::WouldBlock);
        self.refused_as("listen again", socket.start_listen(), ErrorCode::InvalidState);
        self.refused_as("connect a listener", socket.start_connect(&network, local(80)), ErrorCode::InvalidState);
        self.refused_as("shutdown a listener", socket.shutdown(ShutdownType::Send), ErrorCode::InvalidState);
        self.refused_as("backlog of a listener", socket.set_listen_backlog_size(9), ErrorCode::NotSupported);
        self.refused_as("bind to a taken address", bind(&tcp(), address), ErrorCode::AddressInUse);
        drop(socket);
        self.that("bind to an address given back", bind(&tcp(), address), "Ok");
    }

    fn refused(&mut self) {
        let network = instance_network();
        let socket = tcp();
        self.that("start-connect to nobody", socket.start_connect(&network, local(CLOSED)), "Ok");
        self.refused_as("bind while connecting", socket.start_bind(&network, local(0)), ErrorCode::ConcurrencyConflict);
        socket.subscribe().block();
        self.refused_as("finish-connect to nobody", socket.finish_connect(), ErrorCode::ConnectionRefused);
        self.refused_as("finish-connect twice", socket.finish_connect(), ErrorCode::NotInProgress);
        self.refused_as("connect a closed socket", socket.start_connect(&network, local(80)), ErrorCode::InvalidState);
        self.refused_as("bind a closed socket", socket.start_bind(&network, local(0)), ErrorCode::InvalidState);
        self.refused_as("local-address of a closed socket", socket.local_address(), ErrorCode::InvalidState);
    }

    fn connected(&mut self) {
        let network = instance_network();
        let (listener, address) = listening();
        self.that("an option to inherit", listener.set_hop_limit(42), "Ok");
        let socket = tcp();
        self.that("start-connect", socket.start_connect(&network, address), "Ok");
        socket.subscribe().block();
        let (input, output) = match socket.finish_connect() {
            Ok(streams) => streams,
            Err(code) => return self.wrong.push(format!("finish-connect: {code:?}")),
        };
        listener.subscribe().block();
        let (accepted, their_input, their_output) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(code) => return self.wrong.push(format!("accept: {code:?}")),
        };
        self.that("an inherited option", accepted.hop_limit(), "Ok(42)");
        let ends = |socket: &TcpSocket| (socket.local_address().map(|a| port(&a)), socket.remote_address().map(|a| port(&a)));
        let ((here, there), (their_here, their_there)) = (ends(&socket), ends(&accepted));
        self.that("addresses mirror each other", (here == their_there, there == their_here, there == Ok(port(&address))), "(true, true, true)");
        self.refused_as("connect again", socket.start_connect(&network, address), ErrorCode::InvalidState);
        self.refused_as("listen when connected", socket.start_listen(), ErrorCode::InvalidState);
        self.refused_as("backlog when connected", socket.set_listen_backlog_size(9), ErrorCode::InvalidState);

        self.that("nothing to read yet", input.read(10), "Ok([])");
        self.that("room to write", their_output.check_write().map(|room| room > 0), "Ok(true)");
        self.that("write", their_output.write(b"hello"), "Ok");
        input.subscribe().block();
        self.that("read some", input.read(2), "Ok([104, 101])");
        self.that("read the rest", input.blocking_read(99), "Ok([108, 108, 111])");
        self.that("shutdown of sending", accepted.shutdown(ShutdownType::Send), "Ok");
        self.that("write after shutdown", their_output.check_write(), "Closed");
        self.that("the end is read", input.blocking_read(9), "Closed");
        self.that("the other way goes on", output.blocking_write_and_flush(b"still"), "Ok");
        self.that("and is read", their_input.blocking_read(9), "Ok([115, 116, 105, 108, 108])");
        self.that("shutdown of receiving", socket.shutdown(ShutdownType::Receive), "Ok");
        self.that("shutdown of both, again", socket.shutdown(ShutdownType::Both), "Ok");
        self.that("read after shutdown", input.read(9), "Closed");

        drop((their_input, their_output));
        drop(accepted);
        drop((input, output));
    }

    fn options(&mut self) {
        let socket = tcp();
        let zero = ErrorCode::InvalidArgument;
        self.refused_as("backlog 0", socket.set_listen_backlog_size(0), zero);
        self.refused_as("keep-alive-idle-time 0", socket.set_keep_alive_idle_time(0), zero);
        self.refused_as("keep-alive-interval 0", socket.set_keep_alive_interval(0), zero);
        self.refused_as("keep-alive-count 0", socket.set_keep_alive_count(0), zero);
        self.refused_as("hop-limit 0", socket.set_hop_limit(0), zero);
        self.refused_as("receive-buffer-size 0", socket.set_receive_buffer_size(0), zero);
        self.refused_as("send-buffer-size 0", socket.set_send_buffer_size(0), zero);
        self.that("keep-alive is off", socket.keep_alive_enabled(), "Ok(false)");
        self.that("set keep-alive", socket.set_keep_alive_enabled(true), "Ok");
        self.that("keep-alive is on", socket.keep_alive_enabled(), "Ok(true)");
        self.that("set idle time", socket.set_keep_alive_idle_time(1_000_000_000), "Ok");
        self.that("idle time", socket.keep_alive_idle_time(), "Ok(1000000000)");
        self.that("set send-buffer-size", socket.set_send_buffer_size(1 << 20), "Ok");
        self.that("send-buffer-size", socket.send_buffer_size(), "Ok(1048576)");
        self.that("set backlog", socket.set_listen_backlog_size(u64::MAX), "Ok");
    }

    fn datagrams(&mut self) {
        let network = instance_network();
        let socket = create_udp_socket(IpAddressFamily::Ipv4).expect("a socket");
        self.refused_as("stream while unbound", socket.stream(None), ErrorCode::InvalidState);
        self.refused_as("finish-bind before start", socket.finish_bind(), ErrorCode::NotInProgress);
        self.that("start-bind", socket.start_bind(&network, local(0)), "Ok");
        self.refused_as("start-bind twice", socket.start_bind(&network, local(0)), ErrorCode::ConcurrencyConflict);
        self.that("finish-bind", socket.finish_bind(), "Ok");
        self.refused_as("bind again", socket.start_bind(&network, local(0)), ErrorCode::InvalidState);
        self.refused_as("remote-address", socket.remote_address(), ErrorCode::InvalidState);
        self.refused_as("stream to port 0", socket.stream(Some(local(0))), ErrorCode::InvalidArgument);
        self.refused_as("stream to 0.0.0.0", socket.stream(Some(v4(0, 0, 0, 0, 9))), ErrorCode::InvalidArgument);
        let own = socket.local_address().expect("it is bound");

        let (incoming, outgoing) = socket.stream(None).expect("its streams");
        let to = |data: &[u8], remote_address| [OutgoingDatagram { data: data.to_vec(), remote_address }];
        self.that("nothing came", incoming.receive(9).map(|all| all.len()), "Ok(0)");
        self.that("room to send", outgoing.check_send().map(|room| room > 0), "Ok(true)");
        self.refused_as("send to nobody", outgoing.send(&to(b"x", None)), ErrorCode::InvalidArgument);
        outgoing.check_send().expect("room");
        let large = vec![0; 70_000];
        self.refused_as("send too much", outgoing.send(&to(&large, Some(own))), ErrorCode::DatagramTooLarge);
        outgoing.check_send().expect("room");
        self.that("send to itself", outgoing.send(&to(b"me", Some(own))), "Ok(1)");
        incoming.subscribe().block();
        let came = incoming.receive(9).expect("it comes");
        self.that("it came", came.iter().map(|one| one.data.clone()).collect::<Vec<_>>(), "[[109, 101]]");
        drop((incoming, outgoing));

        let (incoming, outgoing) = socket.stream(Some(own)).expect("its streams");
        self.that("remote-address", socket.remote_address().map(|peer| port(&peer) == port(&own)), "Ok(true)");
        outgoing.check_send().expect("room");
        let other = local(CLOSED);
        self.refused_as("send to another", outgoing.send(&to(b"x", Some(other))), ErrorCode::InvalidArgument);
        outgoing.check_send().expect("room");
        self.that("send to the peer", outgoing.send(&to(b"x", None)), "Ok(1)");
        drop((incoming, outgoing));
    }

    fn names(&mut self) {
        let network = instance_network();
        self.refused_as("a wrong name", resolve_addresses(&network, "a b").map(drop), ErrorCode::InvalidArgument);
        let literal = resolve_addresses(&network, "127.0.0.1").expect("it is an address");
        literal.subscribe().block();
        self.that("an address", literal.resolve_next_address(), "Ok(Some(IpAddress::Ipv4((127, 0, 0, 1))))");
        self.that("and no more", literal.resolve_next_address(), "Ok(None)");
        let nobody = resolve_addresses(&network, "nobody.invalid").expect("it is a name");
        nobody.subscribe().block();
        self.refused_as("nobody's name", nobody.resolve_next_address(), ErrorCode::NameUnresolvable);
    }
}
