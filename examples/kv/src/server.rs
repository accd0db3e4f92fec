//! One thread, many connections: whoever is ready is served.

use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use poll::Poll;

use crate::resp::{self, Parsed, Reply};
use crate::store::Store;

/// A client that does not read its answers is not read from either.
const UNSENT_BYTES_MAX: usize = 64 * 1024;

/// A client, what it has said so far, and what it has not been told yet.
struct Client {
    socket: TcpStream,
    said: Vec<u8>,
    unsent: Vec<u8>,
    /// No more is taken from it; it goes once it has been told everything.
    leaving: bool,
}

/// Serves until the end of the program.
pub fn serve(address: &str) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    println!("kv: listening on {}", listener.local_addr()?);
    let (mut store, mut clients, mut poll) = (Store::default(), Vec::<Client>::new(), Poll::default());
    loop {
        poll.clear();
        poll.add(&listener, true, false);
        for client in &clients {
            poll.add(&client.socket, client.is_heard(), !client.unsent.is_empty());
        }
        poll.wait()?;
        let mut index = 0;
        clients.retain_mut(|client| {
            index += 1;
            !poll.is_ready(index) || client.step(&mut store).is_ok_and(|stays| stays)
        });
        if poll.is_ready(0) {
            accept(&listener, &mut clients);
        }
    }
}

fn accept(listener: &TcpListener, clients: &mut Vec<Client>) {
    loop {
        match listener.accept().and_then(|(socket, _)| Client::new(socket)) {
            Ok(client) => clients.push(client),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => {
                eprintln!("kv: accept: {error}");
                return;
            }
        }
    }
}

// === impl Client ===

impl Client {
    fn new(socket: TcpStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self { socket, said: Vec::new(), unsent: Vec::new(), leaving: false })
    }

    fn is_heard(&self) -> bool {
        !self.leaving && self.unsent.len() < UNSENT_BYTES_MAX
    }

    /// Reads, acts and answers as far as it goes without waiting; says whether the client stays.
    fn step(&mut self, store: &mut Store) -> io::Result<bool> {
        if self.is_heard() {
            self.read()?;
            self.act(store);
        }
        self.send()?;
        Ok(!(self.leaving && self.unsent.is_empty()))
    }

    fn read(&mut self) -> io::Result<()> {
        let mut piece = [0; 16 * 1024];
        match self.socket.read(&mut piece) {
            Ok(0) => self.leaving = true,
            Ok(count) => self.said.extend(&piece[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn act(&mut self, store: &mut Store) {
        let mut taken = 0;
        loop {
            match resp::parse(&self.said[taken..]) {
                Parsed::Whole(command, length) => {
                    taken += length;
                    if command.is_empty() {
                        continue;
                    }
                    store.act(&command).write(&mut self.unsent);
                    self.leaving |= command[0].eq_ignore_ascii_case(b"QUIT");
                }
                Parsed::Partial => break,
                Parsed::Wrong(reason) => {
                    Reply::Error(reason.into()).write(&mut self.unsent);
                    self.leaving = true;
                    break;
                }
            }
        }
        self.said.drain(..taken);
    }

    fn send(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match self.socket.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
