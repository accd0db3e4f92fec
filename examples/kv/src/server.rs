//! One thread, many connections: whoever is ready is served. Nobody is answered before what he changed is on the disk.

use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use poll::Poll;

use crate::journal::Journal;
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

/// What there is, and where it is kept.
struct Shelf {
    store: Store,
    journal: Option<Journal>,
}

/// Serves until the end of the program.
pub fn serve(address: &str, directory: Option<&str>) -> Result<(), Box<dyn Error>> {
    let opened = directory.map(|directory| Journal::open(directory).map_err(|error| format!("{directory}: {error}")));
    let mut shelf = match opened.transpose()? {
        None => Shelf { store: Store::default(), journal: None },
        Some((journal, store)) => Shelf { store, journal: Some(journal) },
    };
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    println!("kv: listening on {}", listener.local_addr()?);
    let (mut clients, mut poll) = (Vec::<Client>::new(), Poll::default());
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
            !poll.is_ready(index) || client.hear(&mut shelf).is_ok()
        });
        shelf.settle()?;
        clients.retain_mut(|client| client.answer().is_ok_and(|stays| stays));
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

// === impl Shelf ===

impl Shelf {
    fn act(&mut self, command: &[Vec<u8>]) -> Reply {
        if let Some(journal) = self.journal.as_mut().filter(|_| Store::is_changed_by(command))
            && let Err(error) = journal.note(command)
        {
            return Reply::Error(format!("nothing was changed: {error}"));
        }
        self.store.act(command)
    }

    fn settle(&mut self) -> io::Result<()> {
        self.journal.as_mut().map_or(Ok(()), |journal| journal.settle(&self.store))
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

    /// Reads and acts as far as it goes without waiting.
    fn hear(&mut self, shelf: &mut Shelf) -> io::Result<()> {
        if self.is_heard() {
            self.read()?;
            self.act(shelf);
        }
        Ok(())
    }

    /// Answers as far as it goes without waiting; says whether the client stays.
    fn answer(&mut self) -> io::Result<bool> {
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

    fn act(&mut self, shelf: &mut Shelf) {
        let mut taken = 0;
        loop {
            match resp::parse(&self.said[taken..]) {
                Parsed::Whole(command, length) => {
                    taken += length;
                    if command.is_empty() {
                        continue;
                    }
                    shelf.act(&command).write(&mut self.unsent);
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
