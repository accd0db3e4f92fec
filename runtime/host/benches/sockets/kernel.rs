//! A network made of the kernel's sockets, at its loopback: what the pipes are compared with.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use host::{Connecting, Connection, Datagrams, Listener, Network, NetworkError, Port, Reader, Resolving, Writer};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::runtime::Handle;

const PIECE_BYTES: usize = 64 * 1024;

/// The kernel's loopback, driven by this runtime.
pub(crate) struct Kernel {
    runtime: Handle,
}

struct Free {
    socket: TcpSocket,
    local: SocketAddr,
    runtime: Handle,
}

struct Listening(TcpListener);

struct In(Arc<TcpStream>);

struct Out {
    stream: Arc<TcpStream>,
    /// Taken, and not by the kernel yet.
    unsent: Bytes,
}

struct Mailbox {
    socket: UdpSocket,
    local: SocketAddr,
}

// === impl Kernel ===

impl Kernel {
    pub(crate) fn new(runtime: Handle) -> Self {
        Self { runtime }
    }

    /// A port that was free a moment ago.
    pub(crate) fn free_port() -> u16 {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("its address").port()
    }
}

impl Network for Kernel {
    fn bind(&self, local: SocketAddr) -> Result<Box<dyn Port>, NetworkError> {
        let _context = self.runtime.enter();
        let socket = TcpSocket::new_v4().map_err(said)?;
        socket.set_reuseaddr(true).map_err(said)?;
        socket.bind(local).map_err(said)?;
        let local = socket.local_addr().map_err(said)?;
        Ok(Box::new(Free { socket, local, runtime: self.runtime.clone() }))
    }

    fn connect(&self, to: SocketAddr) -> Connecting {
        spawned(&self.runtime, TcpStream::connect(to))
    }

    fn datagrams(&self, local: SocketAddr) -> Result<Box<dyn Datagrams>, NetworkError> {
        let _context = self.runtime.enter();
        let socket = std::net::UdpSocket::bind(local).map_err(said)?;
        socket.set_nonblocking(true).map_err(said)?;
        let local = socket.local_addr().map_err(said)?;
        Ok(Box::new(Mailbox { socket: UdpSocket::from_std(socket).map_err(said)?, local }))
    }

    fn resolve(&self, _: String) -> Resolving {
        Box::pin(async { Err(NetworkError::NoSuchName) })
    }
}

fn said(error: io::Error) -> NetworkError {
    match error.kind() {
        ErrorKind::ConnectionRefused => NetworkError::Refused,
        ErrorKind::AddrInUse => NetworkError::InUse,
        ErrorKind::BrokenPipe => NetworkError::Broken,
        ErrorKind::ConnectionReset => NetworkError::Reset,
        _ => NetworkError::Other(error.to_string()),
    }
}

fn spawned(runtime: &Handle, connecting: impl Future<Output = io::Result<TcpStream>> + Send + 'static) -> Connecting {
    let connecting = runtime.spawn(connecting);
    Box::pin(async { connection(connecting.await.map_err(|_| NetworkError::Aborted)?.map_err(said)?) })
}

fn connection(stream: TcpStream) -> Result<Connection, NetworkError> {
    stream.set_nodelay(true).map_err(said)?;
    let (local, remote) = (stream.local_addr().map_err(said)?, stream.peer_addr().map_err(said)?);
    let stream = Arc::new(stream);
    let writer = Out { stream: stream.clone(), unsent: Bytes::new() };
    Ok(Connection { local, remote, reader: Box::new(In(stream)), writer: Box::new(writer) })
}

// === impl Free ===

impl Port for Free {
    fn local(&self) -> SocketAddr {
        self.local
    }

    fn listen(self: Box<Self>, backlog: u32) -> Result<Box<dyn Listener>, NetworkError> {
        let _context = self.runtime.enter();
        Ok(Box::new(Listening(self.socket.listen(backlog).map_err(said)?)))
    }

    fn connect(self: Box<Self>, to: SocketAddr) -> Connecting {
        spawned(&self.runtime, self.socket.connect(to))
    }
}

impl Listener for Listening {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Result<Connection, NetworkError>> {
        self.0.poll_accept(cx).map(|accepted| connection(accepted.map_err(said)?.0))
    }
}

// === impl In, Out ===

impl Reader for In {
    fn poll_read(&mut self, cx: &mut Context<'_>, bytes_max: usize) -> Poll<Result<Bytes, NetworkError>> {
        let mut piece = BytesMut::with_capacity(bytes_max.min(PIECE_BYTES));
        loop {
            match self.0.try_read_buf(&mut piece) {
                Ok(_) => return Poll::Ready(Ok(piece.freeze())),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    ready!(self.0.poll_read_ready(cx)).map_err(said)?;
                }
                Err(error) => return Poll::Ready(Err(said(error))),
            }
        }
    }
}

impl Out {
    fn send(&mut self) -> Result<(), NetworkError> {
        while !self.unsent.is_empty() {
            match self.stream.try_write(&self.unsent) {
                Ok(count) => drop(self.unsent.split_to(count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(said(error)),
            }
        }
        Ok(())
    }
}

impl Writer for Out {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, NetworkError>> {
        loop {
            self.send()?;
            if self.unsent.is_empty() {
                return Poll::Ready(Ok(PIECE_BYTES));
            }
            ready!(self.stream.poll_write_ready(cx)).map_err(said)?;
        }
    }

    fn write(&mut self, bytes: Bytes) -> Result<(), NetworkError> {
        self.unsent = bytes;
        self.send()
    }
}

// === impl Mailbox ===

impl Datagrams for Mailbox {
    fn local(&self) -> SocketAddr {
        self.local
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<(Bytes, SocketAddr), NetworkError>> {
        let mut piece = BytesMut::with_capacity(PIECE_BYTES);
        loop {
            match self.socket.try_recv_buf_from(&mut piece) {
                Ok((_, from)) => return Poll::Ready(Ok((piece.freeze(), from))),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    ready!(self.socket.poll_recv_ready(cx)).map_err(said)?;
                }
                Err(error) => return Poll::Ready(Err(said(error))),
            }
        }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.socket.poll_send_ready(cx).map(|_| ())
    }

    fn send(&mut self, datagram: Bytes, to: SocketAddr) -> Result<(), NetworkError> {
        self.socket.try_send_to(&datagram, to).map(|_| ()).map_err(said)
    }
}
