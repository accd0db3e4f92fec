//! Requests that become connections: exec, attach, port-forward and proxy. What they reach is on some node, so all of them go
//! over its link.
//!
//! Whoever may do this to a pod may talk to all that listens in it.

mod backend;
mod command;
mod forward;
mod proxy;
mod switch;
mod wire;

pub use forward::PORT_PROTOCOL;

use std::sync::Arc;

use api::{Object, StatusError, Subresource};
use axum::extract::Request;
use hyper::upgrade::OnUpgrade;
use state::Snapshot;
use tokio::io::DuplexStream;

use crate::answer::Answer;
use crate::metrics::Asked;
use crate::target::{self, Place, Target};
use crate::{Door, rest};

/// What a request connects to, if it is one of these.
pub(crate) fn part(target: &Target) -> Option<Subresource> {
    match target.place {
        Place::Part(
            _,
            part @ (Subresource::PortForward | Subresource::Proxy | Subresource::Exec | Subresource::Attach),
        ) => Some(part),
        _ => None,
    }
}

/// Connects.
pub(crate) async fn answer(door: Arc<Door>, target: Target, mut request: Request) -> Result<Answer, StatusError> {
    let upgrade = request.extensions_mut().remove::<OnUpgrade>();
    let mut answer = match part(&target) {
        Some(Subresource::PortForward) => {
            let (parts, _) = request.into_parts();
            forward::answer(&door, &target, &parts.headers, parts.uri.query(), upgrade).await?
        }
        Some(part @ (Subresource::Exec | Subresource::Attach)) => {
            let (parts, _) = request.into_parts();
            command::answer(&door, &target, part, &parts.headers, parts.uri.query(), upgrade).await?
        }
        Some(Subresource::Proxy) => proxy::answer(door, &target, request, upgrade).await?,
        _ => return Err(target::nothing_here()),
    };
    answer.extensions_mut().insert(Asked::connect(&target));
    Ok(answer)
}

/// A connection to a port of a service: to a pod behind it that is ready.
pub(crate) async fn dial_service(
    door: &Arc<Door>,
    service: &Object,
    port: u16,
    world: &Snapshot,
) -> Result<DuplexStream, String> {
    let port = port.to_string();
    let named = backend::Named { port: &port, ..backend::Named::plain(service.key().name()) };
    let backend = backend::Backend::of_service(service, named, world, door.chance()).map_err(|error| error.message)?;
    proxy::dial(door, backend).await
}

/// The object a request is about.
async fn object(door: &Door, target: &Target, name: &str) -> Result<Object, StatusError> {
    let world = door.store.read().await.map_err(rest::unreadable)?;
    let found = world.get(&target.kind.group_kind().key(&target.namespace, name)).cloned();
    found.ok_or_else(|| StatusError::not_found(target.names(), name))
}
