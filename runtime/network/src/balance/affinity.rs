//! Clients that keep their endpoint: `sessionAffinity: ClientIP`.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How many clients of one service are kept in mind; the one that was silent longest goes.
const CLIENTS_MAX: usize = 16_384;

/// The clients of one service, and the endpoints they keep.
#[derive(Debug, Default)]
pub struct Clients(Mutex<HashMap<(IpAddr, u16), Kept>>);

#[derive(Clone, Copy, Debug)]
struct Kept {
    endpoint: SocketAddr,
    used: Instant,
}

// === impl Clients ===

impl Clients {
    /// The endpoint that `client` keeps for `port`, unless it was silent for longer than `timeout`.
    pub fn kept(&self, client: IpAddr, port: u16, timeout: Duration, now: Instant) -> Option<SocketAddr> {
        let clients = self.0.lock();
        let kept = clients.get(&(client.to_canonical(), port))?;
        (now.duration_since(kept.used) < timeout).then_some(kept.endpoint)
    }

    /// From here on `client` keeps `endpoint` for `port`.
    pub fn keep(&self, client: IpAddr, port: u16, endpoint: SocketAddr, now: Instant) {
        let key = (client.to_canonical(), port);
        let mut clients = self.0.lock();
        if clients.len() >= CLIENTS_MAX && !clients.contains_key(&key) {
            let oldest = clients.iter().min_by_key(|(_, kept)| kept.used).map(|(key, _)| *key);
            oldest.map(|oldest| clients.remove(&oldest));
        }
        clients.insert(key, Kept { endpoint, used: now });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_keeps_its_endpoint_until_it_was_silent_too_long() {
        let (clients, start, timeout) = (Clients::default(), Instant::now(), Duration::from_secs(10));
        let client: IpAddr = [192, 0, 2, 7].into();
        let endpoint = SocketAddr::from(([10, 42, 0, 2], 80));
        clients.keep(client, 80, endpoint, start);
        assert_eq!(clients.kept(client, 80, timeout, start + Duration::from_secs(9)), Some(endpoint));
        assert_eq!(clients.kept(client, 80, timeout, start + Duration::from_secs(10)), None);
        assert_eq!(clients.kept(client, 81, timeout, start), None, "another port is another session");
        let clothed = "::ffff:192.0.2.7".parse().expect("an address");
        assert_eq!(clients.kept(clothed, 80, timeout, start), Some(endpoint));
    }
}
