//! Everybody who is here, and what is said.

use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use poll::Poll;
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Message, WebSocket};

use crate::head::{self, Asked};

/// The longest thing said.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Whoever is so far behind is left behind.
const UNSENT_BYTES_MAX: usize = 1 << 20;

type Socket = WebSocket<TcpStream>;

/// A connection and what has become of it.
struct Guest {
    state: State,
    /// Whether something waits for the other side to take it.
    unsent: bool,
}

enum State {
    /// Nothing is known of it but these bytes.
    Coming(TcpStream, Vec<u8>),
    /// It is being sent this page, and then goes.
    Reading(TcpStream, Vec<u8>),
    /// It hears itself.
    Alone(Box<Socket>),
    /// It hears everybody.
    Inside(Box<Socket>, u64),
    Gone,
}

/// Serves until the end of the program.
pub fn serve(address: &str) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    println!("chat: listening on {}", listener.local_addr()?);
    let (mut guests, mut poll, mut names) = (Vec::<Guest>::new(), Poll::default(), 0);
    loop {
        poll.clear();
        poll.add(&listener, true, false);
        for guest in &guests {
            guest.wait(&mut poll);
        }
        poll.wait()?;
        let mut said = Vec::new();
        for (index, guest) in guests.iter_mut().enumerate() {
            if poll.is_ready(index + 1) {
                guest.step(&mut names, &mut said);
            }
        }
        for text in said {
            println!("chat: {text}");
            for guest in &mut guests {
                guest.hear(&text);
            }
        }
        guests.retain(|guest| !matches!(guest.state, State::Gone));
        while let Ok((socket, _)) = listener.accept() {
            if socket.set_nonblocking(true).is_ok() {
                guests.push(Guest { state: State::Coming(socket, Vec::new()), unsent: false });
            }
        }
    }
}

// === impl Guest ===

impl Guest {
    fn wait(&self, poll: &mut Poll) {
        match &self.state {
            State::Coming(socket, _) => poll.add(socket, true, false),
            State::Reading(socket, _) => poll.add(socket, false, true),
            State::Alone(socket) | State::Inside(socket, _) => poll.add(socket.get_ref(), true, self.unsent),
            State::Gone => {}
        }
    }

    /// Goes as far as it goes without waiting; what is said to all is added to `said`.
    fn step(&mut self, names: &mut u64, said: &mut Vec<String>) {
        loop {
            let state = std::mem::replace(&mut self.state, State::Gone);
            let (state, again) = match state {
                State::Coming(socket, bytes) => coming(socket, bytes, names, said),
                State::Reading(socket, page) => (reading(socket, page), false),
                State::Alone(socket) => alone(socket),
                State::Inside(socket, name) => inside(socket, name, said),
                State::Gone => (State::Gone, false),
            };
            self.state = state;
            if !again {
                break;
            }
        }
        self.flush();
    }

    fn hear(&mut self, text: &str) {
        if let State::Inside(socket, _) = &mut self.state
            && socket.write(Message::text(text)).is_err_and(|error| !is_later(&error))
        {
            self.state = State::Gone;
        }
        self.flush();
    }

    fn flush(&mut self) {
        if let State::Alone(socket) | State::Inside(socket, _) = &mut self.state {
            match socket.flush() {
                Ok(()) => self.unsent = false,
                Err(error) if is_later(&error) => self.unsent = true,
                Err(_) => self.state = State::Gone,
            }
        }
    }
}

/// The next state, and whether it goes on at once.
type Step = (State, bool);

fn coming(mut socket: TcpStream, mut bytes: Vec<u8>, names: &mut u64, said: &mut Vec<String>) -> Step {
    let mut piece = [0; 4096];
    match socket.read(&mut piece) {
        Ok(0) => return (State::Gone, false),
        Ok(count) => bytes.extend(&piece[..count]),
        Err(error) if error.kind() == ErrorKind::WouldBlock => return (State::Coming(socket, bytes), false),
        Err(_) => return (State::Gone, false),
    }
    match head::read(&bytes) {
        Asked::Partial => (State::Coming(socket, bytes), true),
        Asked::Page(page) => (reading(socket, page.into_bytes()), false),
        Asked::Socket { room, answer, taken } => match greet(socket, &answer, bytes.split_off(taken)) {
            Err(_) => (State::Gone, false),
            Ok(socket) if room => {
                *names += 1;
                said.push(format!("guest {names} is here"));
                (State::Inside(Box::new(socket), *names), true)
            }
            Ok(socket) => (State::Alone(Box::new(socket)), true),
        },
    }
}

/// A new connection has room for so short an answer.
fn greet(mut socket: TcpStream, answer: &str, rest: Vec<u8>) -> io::Result<Socket> {
    socket.write_all(answer.as_bytes())?;
    let limits = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX))
        .read_buffer_size(4096)
        .write_buffer_size(0)
        .max_write_buffer_size(UNSENT_BYTES_MAX);
    Ok(WebSocket::from_partially_read(socket, rest, Role::Server, Some(limits)))
}

fn reading(mut socket: TcpStream, mut page: Vec<u8>) -> State {
    while !page.is_empty() {
        match socket.write(&page) {
            Ok(count) => drop(page.drain(..count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return State::Reading(socket, page),
            Err(_) => break,
        }
    }
    State::Gone
}

fn alone(mut socket: Box<Socket>) -> Step {
    let heard = socket.read();
    match heard {
        Ok(message @ (Message::Text(_) | Message::Binary(_))) => match socket.write(message) {
            Err(error) if !is_later(&error) => (State::Gone, false),
            _ => (State::Alone(socket), true),
        },
        Ok(_) => (State::Alone(socket), true),
        Err(error) if is_later(&error) => (State::Alone(socket), false),
        Err(_) => (State::Gone, false),
    }
}

fn inside(mut socket: Box<Socket>, name: u64, said: &mut Vec<String>) -> Step {
    match socket.read() {
        Ok(Message::Text(text)) => {
            said.push(format!("guest {name}: {text}"));
            (State::Inside(socket, name), true)
        }
        Ok(_) => (State::Inside(socket, name), true),
        Err(error) if is_later(&error) => (State::Inside(socket, name), false),
        Err(_) => {
            said.push(format!("guest {name} has left"));
            (State::Gone, false)
        }
    }
}

fn is_later(error: &tungstenite::Error) -> bool {
    matches!(error, tungstenite::Error::Io(error) if error.kind() == ErrorKind::WouldBlock)
}
