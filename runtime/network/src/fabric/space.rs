//! The ports of one pod: which are taken, and who is behind them.
//!
//! Readers take no lock; taking and freeing a port does. An address in here may be the unspecified one, which stands for
//! all that the pod has, its loopback included.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use state::Protocol;
use tokio::sync::mpsc;

use super::mailbox::Mailbox;
use crate::{BindError, Stream, balance};

/// The ports that are given to those who ask for any: what Linux gives.
const EPHEMERAL: std::ops::RangeInclusive<u16> = 32_768..=60_999;

/// The ports of one pod.
#[derive(Default)]
pub(super) struct Space {
    doors: ArcSwap<Doors>,
    /// Held while a port is taken or freed.
    writing: Mutex<u64>,
}

type Doors = imbl::HashMap<(Protocol, u16), Vec<Door>>;

/// A port that is taken.
#[derive(Clone)]
struct Door {
    /// Tells one taking of a port from the next.
    turn: u64,
    at: IpAddr,
    behind: Behind,
}

/// Who is behind a port.
#[derive(Clone)]
pub(super) enum Behind {
    /// Nobody who would answer.
    Taken,
    /// Somebody who accepts connections.
    Listener(mpsc::Sender<Arriving>),
    /// Somebody who reads datagrams.
    Mailbox(Arc<Mailbox>),
}

/// A connection on its way to whoever accepts it; one that nobody accepts is broken off.
pub(super) struct Arriving(Option<Stream>);

/// A port for as long as it is taken.
pub(super) struct Claim {
    space: Arc<Space>,
    protocol: Protocol,
    address: SocketAddr,
    turn: u64,
}

// === impl Space ===

impl Space {
    /// Who is behind `to`, if the port is taken.
    pub(super) fn find(&self, protocol: Protocol, to: SocketAddr) -> Option<Behind> {
        let doors = self.doors.load();
        let here = doors.get(&(protocol, to.port()))?;
        let exact = here.iter().find(|door| door.at == to.ip());
        exact.or_else(|| here.iter().find(|door| hears(door.at, to.ip()))).map(|door| door.behind.clone())
    }

    /// Takes `address`; port 0 is any port that `is_free` elsewhere, too.
    pub(super) fn take(
        self: &Arc<Self>,
        protocol: Protocol,
        address: SocketAddr,
        is_free: impl Fn(u16) -> bool,
        behind: Behind,
    ) -> Result<Claim, BindError> {
        let mut turn = self.writing.lock();
        let doors = self.doors.load_full();
        let may_have = |port: u16| {
            let taken =
                doors.get(&(protocol, port)).is_some_and(|here| here.iter().any(|door| meet(door.at, address.ip())));
            !taken && is_free(port)
        };
        let port = match address.port() {
            0 => any(may_have).ok_or(BindError::NoPort)?,
            port if may_have(port) => port,
            _ => return Err(BindError::InUse(address)),
        };
        *turn += 1;
        let mut here = doors.get(&(protocol, port)).cloned().unwrap_or_default();
        here.push(Door { turn: *turn, at: address.ip(), behind });
        self.doors.store(Arc::new(doors.update((protocol, port), here)));
        Ok(Claim { space: self.clone(), protocol, address: SocketAddr::new(address.ip(), port), turn: *turn })
    }

    fn change(&self, key: (Protocol, u16), change: impl FnOnce(&mut Vec<Door>)) {
        let _writing = self.writing.lock();
        let doors = self.doors.load_full();
        let mut here = doors.get(&key).cloned().unwrap_or_default();
        change(&mut here);
        let doors = if here.is_empty() { doors.without(&key) } else { doors.update(key, here) };
        self.doors.store(Arc::new(doors));
    }
}

/// A port that may be had, from a random one on.
pub(super) fn any(may_have: impl Fn(u16) -> bool) -> Option<u16> {
    let (first, count) = (*EPHEMERAL.start(), EPHEMERAL.end() - EPHEMERAL.start() + 1);
    let from = (balance::draw() % u64::from(count)) as u16;
    (0..count).map(|step| first + (from + step) % count).find(|port| may_have(*port))
}

/// Whether who is bound to `at` hears what is sent to `to`.
fn hears(at: IpAddr, to: IpAddr) -> bool {
    at == to || at == IpAddr::V6(Ipv6Addr::UNSPECIFIED) || (at.is_unspecified() && to.is_ipv4())
}

/// Whether two bound addresses hear anything in common.
fn meet(one: IpAddr, other: IpAddr) -> bool {
    hears(one, other) || hears(other, one)
}

// === impl Claim ===

impl Claim {
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From here on `behind` is behind the port.
    pub(super) fn put(&self, behind: Behind) {
        self.space.change((self.protocol, self.address.port()), |here| {
            if let Some(door) = here.iter_mut().find(|door| door.turn == self.turn) {
                door.behind = behind;
            }
        });
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.space.change((self.protocol, self.address.port()), |here| here.retain(|door| door.turn != self.turn));
    }
}

// === impl Arriving ===

impl Arriving {
    pub(super) fn new(stream: Stream) -> Self {
        Self(Some(stream))
    }

    pub(super) fn accept(mut self) -> Option<Stream> {
        self.0.take()
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        if let Some(stream) = self.0.take() {
            stream.reset();
        }
    }
}
