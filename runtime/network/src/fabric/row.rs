//! Those who wait for a service that has nobody, and will be given somebody; and those who were refused by all that the table knows.
//!
//! Whether it will be given somebody, the control plane says of the service. Who waits is counted by service; the agent tells the control plane,
//! which is what somebody comes for. The row is bounded in number and in time. Nothing that was begun with waits here: a request
//! or a connection is in the row only as long as no endpoint has taken it.
//!
//! The table is a moment behind what happens: where all endpoints that it knows have just been stopped, it will soon say who else
//! there is, or that there is nobody. For this nobody has to come, so nobody is counted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::Fabric;
use crate::Service;

/// How many wait on this node for each service, by namespace and name; a service for which nobody waits is not there.
pub type Waiting = BTreeMap<(Arc<str>, Arc<str>), usize>;

/// Endpoints that did not take it are asked again after this: the table is behind what has just happened.
const PAUSE: Duration = Duration::from_millis(20);

/// How far the table may be behind, and how often it is asked again meanwhile.
const BEHIND_MAX: Duration = Duration::from_secs(2);
const BEHIND_PAUSE: Duration = Duration::from_millis(50);

/// A request or connection that waits for an endpoint of a service.
pub struct Row {
    fabric: Fabric,
    name: (Arc<str>, Arc<str>),
    until: Instant,
    place: Option<Place>,
    /// Whether somebody has to come.
    is_counted: bool,
}

/// One who is counted, until this is dropped.
struct Place {
    fabric: Fabric,
    name: (Arc<str>, Arc<str>),
}

// === impl Fabric ===

impl Fabric {
    /// Who waits on this node, and for whom.
    pub fn waiting(&self) -> watch::Receiver<Waiting> {
        self.shared.waiting.subscribe()
    }

    /// The end of the row for a service, with endpoints that did not take it or without any; `None` where nobody would come, or the
    /// row is full.
    pub fn row(&self, service: &Service, has_endpoints: bool) -> Option<Row> {
        let name = (service.namespace.clone(), service.name.clone());
        let (fabric, now) = (self.clone(), Instant::now());
        if service.is_woken {
            let place = Some(Place::take(self, &name)?);
            return Some(Row { fabric, name, until: now + self.shared.config.wait_max, place, is_counted: true });
        }
        has_endpoints.then(|| Row { fabric, name, until: now + BEHIND_MAX, place: None, is_counted: false })
    }

    /// Has somebody come to a service for which nobody waits yet, though what was meant for him is lost.
    pub(crate) fn call_for(&self, service: &Service, has_endpoint: impl Fn(&Service) -> bool + Send + 'static) {
        let name = (service.namespace.clone(), service.name.clone());
        if self.shared.waiting.borrow().contains_key(&name) {
            return;
        }
        if let Some(mut row) = self.row(service, false) {
            self.start(async move { drop(row.next(has_endpoint).await) });
        }
    }
}

// === impl Row ===

impl Row {
    /// The service once it has an endpoint that may be tried; until it is called again its caller does not wait. `None`: there
    /// will be none in time.
    pub async fn next(&mut self, has_endpoint: impl Fn(&Service) -> bool + Send + 'static) -> Option<Arc<Service>> {
        let place = match self.place.take() {
            Some(place) => Some(place),
            None if self.is_counted => Some(Place::take(&self.fabric, &self.name)?),
            None => None,
        };
        let pause = if self.is_counted { PAUSE } else { BEHIND_PAUSE };
        let (mut services, name, until) = (self.fabric.shared.services.clone(), self.name.clone(), self.until);
        let waiting = async move {
            // Whoever waits has tried the endpoints that there are.
            let mut is_tried = true;
            loop {
                let service = services.load().service(&name.0, &name.1).cloned()?;
                match has_endpoint(&service) {
                    true if !is_tried => return Some(service),
                    true => sleep(pause).await,
                    false if !service.is_woken || !services.changed().await => return None,
                    false => {}
                }
                is_tried = false;
            }
        };
        let found = self.fabric.home(async move { timeout_at(until, waiting).await.ok().flatten() }).await;
        drop(place);
        found.flatten()
    }
}

// === impl Place ===

