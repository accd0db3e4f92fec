//! Where questions come in.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::available_parallelism;
use std::time::Duration;

use hickory_server::Server;
use hickory_server::net::NetError;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::Error;
use crate::answer::Answerer;
use crate::udp::{Door, LONG_WAY_MAX};
use crate::zone::View;

/// How long a TCP client may stay silent.
const TCP_TIMEOUT: Duration = Duration::from_secs(10);
/// Answers that may wait in one TCP connection for a client that does not read.
const TCP_BUFFER_MESSAGES: usize = 64;
/// How long questions under way may take to end at shutdown.
const DRAIN: Duration = Duration::from_secs(2);
/// More cores than that are not needed for names.
const SOCKETS_MAX: usize = 8;
/// Finding a port that is free for UDP and TCP alike takes some luck.
const TRIES: usize = 16;
/// What may wait in one socket, in bytes; the kernel may allow less.
const BUFFER_BYTES: usize = 1 << 20;

/// An address, over UDP and TCP.
#[derive(Debug)]
pub struct Listener {
    /// On one address, each served by a thread of its own. Not the unspecified address: an answer may leave from
    /// another than was asked.
    udp: Vec<UdpSocket>,
    tcp: TcpListener,
    view: View,
}

/// What serves a listener.
pub(crate) struct Served {
    tcp: Server<Answerer>,
    threads: JoinSet<()>,
    long_way: Vec<Arc<Semaphore>>,
    stop: Stop,
}

/// Stops the threads when it goes.
struct Stop(Arc<AtomicBool>);

// === impl Listener ===

impl Listener {
    /// Listens on an address; whoever asks there is answered in the terms of `view`. Port 0 is any free one.
    pub async fn bind(address: SocketAddr, view: View) -> io::Result<Self> {
        let count = available_parallelism().map_or(1, usize::from).min(SOCKETS_MAX);
        let mut tries = 0;
        loop {
            // Without sharing, and so it is seen if somebody else is there already.
            let tcp = TcpListener::bind(address).await?;
            let bound = tcp.local_addr()?;
            tries += 1;
            match (0..count).map(|_| udp_socket(bound)).collect() {
                Ok(udp) => return Ok(Self { udp, tcp, view }),
                Err(error) if address.port() != 0 || tries >= TRIES => return Err(error),
                Err(_) => {}
            }
        }
    }

    /// Where it listens, the port known.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    pub(crate) fn view(&self) -> View {
        self.view
    }

    pub(crate) fn serve(self, answerer: Answerer) -> Result<Served, Error> {
        let mut served = Served {
            tcp: Server::new(answerer.clone()),
            threads: JoinSet::new(),
            long_way: Vec::new(),
            stop: Stop(Arc::default()),
        };
        served.tcp.register_listener(self.tcp, TCP_TIMEOUT, TCP_BUFFER_MESSAGES);
        let answerer = Arc::new(answerer);
        for socket in self.udp {
            let permits = Arc::new(Semaphore::new(LONG_WAY_MAX));
            served.long_way.push(permits.clone());
            let door = Door::new(socket, answerer.clone(), Handle::current(), permits).map_err(Error::Socket)?;
            let stop = served.stop.0.clone();
            served.threads.spawn_blocking(move || door.serve(&stop));
        }
        Ok(served)
    }
}

// === impl Served ===

impl Served {
    /// Returns when a socket has failed for good.
    pub(crate) async fn failed(&mut self) -> Error {
        tokio::select! {
            end = self.tcp.block_until_done() => {
                Error::Serve(end.err().unwrap_or(NetError::Message("the listener ended")))
            }
            _ = self.threads.join_next() => Error::Serve(NetError::Message("a thread ended")),
        }
    }

    /// Takes no more questions, and answers those under way.
    pub(crate) async fn stop(mut self) {
        self.stop.0.store(true, Ordering::Relaxed);
        let drained = async {
            let _ = self.tcp.shutdown_gracefully().await;
            while self.threads.join_next().await.is_some() {}
            for permits in &self.long_way {
                let _ = permits.acquire_many(LONG_WAY_MAX as u32).await;
            }
        };
        // A client that keeps its connection open is not waited for.
        let _ = timeout(DRAIN, drained).await;
    }
}

// === impl Stop ===

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A socket that shares its address with its siblings; the kernel deals the questions out.
fn udp_socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    sockopt::set_socket_recv_buffer_size(&socket, BUFFER_BYTES)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    bind(&socket, &address)?;
    Ok(socket.into())
}
