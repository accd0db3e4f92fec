//! A command on wasi:sockets 0.3, whose sockets are streams and whose waits are async.
//!
//! ```text
//! dial3 serve PORT           echoes: what comes in is sent back by the host, without entering the program
//! dial3 copy PORT            echoes: what comes in is read and written
//! dial3 half ADDRESS PORT    says a word, ends its half, and prints what it hears until the other half ends
//! dial3 udp ADDRESS PORT     sends datagrams, hears the answers
//! dial3 lookup NAME          prints a name's addresses
//! dial3 states               tries the interface, right and wrong
//! ```

mod states;

use wasip3::cli::environment::get_arguments;
use wasip3::sockets::ip_name_lookup::resolve_addresses;
use wasip3::sockets::types::{
    ErrorCode, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, TcpSocket, UdpSocket,
};
use wasip3::wit_bindgen::{StreamResult, spawn_local};

/// A word for how it went, or why it did not go.
type Done = Result<String, String>;

const PIECE_BYTES: usize = 64 * 1024;

struct Dial;

wasip3::cli::command::export!(Dial);

impl wasip3::exports::cli::run::Guest for Dial {
    async fn run() -> Result<(), ()> {
        let args = get_arguments();
        let words: Vec<&str> = args.iter().skip(1).map(String::as_str).collect();
        match act(&words).await {
            Ok(word) => println!("{word}"),
            Err(reason) => {
                eprintln!("dial3: {reason}");
                return Err(());
            }
        }
        Ok(())
    }
}

async fn act(words: &[&str]) -> Done {
    match words {
        ["serve", port] => serve(number(port)?, splice).await,
        ["copy", port] => serve(number(port)?, copy).await,
        ["half", address, port] => half(at(address, port)?).await,
        ["udp", address, port] => udp(at(address, port)?).await,
        ["lookup", name] => match resolve_addresses(name.to_string()).await {
            Ok(addresses) => Ok(format!("{addresses:?}")),
            Err(code) => Err(format!("{code:?}")),
        },
        ["states"] => states::check_all().await,
        _ => Err("what is to be done? dial3 serve|copy|half|udp|lookup|states ...".into()),
    }
}

fn number(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("{text} is not a port"))
}

fn at(address: &str, port: &str) -> Result<IpSocketAddress, String> {
    let ip: std::net::Ipv4Addr = address.parse().map_err(|_| format!("{address} is not an address"))?;
    Ok(v4(ip.octets(), number(port)?))
}

pub fn v4(address: [u8; 4], port: u16) -> IpSocketAddress {
    IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: address.into() })
}

fn said(code: ErrorCode) -> String {
    format!("{code:?}")
}

/// Every connection is a task of its own in this one instance.
async fn serve<F: Future<Output = ()> + 'static>(port: u16, answer: fn(TcpSocket) -> F) -> Done {
    let socket = TcpSocket::create(IpAddressFamily::Ipv4).map_err(said)?;
    socket.bind(v4([0, 0, 0, 0], port)).map_err(said)?;
    let mut connections = socket.listen().map_err(said)?;
    println!("listening on {:?}", socket.get_local_address().map_err(said)?);
    while let Some(connection) = connections.next().await {
        spawn_local(answer(connection));
    }
    Ok("no more connections come".into())
}

async fn splice(connection: TcpSocket) {
    let (incoming, _) = connection.receive();
    let _ = connection.send(incoming).await;
}

async fn copy(connection: TcpSocket) {
    let (mut incoming, _) = connection.receive();
    let (mut writer, outgoing) = wasip3::wit_stream::new();
    let sent = connection.send(outgoing);
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    loop {
        let status;
        (status, piece) = incoming.read(piece).await;
        if !piece.is_empty() {
            let left = writer.write_all(piece).await;
            if !left.is_empty() {
                break;
            }
            piece = Vec::with_capacity(PIECE_BYTES);
        }
        if matches!(status, StreamResult::Dropped) {
            break;
        }
    }
    drop(writer);
    let _ = sent.await;
}

async fn half(address: IpSocketAddress) -> Done {
    let socket = TcpSocket::create(IpAddressFamily::Ipv4).map_err(said)?;
    socket.connect(address).await.map_err(said)?;
    let (mut writer, outgoing) = wasip3::wit_stream::new();
    let (incoming, ended) = socket.receive();
    let sent = socket.send(outgoing);
    let left = writer.write_all(b"half a talk".to_vec()).await;
    drop(writer);
    let heard = incoming.collect().await;
    let heard = String::from_utf8_lossy(&heard);
    Ok(format!("{} left, sent {:?}, heard {heard:?}, ended {:?}", left.len(), sent.await, ended.await))
}

/// The second receiver waits while the first one does.
async fn udp(address: IpSocketAddress) -> Done {
    let socket = UdpSocket::create(IpAddressFamily::Ipv4).map_err(said)?;
    socket.connect(address).map_err(said)?;
    let mut heard = Vec::new();
    for word in ["one", "two"] {
        socket.send(word.as_bytes().to_vec(), None).await.map_err(said)?;
        let (datagram, _) = socket.receive().await.map_err(said)?;
        heard.push(String::from_utf8_lossy(&datagram).into_owned());
    }
    Ok(format!("heard {heard:?}"))
}
