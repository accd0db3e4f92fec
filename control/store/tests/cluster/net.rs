//! A network in memory: every pair of members has a wire in each direction, and each can be cut. Bytes wait at a cut, as TCP has
//! it; whoever is stopped takes its connections along.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use store::{Connection, Peer, Store, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// What is in the wire at a time.
const WIRE_BYTES: usize = 64 << 10;

/// All wires. Cloning shares them.
#[derive(Clone)]
pub(crate) struct Net(Arc<Inner>);

struct Inner {
    cuts: watch::Sender<BTreeSet<(String, String)>>,
    ends: Mutex<HashMap<String, End>>,
}

#[derive(Default)]
struct End {
    store: Option<Store>,
    connections: Vec<AbortHandle>,
    /// How many that were dialled have ended by themselves.
    ended: usize,
}

/// The network as one member sees it.
struct Wire {
    net: Net,
    from: String,
}

// === impl Net ===

impl Net {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner { cuts: watch::Sender::default(), ends: Mutex::default() }))
    }

    pub(crate) fn transport(&self, from: &str) -> Arc<dyn Transport> {
        Arc::new(Wire { net: self.clone(), from: from.into() })
    }

    pub(crate) fn attach(&self, address: &str, store: Store) {
        self.0.ends.lock().expect("no panic").entry(address.into()).or_default().store = Some(store);
    }

    pub(crate) fn detach(&self, address: &str) {
        let Some(end) = self.0.ends.lock().expect("no panic").remove(address) else { return };
        end.connections.iter().for_each(AbortHandle::abort);
    }

    /// Nothing gets from here to there any more.
    pub(crate) fn cut(&self, from: &str, to: &str) {
        self.0.cuts.send_if_modified(|cuts| cuts.insert((from.into(), to.into())));
    }

    pub(crate) fn heal(&self) {
        self.0.cuts.send_modify(BTreeSet::clear);
    }

    /// How many connections to a member have ended by themselves, as those do that are not for it.
    pub(crate) fn ended(&self, address: &str) -> usize {
        self.0.ends.lock().expect("no panic").get(address).map_or(0, |end| end.ended)
    }

    async fn open(&self, from: &str, to: &str) {
        let wire = (from.to_owned(), to.to_owned());
        let mut cuts = self.0.cuts.subscribe();
        cuts.wait_for(|cuts| !cuts.contains(&wire)).await.expect("the network outlives its wires");
    }

    async fn carry(
        &self,
        from: String,
        to: String,
        mut out: ReadHalf<DuplexStream>,
        mut into: WriteHalf<DuplexStream>,
    ) {
        let mut bytes = vec![0; WIRE_BYTES];
        while let Ok(count @ 1..) = out.read(&mut bytes).await {
            self.open(&from, &to).await;
            if into.write_all(&bytes[..count]).await.is_err() {
                break;
            }
        }
        // The end of a stream travels the same way.
        self.open(&from, &to).await;
        let _ = into.shutdown().await;
    }
}

impl Transport for Wire {
    fn dial(&self, peer: &Peer) -> BoxFuture<'static, io::Result<Connection>> {
        let (net, from, to) = (self.net.clone(), self.from.clone(), peer.address.clone());
        Box::pin(async move {
            net.open(&from, &to).await;
            net.open(&to, &from).await;
            let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
            let mut ends = net.0.ends.lock().expect("no panic");
            let store = ends.get(&to).and_then(|end| end.store.clone()).ok_or_else(refused)?;
            let (here, near) = tokio::io::duplex(WIRE_BYTES);
            let (there, far) = tokio::io::duplex(WIRE_BYTES);
            let ((near_out, near_in), (far_out, far_in)) = (tokio::io::split(near), tokio::io::split(far));
            let (go, come) = (net.clone(), net.clone());
            let (a, b) = (from.clone(), to.clone());
            let going = tokio::spawn(async move { go.carry(a, b, near_out, far_in).await });
            let (a, b) = (from.clone(), to.clone());
            let coming = tokio::spawn(async move { come.carry(b, a, far_out, near_in).await });
            let (served, at) = (net.clone(), to.clone());
            let serving = tokio::spawn(async move {
                drop(store.serve(Box::new(there)).await);
                if let Some(end) = served.0.ends.lock().expect("no panic").get_mut(&at) {
                    end.ended += 1;
                }
            });
            for address in [from, to] {
                let handles = [going.abort_handle(), coming.abort_handle(), serving.abort_handle()];
                ends.entry(address).or_default().connections.extend(handles);
            }
            Ok(Box::new(here) as Connection)
        })
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the wires of {}", self.from)
    }
}
