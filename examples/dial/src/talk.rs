//! What the standard library can say.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::Instant;

use crate::Done;

const PIECE_BYTES: usize = 64 * 1024;

pub fn connect(address: &str) -> Done {
    let socket = TcpStream::connect(address)?;
    println!("{} -> {}", socket.local_addr()?, socket.peer_addr()?);
    Ok(())
}

/// All connections are open before the first byte is sent, and every piece is heard before the next one is sent.
pub fn echo(address: &str, bytes: usize, sockets: usize) -> Done {
    let mut sockets =
        (0..sockets).map(|_| TcpStream::connect(address)).collect::<Result<Vec<_>, _>>()?;
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
