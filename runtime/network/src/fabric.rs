//! Who answers at which address of this node.
//!
//! Readers take no lock: the table is a persistent map behind one pointer, and a change swaps the pointer. The agent binds
//! an address when a container may be reached and drops the [`Binding`] when it may not; requests under way are not cut.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use crate::{Fault, Handler, Request, Response, call};

/// The addresses of this node's pods, and who answers there. Cloning shares it.
#[derive(Clone, Default)]
pub struct Fabric {
    shared: Arc<Shared>,
}

/// An address that is answered at. Dropping it unbinds the address, unless somebody else was bound there since.
#[must_use = "dropping a binding unbinds the address"]
pub struct Binding {
    address: SocketAddr,
    turn: u64,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    table: ArcSwap<Table>,
    turns: AtomicU64,
}

type Table = imbl::HashMap<SocketAddr, Arc<Bound>>;

struct Bound {
    /// Tells one binding of an address from the next.
    turn: u64,
    handler: Handler,
}

// === impl Fabric ===

impl Fabric {
    /// A fabric on which nobody answers.
    pub fn new() -> Self {
        Self::default()
    }

    /// From here on `handler` answers at `address`, instead of whoever did.
    pub fn bind(&self, address: SocketAddr, handler: Handler) -> Binding {
        let turn = self.shared.turns.fetch_add(1, Ordering::Relaxed);
        let bound = Arc::new(Bound { turn, handler });
        self.shared.table.rcu(|table| table.update(address, bound.clone()));
        Binding { address, turn, shared: self.shared.clone() }
    }

    /// Who answers at `address`, if it is one of this node's.
    pub fn dial(&self, address: SocketAddr) -> Option<Handler> {
        self.shared.table.load().get(&address).map(|bound| bound.handler.clone())
    }

    /// Has `request` answered at `address`.
    pub async fn send(&self, address: SocketAddr, request: Request) -> Result<Response, Fault> {
        let handler = self.dial(address).ok_or(Fault::Unreachable(address))?;
        call(handler, request).await
    }

    /// The addresses that are answered at, in no order.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.shared.table.load().keys().copied().collect()
    }
}

// === impl Binding ===

impl Binding {
    /// The address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Binding {
    fn drop(&mut self) {
        self.shared.table.rcu(|table| match table.get(&self.address) {
            Some(bound) if bound.turn == self.turn => Arc::new(table.without(&self.address)),
            _ => table.clone(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{empty, full, handler};
    use http_body_util::BodyExt;

    fn saying(words: &'static str) -> Handler {
        handler(move |_| async move { Ok(Response::new(full(words))) })
    }

    async fn ask(fabric: &Fabric, address: SocketAddr) -> String {
        match fabric.send(address, Request::new(empty())).await {
            Ok(response) => {
                let body = response.into_body().collect().await.expect("a body that is there as a whole").to_bytes();
                String::from_utf8_lossy(&body).into_owned()
            }
            Err(fault) => fault.to_string(),
        }
    }

    #[tokio::test]
    async fn an_address_is_answered_at_while_its_binding_lives() {
        let (fabric, address) = (Fabric::new(), SocketAddr::from(([10, 42, 0, 2], 80)));
        assert_eq!(ask(&fabric, address).await, "nobody answers at 10.42.0.2:80");
        let binding = fabric.bind(address, saying("one"));
        assert_eq!(ask(&fabric, address).await, "one");
        drop(binding);
        assert_eq!(ask(&fabric, address).await, "nobody answers at 10.42.0.2:80");
    }

    #[tokio::test]
    async fn an_old_binding_does_not_take_the_new_one_with_it() {
        let (fabric, address) = (Fabric::new(), SocketAddr::from(([10, 42, 0, 2], 80)));
        let old = fabric.bind(address, saying("old"));
        let new = fabric.bind(address, saying("new"));
        drop(old);
        assert_eq!(ask(&fabric, address).await, "new");
        drop(new);
        assert_eq!(fabric.addresses(), []);
    }
}