impl Place {
    fn take(fabric: &Fabric, name: &(Arc<str>, Arc<str>)) -> Option<Self> {
        let mut is_taken = false;
        fabric.shared.waiting.send_if_modified(|waiting| {
            let count = waiting.entry(name.clone()).or_default();
            is_taken = *count < fabric.shared.config.waiting_max;
            if is_taken {
                *count += 1;
            }
            is_taken
        });
        is_taken.then(|| Self { fabric: fabric.clone(), name: name.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.fabric.shared.waiting.send_modify(|waiting| {
            if let Some(count) = waiting.get_mut(&self.name) {
                *count -= 1;
                if *count == 0 {
                    waiting.remove(&self.name);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use http::StatusCode;
    use state::Snapshot;

    use super::*;
    use crate::world::world;
    use crate::{Config, Fault, Origin, PortRef, Request, empty, handler, services, text};

    const LONG: Duration = Duration::from_secs(60);
    const NOBODY: &str = "service shop/web 10.43.0.5 http:80\nslice shop/web +woken http:80 |";
    const SOMEBODY: &str = "service shop/web 10.43.0.5 http:80\nslice shop/web +woken http:80 | 10.42.0.2";
    const GIVEN_UP: &str = "service shop/web 10.43.0.5 http:80\nslice shop/web http:80 |";

    fn fabric(view: &watch::Sender<Snapshot>, waiting_max: usize, wait_max: Duration) -> Fabric {
        let config = Config { waiting_max, wait_max, ..Config::default() };
        Fabric::over(services(view.subscribe()), config)
    }

    async fn ask(fabric: Fabric) -> Result<StatusCode, Fault> {
        let service = fabric.shared.services.get().service("shop", "web").cloned().expect("the service");
        let port = service.port(PortRef::Number(80))?;
        let dial = |address| fabric.dial(&Origin::Ingress, address);
        service.send(port, dial, Request::new(empty()), &fabric).await.map(|answer| answer.status())
    }

    async fn until_waiting(fabric: &Fabric, count: usize) {
        let mut waiting = fabric.waiting();
        waiting.wait_for(|waiting| waiting.values().sum::<usize>() == count).await.expect("the fabric is there");
    }

    #[tokio::test]
    async fn whoever_waits_is_answered_by_the_first_that_comes() {
        let view = watch::channel(world(NOBODY)).0;
        let fabric = fabric(&view, 2, LONG);
        let first = tokio::spawn(ask(fabric.clone()));
        until_waiting(&fabric, 1).await;
        let to = SocketAddr::from(([10, 43, 0, 5], 80));
        let second = tokio::spawn(fabric.connect(&Origin::Ingress, to));
        until_waiting(&fabric, 2).await;
        let refused = ask(fabric.clone()).await.expect_err("the row is full");
        assert_eq!(refused.to_string(), "shop/web:80 has no endpoint that is ready");
        // It is in the table before it answers: what it does not take is not lost.
        view.send_replace(world(SOMEBODY));
        sleep(3 * PAUSE).await;
        let _bound = fabric
            .bind(SocketAddr::from(([10, 42, 0, 2], 80)), handler(|_| async { Ok(text(StatusCode::OK, "hello")) }));
        assert_eq!(first.await.expect("no panic").expect("an answer"), StatusCode::OK);
        second.await.expect("no panic").expect("a connection");
        assert!(fabric.waiting().borrow().is_empty());
    }

    #[tokio::test]
    async fn nobody_waits_for_ever_or_for_nothing() {
        let view = watch::channel(world(NOBODY)).0;
        let patient = fabric(&view, 9, Duration::from_millis(50));
        assert!(matches!(ask(patient.clone()).await, Err(Fault::NoEndpoint { .. })), "out of time");
        let fabric = fabric(&view, 9, LONG);
        let given_up = tokio::spawn(ask(fabric.clone()));
        until_waiting(&fabric, 1).await;
        view.send_replace(world(GIVEN_UP));
        assert!(matches!(given_up.await.expect("no panic"), Err(Fault::NoEndpoint { .. })));
        assert!(matches!(ask(fabric.clone()).await, Err(Fault::NoEndpoint { .. })), "as any service without endpoints");
        assert!(fabric.waiting().borrow().is_empty());
    }

    #[tokio::test]
    async fn whoever_is_refused_by_all_is_answered_by_those_that_the_table_tells_of_next() {
        let gone = "service shop/web 10.43.0.5 http:80\nslice shop/web http:80 | 10.42.0.3 10.42.0.4";
        let come = "service shop/web 10.43.0.5 http:80\nslice shop/web http:80 | 10.42.0.2";
        let view = watch::channel(world(gone)).0;
        let fabric = fabric(&view, 9, LONG);
        let bound = fabric
            .bind(SocketAddr::from(([10, 42, 0, 2], 80)), handler(|_| async { Ok(text(StatusCode::OK, "hello")) }));
        let to = SocketAddr::from(([10, 43, 0, 5], 80));
        let (request, connection) =
            (tokio::spawn(ask(fabric.clone())), tokio::spawn(fabric.connect(&Origin::Ingress, to)));
        sleep(2 * BEHIND_PAUSE).await;
        assert!(fabric.waiting().borrow().is_empty() && !request.is_finished() && !connection.is_finished());
        view.send_replace(world(come));
        assert_eq!(request.await.expect("no panic").expect("an answer"), StatusCode::OK);
        connection.await.expect("no panic").expect("a connection");
        // Who is not there for long is told of.
        drop(bound);
        assert!(matches!(ask(fabric.clone()).await, Err(Fault::Unreachable(_))));
    }

    #[tokio::test]
    async fn whoever_leaves_is_not_waited_for() {
        let view = watch::channel(world(NOBODY)).0;
        let fabric = fabric(&view, 9, LONG);
        let asking = tokio::spawn(ask(fabric.clone()));
        until_waiting(&fabric, 1).await;
        asking.abort();
        until_waiting(&fabric, 0).await;
        let asking = fabric.datagrams(&Origin::Ingress).expect("a socket");
        let udp = SocketAddr::from(([10, 43, 0, 5], 53));
        assert!(asking.send("who".into(), udp).is_err(), "there is no such port");
        assert!(fabric.waiting().borrow().is_empty());
    }
}
