//! A workload that answers requests.
//!
//! Every request is one task on the guests' threads that owns its instance: it starts one (or takes a warm one),
//! calls the guest, and stays until the guest is done, which may be after the response. The task is on a leash held
//! first by the caller and then by the response's body; a client that leaves takes the instance with it.

mod admission;
mod answer;
mod instance;
mod warm;

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::oneshot;
use http::header::HOST;
use http::{HeaderValue, Request, Response};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use wasmtime_wasi_http::WasiBody;

use crate::body::{self, Body};
use crate::fault::{Fault, told};
use crate::outside::Outside;
use crate::spec::{InstancePolicy, RequestPolicy, Spec};
use crate::workload;
use admission::{Admission, Place};
use answer::{Answer, Cut, Delivery, Leash};
use instance::Instance;
use warm::Warm;

/// Answers requests with instances of one workload; a clone is the same server, and dropping the last one ends it.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
    _owner: Arc<DropGuard>,
}

struct Shared {
    workload: Arc<workload::Shared>,
    spec: Spec,
    outside: Arc<dyn Outside>,
    admission: Admission,
    warm: Warm,
    tasks: TaskTracker,
    /// Ends every task of this server.
    ended: CancellationToken,
}

type Reply = oneshot::Sender<wasmtime::Result<Response<WasiBody>>>;
type Replied = oneshot::Receiver<wasmtime::Result<Response<WasiBody>>>;
type Outcome = Result<(), Fault>;

/// Stands in where a request names no host, which `wasi:http` does not allow; probes and HTTP/1.0 do so.
const NO_HOST: HeaderValue = HeaderValue::from_static("localhost");

// === impl Server ===

impl Server {
    pub(crate) fn new(workload: Arc<workload::Shared>, spec: Spec, outside: Arc<dyn Outside>) -> Self {
        let ended = CancellationToken::new();
        let shared = Shared {
            admission: Admission::new(&spec.requests),
            warm: Warm::new(ended.clone()),
            tasks: TaskTracker::new(),
            ended: ended.clone(),
            workload,
            spec,
            outside,
        };
        let shared = Arc::new(shared);
        if let InstancePolicy::Warm { instances } = shared.spec.requests.instances {
            (0..instances).for_each(|_| shared.warm_up());
        }
        Self { shared, _owner: Arc::new(ended.drop_guard()) }
    }

    /// Answers one request. Dropping the future, or the response's body before its end, ends the instance.
    pub async fn handle(&self, request: Request<Body>) -> Result<Response<Body>, Fault> {
        let shared = &self.shared;
        let RequestPolicy { timeout, .. } = shared.spec.requests;
        let deadline = Instant::now() + timeout;
        let place = shared.admission.enter(deadline).await?;
        shared.spec.ledger.count_request();

        let (reply, replied) = oneshot::channel();
        let delivery = Arc::new(Delivery::default());
        let task = shared.clone().task(place, with_host(request), reply, delivery.clone());
        let task = shared.tasks.spawn_on(task, shared.workload.host.guests());
        let leash = Leash::new(task.abort_handle(), delivery);
        let response = response(replied, task, deadline).await?;
        Ok(response.map(|body| Answer::new(body, leash)).map(body::Body::new))
    }

    /// How many requests are being answered, those that wait for a place not counted.
    pub fn in_flight(&self) -> usize {
        self.shared.tasks.len()
    }

    /// Takes no more requests, waits for those in flight for as long as `grace`, then ends what is left.
    pub async fn drain(&self, grace: Duration) {
        let shared = &self.shared;
        shared.admission.close();
        shared.tasks.close();
        if tokio::time::timeout(grace, shared.tasks.wait()).await.is_err() {
            tracing::debug!(left = shared.tasks.len(), "requests were still in flight when the grace period ended");
        }
        shared.ended.cancel();
        shared.warm.clear();
        shared.tasks.wait().await;
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("in_flight", &self.in_flight()).finish_non_exhaustive()
    }
}

