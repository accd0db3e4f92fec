//! Asking a container how it is, and telling it by its hooks what happens to it.

mod output;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use host::Workload;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use k8s_openapi::api::core::v1::{Container, HTTPGetAction, LifecycleHandler, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use network::{Fabric, Fault, Origin, Reach, Security, full};

use crate::body::whole;
use crate::pod::Outcome;
use output::Output;

/// What is read of an answer.
const BODY_BYTES_MAX: usize = 10 << 10;

/// The component's command with these arguments, beside the run that is asked.
pub(crate) type Aside = Box<dyn FnOnce(Vec<String>) -> BoxFuture<'static, Outcome> + Send>;

/// A container that is asked, and the network it is on.
pub(crate) struct Asked {
    pub(crate) container: Container,
    /// The pod, for whom others are asked that a probe names.
    pub(crate) pod: Origin,
    pub(crate) address: IpAddr,
    pub(crate) reach: Reach,
    pub(crate) fabric: Fabric,
}

/// The node asks for itself, as an extension of the request: such requests are nobody's load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probing;

/// Who is asked, and on whose behalf.
struct Target {
    address: SocketAddr,
    origin: Origin,
}

/// Asks and says what came of it, within the probe's time.
pub(crate) async fn ask(probe: &Probe, asked: &Asked, command: Aside) -> Outcome {
    let seconds = u64::try_from(probe.timeout_seconds.unwrap_or(1)).unwrap_or(1).max(1);
    let asking = async {
        if let Some(get) = &probe.http_get {
            match asked.http(get).await {
                Err(message) => Outcome::Failed(message),
                Ok(status) if (200..400).contains(&status) => Outcome::Passed,
                Ok(status) => Outcome::Failed(format!("HTTP probe failed with statuscode: {status}")),
            }
        } else if let Some(socket) = &probe.tcp_socket {
            asked.tcp(socket.host.as_deref(), &socket.port).await.map_or_else(Outcome::Failed, |()| Outcome::Passed)
        } else if let Some(grpc) = &probe.grpc {
            let port = u16::try_from(grpc.port).unwrap_or(0);
            asked.grpc_health(port, grpc.service.as_deref().unwrap_or_default()).await
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
    asked: &Asked,
    within: Option<Duration>,
    command: Aside,
) -> Outcome {
    let acting = async {
        if let Some(get) = &handler.http_get {
            // As with a kubelet, an answer is enough, whatever its status.
            asked.http(get).await.map_or_else(Outcome::Failed, |_| Outcome::Passed)
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

/// Runs the component's command; its exit code is the answer. What it printed says why it failed.
pub(crate) async fn exec(workload: Workload, spec: host::Spec, outside: Arc<dyn host::Outside>) -> Outcome {
    let output = Arc::new(Output::default());
    let spec = host::Spec { stdout: output.clone(), stderr: output.clone(), ..spec };
    match workload.run(spec, host::Stdin::Empty, outside) {
        Err(error) => Outcome::Failed(error.to_string()),
        Ok(run) => match run.wait().await {
            host::Exit::Exited { code: 0 } => Outcome::Passed,
            host::Exit::Exited { code } => {
                let silent = || format!("command terminated with exit code {code}");
                Outcome::Failed(output.text().unwrap_or_else(silent))
            }
            host::Exit::Trapped { message } | host::Exit::NotStarted { message } => Outcome::Failed(message),
            host::Exit::OutOfMemory => Outcome::Failed("the command ran out of memory".to_owned()),
            host::Exit::Cancelled => Outcome::Failed("the command was stopped".to_owned()),
        },
    }
}

// === impl Asked ===

impl Asked {
    /// The status that is answered with, or why there is none.
    async fn http(&self, get: &HTTPGetAction) -> Result<u16, String> {
        let port = self.port(&get.port)?;
        let (scheme, security) = match get.scheme.as_deref() {
            Some("HTTPS") => ("https", Security::Tls),
            _ => ("http", Security::Plain),
        };
        let path = get.path.as_deref().unwrap_or_default();
        let path = format!("/{}", path.strip_prefix('/').unwrap_or(path));
        let authority = authority(&self.host(get.host.as_deref()), port);
        let url = format!("{scheme}://{authority}{path}");
        let failed = |why: String| format!("Get \"{url}\": {why}");
        let target = self.target(get.host.as_deref(), port).await.map_err(failed)?;
        let Ok(mut request) = Request::builder().method(Method::GET).uri(&url).body(network::empty()) else {
            return Err(format!("{url} is not a URL"));
        };
        *request.headers_mut() = headers(get, &authority)?;
        request.extensions_mut().insert(Probing);
        let Target { address, origin } = target;
        match self.fabric.ask(&origin, self.reach, security, address, request).await {
            Err(fault) => Err(failed(refused(address, &fault))),
            Ok(response) => {
                let status = response.status().as_u16();
                // Heard out, as the kubelet does: to a guest, an answer that nobody reads is a connection that broke.
                let _ = whole(response.into_body(), BODY_BYTES_MAX).await;
                Ok(status)
            }
        }
    }

    async fn tcp(&self, host: Option<&str>, port: &IntOrString) -> Result<(), String> {
        let Target { address, origin } = self.target(host, self.port(port)?).await?;
        let connected = self.fabric.connect_as(&origin, self.reach, address).await;
        connected.map(|_| ()).map_err(|error| refused(address, &error.into()))
    }

    /// `grpc.health.v1.Health/Check`, whose messages are small enough to write by hand.
    async fn grpc_health(&self, port: u16, service: &str) -> Outcome {
        let target = SocketAddr::new(self.address, port);
        let Ok(length) = u8::try_from(service.len()) else {
            return Outcome::Failed("the service's name is too long".to_owned());
        };
        let message = if length == 0 { Vec::new() } else { [&[0x0a, length], service.as_bytes()].concat() };
        let mut frame = vec![0];
        frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
        frame.extend_from_slice(&message);
        let request = Request::post(format!("http://{target}/grpc.health.v1.Health/Check"))
            .extension(Probing)
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .body(full(Bytes::from(frame)));
        let Ok(request) = request else { return Outcome::Failed("the request could not be made".to_owned()) };
        let response = match self.fabric.ask(&self.fabric.node(), self.reach, Security::Plain, target, request).await {
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

    /// The host that is asked: the one that is named, or the pod.
    fn host(&self, named: Option<&str>) -> String {
        named.filter(|host| !host.is_empty()).map_or_else(|| self.address.to_string(), str::to_owned)
    }

    /// Whom a probe asks. A node always reaches its pods; somebody else is asked only as far as the pod itself may ask. Names
    /// are the node's, as with a kubelet.
    async fn target(&self, named: Option<&str>, port: u16) -> Result<Target, String> {
        let host = self.host(named);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let ip = match bare.parse::<IpAddr>() {
            Ok(ip) => ip.to_canonical(),
            Err(_) => {
                let nobody = || format!("dial tcp: lookup {host}: no such host");
                let mut found = tokio::net::lookup_host((bare, port)).await.map_err(|_| nobody())?;
                found.next().ok_or_else(nobody)?.ip()
            }
        };
        let origin = if ip == self.address { self.fabric.node() } else { self.pod.clone() };
        Ok(Target { address: SocketAddr::new(ip, port), origin })
    }

    /// A port by number, or by its name in the container.
    fn port(&self, port: &IntOrString) -> Result<u16, String> {
        let (found, word) = match port {
            IntOrString::Int(number) => (u16::try_from(*number).ok(), number.to_string()),
            IntOrString::String(name) => {
                let mut declared = self.container.ports.iter().flatten();
                let named = declared.find(|port| port.name.as_deref() == Some(name));
                let number = named.and_then(|port| u16::try_from(port.container_port).ok());
                (number.or_else(|| name.parse().ok()), name.clone())
            }
        };
        found.ok_or_else(|| format!("the container has no port {word}"))
    }
}

/// A host and its port, as a URL writes them.
fn authority(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The headers that are wanted, and the usual ones where they are not.
fn headers(get: &HTTPGetAction, authority: &str) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for wanted in get.http_headers.iter().flatten() {
        match (wanted.name.parse::<HeaderName>(), HeaderValue::from_str(&wanted.value)) {
            (Ok(name), Ok(value)) => headers.append(name, value),
            _ => return Err(format!("{} is not a header", wanted.name)),
        };
    }
    let host = HeaderValue::from_str(authority).map_err(|_| format!("{authority} is not a host"))?;
    headers.entry(header::HOST).or_insert(host);
    headers.entry(header::USER_AGENT).or_insert(HeaderValue::from_static("kube-probe/1.33"));
    headers.entry(header::ACCEPT).or_insert(HeaderValue::from_static("*/*"));
    Ok(headers)
}

fn refused(target: SocketAddr, fault: &Fault) -> String {
    match fault {
        Fault::Unreachable(_) => format!("dial tcp {target}: connect: connection refused"),
        Fault::Connection(source) => source.to_string(),
        fault => fault.to_string(),
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
        let found = asked(&probe, container, address, &fabric).await;
        assert_eq!(found, expected.map_err(str::to_owned));
    }

    fn on(fabric: &Fabric, container: Container, address: IpAddr) -> Asked {
        let pod = Origin::pod("shop", "web", address);
        Asked { container, pod, address, reach: Reach::Pod, fabric: fabric.clone() }
    }

    async fn asked(probe: &Probe, container: Container, address: IpAddr, fabric: &Fabric) -> Result<(), String> {
        let no_command: Aside = Box::new(|_| Box::pin(async { Outcome::Failed("no command".to_owned()) }));
        match ask(probe, &on(fabric, container, address), no_command).await {
            Outcome::Passed => Ok(()),
            Outcome::Failed(message) => Err(message),
        }
    }

    #[tokio::test]
    async fn what_a_probe_says_is_asked_as_it_says() {
        let fabric = Fabric::new();
        let here = IpAddr::from([10, 42, 0, 5]);
        let told = |request: &network::Request| {
            let value = |name: &str| {
                let values = request.headers().get_all(name).iter();
                values.map(|value| value.to_str().unwrap_or_default()).collect::<Vec<_>>().join("+")
            };
            [value("host"), value("user-agent"), value("accept"), value("x-a"), request.uri().to_string()].join(" ")
        };
        let (say, mut said) = tokio::sync::mpsc::unbounded_channel();
        let bind = |address: [u8; 4]| {
            let say = say.clone();
            let answer = move |request: network::Request| {
                let _ = say.send(told(&request));
                async { Ok(network::text(http::StatusCode::OK, "hello")) }
            };
            fabric.bind(SocketAddr::new(address.into(), 8080), network::handler(answer))
        };
        let _bound = [bind([10, 42, 0, 5]), bind([10, 42, 0, 6])];
        let mut check = async |get: &str, expected: Result<&str, &str>| {
            let probe: Probe = serde_json::from_str(&format!(r#"{{"httpGet":{get}}}"#)).expect("a probe");
            match (asked(&probe, Container::default(), here, &fabric).await, expected) {
                (Ok(()), Ok(expected)) => assert_eq!(said.recv().await.as_deref(), Some(expected), "{get}"),
                (found, expected) => assert_eq!(found, expected.map(|_| ()).map_err(str::to_owned), "{get}"),
            }
        };
        let usual = "kube-probe/1.33 */*";
        let plain = format!("10.42.0.5:8080 {usual}  http://10.42.0.5:8080/a?b=c");
        check(r#"{"port":8080,"path":"a?b=c"}"#, Ok(&plain)).await;
        let https = format!("10.42.0.6:8080 {usual}  https://10.42.0.6:8080/");
        check(r#"{"port":8080,"host":"10.42.0.6","scheme":"HTTPS"}"#, Ok(&https)).await;
        let headers = r#"[{"name":"Host","value":"shop.example"},{"name":"user-agent","value":"me"},{"name":"X-A","value":"1"},{"name":"X-A","value":"2"}]"#;
        let named = "shop.example me */* 1+2 http://10.42.0.5:8080/";
        check(&format!(r#"{{"port":8080,"httpHeaders":{headers}}}"#), Ok(named)).await;
        let bad = r#"{"port":8080,"httpHeaders":[{"name":"a b","value":""}]}"#;
        check(bad, Err("a b is not a header")).await;
        let local = "Get \"http://127.0.0.1:8080/\": 127.0.0.1 is not to be reached from a pod";
        check(r#"{"port":8080,"host":"127.0.0.1"}"#, Err(local)).await;
        let nobody = "Get \"http://nobody.invalid:8080/\": dial tcp: lookup nobody.invalid: no such host";
        check(r#"{"port":8080,"host":"nobody.invalid"}"#, Err(nobody)).await;
        let empty = "Get \"https://10.42.0.7:8080/\": dial tcp 10.42.0.7:8080: connect: connection refused";
        check(r#"{"port":8080,"host":"10.42.0.7","scheme":"HTTPS"}"#, Err(empty)).await;
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
        check(r#"{"tcpSocket":{"port":80,"host":"127.0.0.1"}}"#, 200, Err("127.0.0.1 is not to be reached from a pod"))
            .await;
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
        let found = match hook(&handler, &on(&fabric, Container::default(), address), within, command).await {
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
