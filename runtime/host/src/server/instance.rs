//! One instance that answers requests, one after another.

use std::future::poll_fn;
use std::sync::Arc;

use http::Request;
use wasmtime::{AsContextMut, Store};
use wasmtime_wasi_http::handler::{Prepared, Proxy};
use wasmtime_wasi_http::{WasiBody, WasiHttpView};

use super::Reply;
use crate::fault::Fault;
use crate::guest::{Guest, MemoryRefusal};
use crate::ledger::Ledger;
use crate::outside::Outside;
use crate::spec::Spec;
use crate::stdio::Stdin;
use crate::workload;

pub(super) struct Instance {
    store: Store<Guest>,
    proxy: Proxy,
    refusal: MemoryRefusal,
    ledger: Ledger,
    answered: u32,
}

// === impl Instance ===

impl Instance {
    pub(super) async fn start(
        workload: &workload::Shared,
        spec: &Spec,
        outside: Arc<dyn Outside>,
    ) -> Result<Self, Fault> {
        let host = &workload.host;
        let server = workload.server.as_ref().expect("a server is only made of a component that has a handler");
        let mut store =
            Guest::store(host, workload.size, spec, Stdin::Empty, outside).map_err(|error| Fault::of_start(&error))?;
        let refusal = store.data().memory_refusal();
        match server.instantiate_async(&mut store).await {
            Ok(proxy) => Ok(Self { store, proxy, refusal, ledger: spec.ledger.clone(), answered: 0 }),
            Err(_) if refusal.happened() => Err(out_of_memory(&spec.ledger)),
            Err(error) => Err(Fault::of_start(&error)),
        }
    }

    /// How many requests it has answered.
    pub(super) fn answered(&self) -> u32 {
        self.answered
    }

    /// Calls the guest and stays until it is done, which may be after it replied.
    pub(super) async fn answer(&mut self, request: Request<WasiBody>, reply: Reply) -> Result<(), Fault> {
        self.answered += 1;
        let proxy = &self.proxy;
        let call = self.store.run_concurrent(async |accessor| {
            let prepared = accessor
                .with(|mut access| Prepared::new(access.as_context_mut(), proxy, request, Guest::http, reply))?;
            prepared.run(accessor, std::future::pending()).await?;
            // A guest may go on after its response: writing its body, or work it left for later.
            poll_fn(|cx| accessor.poll_no_interesting_tasks(cx)).await;
            Ok(())
        });
        match call.await.flatten() {
            Ok(()) => Ok(()),
            Err(_) if self.refusal.happened() => Err(out_of_memory(&self.ledger)),
            Err(error) => Err(Fault::of_request(&error)),
        }
    }
}

/// The limit is that of now: it may have been changed since the instance was started.
fn out_of_memory(ledger: &Ledger) -> Fault {
    Fault::OutOfMemory { limit_bytes: ledger.limits().memory_bytes.unwrap_or(u64::MAX) }
}
