//! Connections on which nobody asks whether the other end is still there.
//!
//! HTTP/2 asks by itself. Bytes that are only carried do not: a machine that lost its power in the midst of them says nothing for ever,
//! and whoever listens would wait as long. So the kernel asks.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// So long nothing is heard before the other end is asked,
const ASK_AFTER: Duration = Duration::from_secs(5);
/// again and again at this distance,
const ASK_EVERY: Duration = Duration::from_secs(2);
/// so often before the connection is given up.
const ASK_TIMES: u32 = 3;
/// What was sent and is not acknowledged for so long is lost with the connection: more than the queue of a slow link takes.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(15);

/// Has a connection end when its other end has been silent for some ten seconds although it was asked.
pub fn heed_silence(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    let asking = TcpKeepalive::new().with_time(ASK_AFTER).with_interval(ASK_EVERY).with_retries(ASK_TIMES);
    socket.set_tcp_keepalive(&asking)?;
    socket.set_tcp_user_timeout(Some(ACKNOWLEDGED_WITHIN))
}
