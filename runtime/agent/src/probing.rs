//! Asking a container how it is, and telling it by its hooks what happens to it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use host::Workload;
use http::{HeaderName, HeaderValue, Method, Request, header};
use k8s_openapi::api::core::v1::{Container, HTTPGetAction, LifecycleHandler, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use network::{Fabric, Fault, full};

use crate::body::whole;
use crate::pod::Outcome;

/// What is read of an answer.
const BODY_BYTES_MAX: usize = 10 << 10;

/// The component's command with these arguments, beside the run that is asked.
pub(crate) type Aside = Box<dyn FnOnce(Vec<String>) -> BoxFuture<'static, Outcome> + Send>;

/// Asks and says what came of it, within the probe's time.
pub(crate) async fn ask(
    probe: &Probe,
    container: &Container,
    address: IpAddr,
    fabric: &Fabric,
    command: Aside,
) -> Outcome {
    let seconds = u64::try_from(probe.timeout_seconds.unwrap_or(1)).unwrap_or(1).max(1);
    let asking = async {
        if let Some(get) = &probe.http_get {
            match http(get, container, address, fabric).await {
                Err(message) => Outcome::Failed(message),
                Ok(status) if (200..400).contains(&status) => Outcome::Passed,
                Ok(status) => Outcome::Failed(format!("HTTP probe failed with statuscode: {status}")),
            }
        } else if let Some(socket) = &probe.tcp_socket {
            match port(&socket.port, container) {
                Some(port) => tcp(SocketAddr::new(address, port), fabric).await,
                None => Outcome::Failed(format!("the container has no port {}", word(&socket.port))),
            }
        } else if let Some(grpc) = &probe.grpc {
            let port = u16::try_from(grpc.port).unwrap_or(0);
            grpc_health(SocketAddr::new(address, port), grpc.service.as_deref().unwrap_or_default(), fabric).await
        } else if let Some(exec) = &probe.exec {
            command(exec.command.clone().unwrap_or_default()).await
        } else {
            Outcome::Failed("the probe asks nothing".to_owned())
        }
    };
    match tokio::time::timeout(Duration::from_secs(seconds), asking).await {
        Ok(outcome) => outcome,
        Err(_) => Outcome::Failed(format!("context deadline exceeded after {seconds}s")),
    }
}

/// Carries out a hook, within the time given if one is.
pub(crate) async fn hook(
    handler: &LifecycleHandler,
    container: &Container,
    address: IpAddr,
    fabric: &Fabric,
    within: Option<Duration>,
    command: Aside,
) -> Outcome {
    let acting = async {
        if let Some(get) = &handler.http_get {
            // As with a kubelet, an answer is enough, whatever its status.
            http(get, container, address, fabric).await.map_or_else(Outcome::Failed, |_| Outcome::Passed)
        } else if let Some(exec) = &handler.exec {
            command(exec.command.clone().unwrap_or_default()).await
        } else if let Some(sleep) = &handler.sleep {
            tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
            Outcome::Passed
        } else if handler.tcp_socket.is_some() {
            // Kubernetes takes it in manifests for the sake of old ones, and fails it when it is due.
            Outcome::Failed("a hook cannot be a tcpSocket".to_owned())
        } else {
            Outcome::Failed("the hook does nothing".to_owned())
        }
    };
    let Some(within) = within else { return acting.await };
    match tokio::time::timeout(within, acting).await {
        Ok(outcome) => outcome,
        Err(_) => Outcome::Failed(format!("not over within the grace period of {}s", within.as_secs())),
    }
}

/// Runs the component's command; its exit code is the answer.
pub(crate) async fn exec(workload: Workload, spec: host::Spec, outside: std::sync::Arc<dyn host::Outside>) -> Outcome {
    match workload.run(spec, host::Stdin::Empty, outside) {
        Err(error) => Outcome::Failed(error.to_string()),
        Ok(run) => match run.wait().await {
            host::Exit::Exited { code: 0 } => Outcome::Passed,
            host::Exit::Exited { code } => Outcome::Failed(format!("command terminated with exit code {code}")),
            host::Exit::Trapped { message } | host::Exit::NotStarted { message } => Outcome::Failed(message),
            host::Exit::OutOfMemory => Outcome::Failed("the command ran out of memory".to_owned()),
            host::Exit::Cancelled => Outcome::Failed("the command was stopped".to_owned()),
        },
    }
}

/// The status that the container answers with, or why it does not.
async fn http(get: &HTTPGetAction, container: &Container, address: IpAddr, fabric: &Fabric) -> Result<u16, String> {
    let port = port(&get.port, container).ok_or_else(|| format!("the container has no port {}", word(&get.port)))?;
    let target = SocketAddr::new(address, port);
    let path = get.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/");
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let url = format!("http://{target}{path}");
    let request = Request::builder().method(Method::GET).uri(&url).header(header::HOST, target.to_string());
    let Ok(mut request) = request.header(header::USER_AGENT, "kube-probe/1.33").body(network::empty()) else {
        return Err(format!("{url} is not a URL"));
    };
    for wanted in get.http_headers.iter().flatten() {
        match (wanted.name.parse::<HeaderName>(), HeaderValue::from_str(&wanted.value)) {
            (Ok(name), Ok(value)) => request.headers_mut().insert(name, value),
            _ => return Err(format!("{} is not a header", wanted.name)),
        };
    }
    match fabric.send(&fabric.node(), target, request).await {
        Err(fault) => Err(format!("Get \"{url}\": {}", refused(target, &fault))),
        Ok(response) => {
            let status = response.status().as_u16();
            // Heard out, as the kubelet does: to a guest, an answer that nobody reads is a connection that broke.
            let _ = whole(response.into_body(), BODY_BYTES_MAX).await;
            Ok(status)
        }
    }
}

async fn tcp(target: SocketAddr, fabric: &Fabric) -> Outcome {
    match fabric.connect(&fabric.node(), target).await {
        Ok(_) => Outcome::Passed,
        Err(error) => Outcome::Failed(refused(target, &error.into())),
    }
}

fn refused(target: SocketAddr, fault: &Fault) -> String {
    match fault {
        Fault::Unreachable(_) => format!("dial tcp {target}: connect: connection refused"),
        fault => fault.to_string(),
    }
}

/// `grpc.health.v1.Health/Check`, whose messages are small enough to write by hand.
async fn grpc_health(target: SocketAddr, service: &str, fabric: &Fabric) -> Outcome {
    let Ok(length) = u8::try_from(service.len()) else {
        return Outcome::Failed("the service's name is too long".to_owned());
    };
    let message = if length == 0 { Vec::new() } else { [&[0x0a, length], service.as_bytes()].concat() };
    let mut frame = vec![0];
    frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
    frame.extend_from_slice(&message);
    let request = Request::post(format!("http://{target}/grpc.health.v1.Health/Check"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(full(Bytes::from(frame)));
    let Ok(request) = request else { return Outcome::Failed("the request could not be made".to_owned()) };
    let response = match fabric.send(&fabric.node(), target, request).await {
        Ok(response) => response,
        Err(fault) => return Outcome::Failed(refused(target, &fault)),
    };
    match whole(response.into_body(), BODY_BYTES_MAX).await {
        // A frame's five bytes, then `status: SERVING`.
        Ok(answer) if answer.get(5..7) == Some(&[0x08, 1]) => Outcome::Passed,
        Ok(_) => Outcome::Failed("service unhealthy (responded with \"NOT_SERVING\")".to_owned()),
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

/// A port by number, or by its name in the container.
fn port(port: &IntOrString, container: &Container) -> Option<u16> {
    match port {
        IntOrString::Int(number) => u16::try_from(*number).ok(),
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|port| port.name.as_deref() == Some(name));
            named.and_then(|port| u16::try_from(port.container_port).ok()).or_else(|| name.parse().ok())
        }
    }
}

fn word(port: &IntOrString) -> String {
    match port {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(name) => name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(probe: &str, status: u16, expected: Result<(), &str>) {
        let probe: Probe = serde_json::from_str(probe).expect("a probe");
        let container: Container =
            serde_json::from_str(r#"{"name":"c","ports":[{"name":"web","containerPort":8080}]}"#).expect("a container");
        let fabric = Fabric::new();
        let address = IpAddr::from([10, 42, 0, 5]);
        let answer =
            move |_| async move { Ok(network::text(http::StatusCode::from_u16(status).expect("a status"), "hello")) };
        let _bound = fabric.bind(SocketAddr::new(address, 8080), network::handler(answer));
        let no_command: Aside = Box::new(|_| Box::pin(async { Outcome::Failed("no command".to_owned()) }));
        let found = match ask(&probe, &container, address, &fabric, no_command).await {
            Outcome::Passed => Ok(()),
            Outcome::Failed(message) => Err(message),
        };
        assert_eq!(found, expected.map_err(str::to_owned));
    }

    #[tokio::test]
    async fn probes_ask_over_the_fabric() {
        check(r#"{"httpGet":{"port":"web","path":"/healthz"}}"#, 200, Ok(())).await;
        check(r#"{"httpGet":{"port":8080}}"#, 500, Err("HTTP probe failed with statuscode: 500")).await;
        check(
            r#"{"httpGet":{"port":81,"path":"/x"}}"#,
            200,
            Err("Get \"http://10.42.0.5:81/x\": dial tcp 10.42.0.5:81: connect: connection refused"),
        )
        .await;
        check(r#"{"tcpSocket":{"port":"web"}}"#, 200, Ok(())).await;
        check(r#"{"tcpSocket":{"port":81}}"#, 200, Err("dial tcp 10.42.0.5:81: connect: connection refused")).await;
        check(r#"{"tcpSocket":{"port":"none"}}"#, 200, Err("the container has no port none")).await;
        check(r#"{"exec":{"command":["x"]}}"#, 200, Err("no command")).await;
        check(r#"{"grpc":{"port":8080}}"#, 200, Err("service unhealthy (responded with \"NOT_SERVING\")")).await;
    }

    async fn check_hook(handler: &str, expected: Result<(), &str>) {
        let handler: LifecycleHandler = serde_json::from_str(handler).expect("a hook");
        let fabric = Fabric::new();
        let address = IpAddr::from([10, 42, 0, 5]);
        let answer = |_| async { Ok(network::text(http::StatusCode::INTERNAL_SERVER_ERROR, "no")) };
        let _bound = fabric.bind(SocketAddr::new(address, 8080), network::handler(answer));
        let command: Aside = Box::new(|args| Box::pin(async move { Outcome::Failed(args.join(" ")) }));
        let within = Some(Duration::from_secs(1));
        let found = match hook(&handler, &Container::default(), address, &fabric, within, command).await {
            Outcome::Passed => Ok(()),
            Outcome::Failed(message) => Err(message),
        };
        assert_eq!(found, expected.map_err(str::to_owned));
    }

    #[tokio::test]
    async fn hooks_act_over_the_fabric() {
        check_hook(r#"{"httpGet":{"port":8080,"path":"/bye"}}"#, Ok(())).await;
        check_hook(
            r#"{"httpGet":{"port":81}}"#,
            Err("Get \"http://10.42.0.5:81/\": dial tcp 10.42.0.5:81: connect: connection refused"),
        )
        .await;
        check_hook(r#"{"exec":{"command":["say","bye"]}}"#, Err("say bye")).await;
        check_hook(r#"{"sleep":{"seconds":0}}"#, Ok(())).await;
        check_hook(r#"{"sleep":{"seconds":600}}"#, Err("not over within the grace period of 1s")).await;
        check_hook(r#"{"tcpSocket":{"port":8080}}"#, Err("a hook cannot be a tcpSocket")).await;
    }
}
