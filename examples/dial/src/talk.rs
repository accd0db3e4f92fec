//! What the standard library can say.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};
use std::{env, thread};

use crate::Done;

const PIECE_BYTES: usize = 64 * 1024;
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(1);

pub fn connect(address: &str) -> Done {
    let socket = TcpStream::connect(address)?;
    println!("{} -> {}", socket.local_addr()?, socket.peer_addr()?);
    Ok(())
}

/// All connections are open before the first byte is sent, and every piece is heard before the next one is sent.
pub fn echo(address: &str, bytes: usize, sockets: usize) -> Done {
    let mut sockets = (0..sockets).map(|_| TcpStream::connect(address)).collect::<Result<Vec<_>, _>>()?;
    let (mut sent, mut heard) = (0, vec![0; PIECE_BYTES]);
    while sent < bytes {
        let length = PIECE_BYTES.min(bytes - sent);
        for (number, socket) in sockets.iter_mut().enumerate() {
            let piece: Vec<u8> = (sent..sent + length).map(|at| (at * 31 + number) as u8).collect();
            socket.write_all(&piece)?;
            socket.read_exact(&mut heard[..length])?;
            if heard[..length] != piece {
                return Err(format!("connection {number} heard something else after {sent} bytes").into());
            }
        }
        sent += length;
    }
    println!("{sent} bytes came back on each of {} connections", sockets.len());
    Ok(())
}

pub fn half(address: &str) -> Done {
    let mut socket = TcpStream::connect(address)?;
    socket.write_all(b"half a talk")?;
    socket.shutdown(Shutdown::Write)?;
    let refused = socket.write(b"more").map_err(|error| error.kind());
    let mut heard = String::new();
    socket.read_to_string(&mut heard)?;
    println!("heard {heard:?}, then the end; writing more gave {refused:?}");
    Ok(())
}

pub fn flood(address: &str) -> Done {
    let mut socket = TcpStream::connect(address)?;
    socket.set_nonblocking(true)?;
    let (piece, mut taken) = (vec![7; PIECE_BYTES], 0_usize);
    loop {
        match socket.write(&piece) {
            Ok(count) => taken += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error.into()),
        }
    }
    println!("{taken} bytes were taken");
    socket.set_nonblocking(false)?;
    socket.write_all(&piece)?;
    println!("and {} more when there was room", piece.len());
    Ok(())
}

pub fn take(address: &str) -> Done {
    let listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    let (mut socket, peer) = listener.accept()?;
    println!("{peer} is here");
    let piece = vec![7; PIECE_BYTES];
    loop {
        if let Err(error) = socket.write_all(&piece) {
            println!("gone: {:?}", error.kind());
            return Ok(());
        }
    }
}

pub fn udp(address: &str, text: &str) -> Done {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(address)?;
    socket.send(text.as_bytes())?;
    let mut heard = [0; 2048];
    let (length, from) = socket.recv_from(&mut heard)?;
    println!("{from} says {:?}", String::from_utf8_lossy(&heard[..length]));
    Ok(())
}

/// The sockets hear anybody, so that an answer alone says whose it is.
pub fn ask(address: &str, sockets: usize) -> Done {
    for number in 0..sockets {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_nonblocking(true)?;
        let (text, from) = answer(&socket, address, &format!("question {number}"))?;
        println!("{from} says {text:?}");
    }
    Ok(())
}

/// Datagrams may be lost: who hears nothing asks again.
fn answer(socket: &UdpSocket, address: &str, question: &str) -> io::Result<(String, SocketAddr)> {
    let mut heard = [0; 2048];
    loop {
        socket.send_to(question.as_bytes(), address)?;
        let asked = Instant::now();
        while asked.elapsed() < ASK_AGAIN_AFTER {
            match socket.recv_from(&mut heard) {
                Ok((length, from)) => return Ok((String::from_utf8_lossy(&heard[..length]).into_owned(), from)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(LOOK_AGAIN_AFTER),
                Err(error) => return Err(error),
            }
        }
    }
}

pub fn tell(address: &str) -> Done {
    let socket = UdpSocket::bind(address)?;
    println!("listening on {}", socket.local_addr()?);
    let name = env::var("HOSTNAME").unwrap_or_default();
    let mut heard = [0; 2048];
    loop {
        let (length, from) = socket.recv_from(&mut heard)?;
        let text = format!("{name} heard {}", String::from_utf8_lossy(&heard[..length]));
        socket.send_to(text.as_bytes(), from)?;
    }
}

pub fn lookup(name: &str) -> Done {
    let addresses: Vec<_> = (name, 0).to_socket_addrs()?.map(|address| address.ip().to_string()).collect();
    println!("{}", addresses.join(" "));
    Ok(())
}

pub fn open(address: &str, sockets: usize) -> Done {
    let mut open = Vec::new();
    while open.len() < sockets {
        match TcpStream::connect(address) {
            Ok(socket) => open.push(socket),
            Err(error) => {
                println!("{} connections, then: {error}", open.len());
                return Ok(());
            }
        }
    }
    println!("{} connections", open.len());
    Ok(())
}

pub fn rounds(address: &str, count: u32, bytes: usize) -> Done {
    let mut socket = TcpStream::connect(address)?;
    let (question, mut answer) = (vec![1; bytes], vec![0; bytes]);
    let start = Instant::now();
    for _ in 0..count {
        socket.write_all(&question)?;
        socket.read_exact(&mut answer)?;
    }
    let took = start.elapsed();
    println!("{} ns each", took.as_nanos() / u128::from(count.max(1)));
    Ok(())
}