/// The head of the response, or why there is none.
async fn response(replied: Replied, task: JoinHandle<Outcome>, deadline: Instant) -> Result<Response<WasiBody>, Fault> {
    let reason = match timeout_at(deadline, replied).await {
        Ok(Ok(Ok(response))) => return Ok(response),
        Ok(Ok(Err(error))) => told(&error),
        Ok(Err(oneshot::Canceled)) => "it ended without one".to_owned(),
        Err(_) => return Err(Fault::TimedOut),
    };
    // The task knows best what went wrong, once it has ended.
    match timeout_at(deadline, task).await {
        Ok(Ok(Err(fault))) => Err(fault),
        Ok(Err(error)) => Err(lost(&error)),
        Ok(Ok(Ok(()))) | Err(_) => Err(Fault::NoResponse { message: reason }),
    }
}

fn lost(error: &JoinError) -> Fault {
    if error.is_panic() {
        Fault::Trapped { message: "the host failed while it ran the component".to_owned() }
    } else {
        Fault::Stopping
    }
}

fn with_host(mut request: Request<Body>) -> Request<WasiBody> {
    let named = request.headers().get(HOST).is_some_and(|host| host.to_str().is_ok());
    if request.uri().authority().is_none() && !named {
        request.headers_mut().insert(HOST, NO_HOST);
    }
    request.map(body::inward)
}

// === impl Shared ===

impl Shared {
    /// A request from start to the guest's end, which comes in one of three ways.
    async fn task(
        self: Arc<Self>,
        place: Place,
        request: Request<WasiBody>,
        reply: Reply,
        delivery: Arc<Delivery>,
    ) -> Outcome {
        let ended = self.ended.clone();
        let overtime = self.spec.requests.timeout;
        let ledger = self.spec.ledger.clone();
        let host = self.workload.host.clone();
        let mut work = pin!(host.metered(self.answer(request, reply, delivery.clone()), ledger));
        let cut = Cut::unless_done(delivery.clone());
        let outcome = tokio::select! {
            biased;
            () = ended.cancelled() => Err(Fault::Stopping),
            outcome = &mut work => outcome,
            () = async { delivery.completed().await; tokio::time::sleep(overtime).await } => Err(Fault::TimedOut),
        };
        drop(place);
        match &outcome {
            Ok(()) => cut.done(),
            Err(fault) => tracing::debug!(%fault, "a request failed"),
        }
        outcome
    }

    async fn answer(self: Arc<Self>, request: Request<WasiBody>, reply: Reply, delivery: Arc<Delivery>) -> Outcome {
        let mut instance = match self.warm.take() {
            Some(instance) => instance,
            None => Instance::start(&self.workload, &self.spec, self.outside.clone()).await?,
        };
        if matches!(self.spec.requests.instances, InstancePolicy::Warm { .. }) {
            self.warm_up();
        }
        instance.answer(request, reply).await.inspect_err(|_| delivery.cut())?;
        if let InstancePolicy::Reuse { requests_max, idle } = self.spec.requests.instances
            && instance.answered() < requests_max
        {
            self.warm.put(instance, idle);
        }
        Ok(())
    }

    /// Starts an instance for a request to come, unless enough wait already. One that cannot be started is no loss yet: the
    /// request that finds none starts its own, and is told why if that fails.
    fn warm_up(self: &Arc<Self>) {
        let InstancePolicy::Warm { instances } = self.spec.requests.instances else { return };
        if !self.warm.reserve(instances) {
            return;
        }
        let shared = self.clone();
        let start = async move {
            let started = Instance::start(&shared.workload, &shared.spec, shared.outside.clone()).await;
            let started = started.inspect_err(|fault| tracing::debug!(%fault, "no instance could be kept warm"));
            shared.warm.fulfil(started.ok());
        };
        let (ended, host) = (self.ended.clone(), &self.workload.host);
        let start = host.metered(start, self.spec.ledger.clone());
        host.guests().spawn(async move {
            ended.run_until_cancelled(start).await;
        });
    }
}
