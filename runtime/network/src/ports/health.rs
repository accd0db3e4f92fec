//! What a balancer outside is told that asks whether this node has endpoints of a service: the words of kube-proxy.

use std::convert::Infallible;
use std::time::Duration;

use http::{HeaderValue, StatusCode, header};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use super::{Front, behind};
use crate::{Response, ServiceTable, Services, full};

/// How long a question may take to come, and the next one of its connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers what is asked over a connection, until that ends.
pub(super) async fn serve(services: Services, front: Front, real: TcpStream) {
    let answering = service_fn(|_| {
        let answer = answer(&services.load(), &front);
        async { Ok::<_, Infallible>(answer) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    if let Err(error) = server.serve_connection(TokioIo::new(real), answering).await {
        tracing::debug!(service = %front, error = &error as &dyn std::error::Error, "a health check broke off");
    }
}

fn answer(table: &ServiceTable, front: &Front) -> Response {
    let local = behind(table, front).map_or(0, |service| service.local);
    let (namespace, name) = (&front.namespace, &front.service);
    let told = format!(
        "{{\n\t\"service\": {{\n\t\t\"namespace\": \"{namespace}\",\n\t\t\"name\": \"{name}\"\n\t}},\n\t\"localEndpoints\": {local},\n\t\"serviceProxyHealthy\": true\n}}"
    );
    let mut answer = Response::new(full(told));
    *answer.status_mut() = if local > 0 { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert("x-load-balancing-endpoint-weight", HeaderValue::from(local));
    answer
}
