//! What probes and hooks must be like.

use k8s_openapi::api::core::v1::{ExecAction, HTTPGetAction, LifecycleHandler, Probe, TCPSocketAction};

use crate::rules::{self, Causes};

/// A probe; those that restart a container may not ask for more than one success.
pub(super) fn validate(path: &str, probe: &Probe, restarts: bool, causes: &mut Causes) {
    let told = [
        ("exec", probe.exec.is_some()),
        ("httpGet", probe.http_get.is_some()),
        ("tcpSocket", probe.tcp_socket.is_some()),
        ("grpc", probe.grpc.is_some()),
    ];
    one_handler(path, &told, causes);
    exec(path, probe.exec.as_ref(), causes);
    http_get(path, probe.http_get.as_ref(), causes);
    tcp_socket(path, probe.tcp_socket.as_ref(), causes);
    if let Some(grpc) = &probe.grpc {
        rules::port_number(&format!("{path}.grpc.port"), grpc.port, causes);
    }
    let numbers = [
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ];
    for (field, number) in numbers {
        causes.not_negative(format!("{path}.{field}"), number.unwrap_or(0));
    }
    if restarts && probe.success_threshold.is_some_and(|threshold| threshold > 1) {
        causes.invalid(format!("{path}.successThreshold"), probe.success_threshold, "must be 1");
    }
    if let Some(seconds) = probe.termination_grace_period_seconds {
        if !restarts {
            causes.invalid(
                format!("{path}.terminationGracePeriodSeconds"),
                seconds,
                "must not be set for readinessProbes",
            );
        } else if seconds <= 0 {
            causes.invalid(format!("{path}.terminationGracePeriodSeconds"), seconds, "must be greater than 0");
        }
    }
}

/// What is done after a container starts, or before it stops.
pub(super) fn validate_handler(path: &str, handler: &LifecycleHandler, grace_seconds: i64, causes: &mut Causes) {
    let told = [
        ("exec", handler.exec.is_some()),
        ("httpGet", handler.http_get.is_some()),
        ("tcpSocket", handler.tcp_socket.is_some()),
        ("sleep", handler.sleep.is_some()),
    ];
    one_handler(path, &told, causes);
    exec(path, handler.exec.as_ref(), causes);
    http_get(path, handler.http_get.as_ref(), causes);
    tcp_socket(path, handler.tcp_socket.as_ref(), causes);
    if let Some(sleep) = handler.sleep.as_ref().filter(|sleep| !(0..=grace_seconds).contains(&sleep.seconds)) {
        let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace_seconds})");
        causes.invalid(format!("{path}.sleep"), sleep.seconds, &detail);
    }
}

fn one_handler(path: &str, told: &[(&str, bool)], causes: &mut Causes) {
    let mut there = told.iter().filter(|(_, there)| *there);
    if there.next().is_none() {
        causes.required(path, "must specify a handler type");
    }
    for (name, _) in there {
        causes.forbidden(format!("{path}.{name}"), "may not specify more than 1 handler type");
    }
}

fn exec(path: &str, exec: Option<&ExecAction>, causes: &mut Causes) {
    if exec.is_some_and(|exec| exec.command.as_ref().is_none_or(Vec::is_empty)) {
        causes.required(format!("{path}.exec.command"), "");
    }
}

fn http_get(path: &str, get: Option<&HTTPGetAction>, causes: &mut Causes) {
    let Some(get) = get else { return };
    let path = format!("{path}.httpGet");
    if get.path.as_deref().is_none_or(str::is_empty) {
        causes.required(format!("{path}.path"), "");
    }
    rules::port(&format!("{path}.port"), &get.port, causes);
    for header in get.http_headers.iter().flatten().filter(|header| !is_header(&header.name)) {
        let detail = "a valid HTTP header must consist of alphanumeric characters or '-' \
                      (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";
        causes.invalid(format!("{path}.httpHeaders"), &header.name, detail);
    }
    causes.one_of(format!("{path}.scheme"), get.scheme.as_deref().unwrap_or_default(), &["HTTP", "HTTPS"]);
}

fn is_header(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn tcp_socket(path: &str, socket: Option<&TCPSocketAction>, causes: &mut Causes) {
    if let Some(socket) = socket {
        rules::port(&format!("{path}.tcpSocket.port"), &socket.port, causes);
    }
}
