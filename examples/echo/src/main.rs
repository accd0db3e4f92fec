//! Says what it hears: over TCP as it comes, over UDP datagram by datagram, on the same port.
//!
//! ```text
//! echo [ADDRESS]     by default 0.0.0.0:7
//! ```
//! A client that says nothing more (a half close) hears the rest, then the end.

use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::process::ExitCode;

use poll::Poll;

const ADDRESS: &str = "0.0.0.0:7";

/// A client's bytes on their way back; one that does not read is not read from.
const PIECE_BYTES: usize = 64 * 1024;

struct Client {
    socket: TcpStream,
    piece: Vec<u8>,
    unsent: std::ops::Range<usize>,
    ended: bool,
}

fn main() -> ExitCode {
    let address = std::env::args().nth(1).unwrap_or_else(|| ADDRESS.into());
    match serve(&address) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(address: &str) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let local = listener.local_addr()?;
    let datagrams = UdpSocket::bind(local)?;
    datagrams.set_nonblocking(true)?;
    println!("echo: listening on {local}");
    let (mut clients, mut poll) = (Vec::<Client>::new(), Poll::default());
    loop {
        poll.clear();
        poll.add(&listener, true, false);
        poll.add(&datagrams, true, false);
        for client in &clients {
            poll.add(&client.socket, client.unsent.is_empty(), !client.unsent.is_empty());
        }
        poll.wait()?;
        let mut index = 1;
        clients.retain_mut(|client| {
            index += 1;
            !poll.is_ready(index) || client.step().is_ok_and(|stays| stays)
        });
        if poll.is_ready(0) {
            accept(&listener, &mut clients);
        }
        if poll.is_ready(1) {
            answer(&datagrams);
        }
    }
}

fn accept(listener: &TcpListener, clients: &mut Vec<Client>) {
    while let Ok((socket, _)) = listener.accept() {
        if socket.set_nonblocking(true).is_ok() {
            clients.push(Client { socket, piece: vec![0; PIECE_BYTES], unsent: 0..0, ended: false });
        }
    }
}

fn answer(datagrams: &UdpSocket) {
    let mut datagram = [0; PIECE_BYTES];
    while let Ok((length, from)) = datagrams.recv_from(&mut datagram) {
        // What cannot be sent now is lost, as datagrams are.
        let _ = datagrams.send_to(&datagram[..length], from);
    }
}

// === impl Client ===

impl Client {
    /// Reads and answers as far as it goes without waiting; says whether the client stays.
    fn step(&mut self) -> io::Result<bool> {
        loop {
            if self.unsent.is_empty() {
                if self.ended {
                    self.socket.shutdown(Shutdown::Write)?;
                    return Ok(false);
                }
                match self.socket.read(&mut self.piece) {
                    Ok(0) => self.ended = true,
                    Ok(count) => self.unsent = 0..count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                    Err(error) => return Err(error),
                }
            } else {
                match self.socket.write(&self.piece[self.unsent.clone()]) {
                    Ok(count) => self.unsent.start += count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                    Err(error) => return Err(error),
                }
            }
        }
    }
}
