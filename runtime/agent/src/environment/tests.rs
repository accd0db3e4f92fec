//! Environments as pods see them.

use std::net::Ipv4Addr;

use super::*;
use crate::fixture::{object, pod, world};

fn view() -> Snapshot {
    world([
        object(
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"cfg","namespace":"shop"},"data":{"COLOUR":"red","mode":"fast"}}"#,
        ),
        object(
            r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"key","namespace":"shop"},"data":{"TOKEN":"czNjcmV0"}}"#,
        ),
        object(
            r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"web-api","namespace":"shop"},
               "spec":{"clusterIP":"10.43.0.9","ports":[{"name":"http","port":80,"protocol":"TCP"}]}}"#,
        ),
    ])
}

fn run(container: &str, links: bool) -> Result<Program, Blocked> {
    let spec = format!(r#"{{"nodeName":"n1","enableServiceLinks":{links},"containers":[{container}]}}"#);
    let view = view();
    let around = Surroundings {
        view: &view,
        address: Ipv4Addr::new(10, 42, 0, 5).into(),
        host: Ipv4Addr::new(192, 168, 1, 2).into(),
        node_cpu_millis: 2_000,
        node_memory_bytes: 1 << 30,
    };
    program(&pod(&spec), 0, &around)
}

/// The argv and the environment without `HOSTNAME`.
fn check(container: &str, args: &str, env: &str) {
    let program = run(container, false).unwrap_or_else(|blocked| panic!("{blocked:?}"));
    assert_eq!(program.args.join(" "), args);
    let words: Vec<String> = program.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(words[0], "HOSTNAME=web");
    assert_eq!(words[1..].join(" "), env);
}

#[test]
fn configuration_is_what_the_container_itself_says() {
    let container = r#"{"name":"c","image":"c","envFrom":[{"configMapRef":{"name":"cfg"}}],"env":[{"name":"mode","value":"slow"}]}"#;
    let program = run(container, true).expect("it can run");
    assert!(program.env.iter().any(|(name, _)| name == "WEB_API_SERVICE_HOST"));
    let words: Vec<String> = program.settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(words.join(" "), "COLOUR=red mode=slow");
}

#[test]
fn argv_is_command_and_args_or_the_component_s_name() {
    check(r#"{"name":"c","image":"team/hello:v1"}"#, "hello", "");
    check(r#"{"name":"c","image":"hello@sha256:00","args":["-v"]}"#, "hello -v", "");
    check(
        r#"{"name":"c","image":"hello:v1","command":["run"],"args":["$(A)"],"env":[{"name":"A","value":"1"}]}"#,
        "run 1",
        "A=1",
    );
}

#[test]
fn variables_come_from_everywhere_and_the_last_word_counts() {
    check(
        r#"{"name":"c","image":"c","envFrom":[{"configMapRef":{"name":"cfg"}},{"prefix":"S_","secretRef":{"name":"key"}}],
            "env":[{"name":"mode","value":"$(COLOUR)/slow"},{"name":"NONE"},
                   {"name":"T","valueFrom":{"secretKeyRef":{"name":"key","key":"TOKEN"}}}]}"#,
        "c",
        "COLOUR=red mode=red/slow S_TOKEN=s3cret NONE= T=s3cret",
    );
}

#[test]
fn fields_and_resources_of_the_pod_are_known() {
    let field = |path: &str, value: &str| {
        let source = format!(r#"{{"fieldRef":{{"fieldPath":"{path}"}}}}"#);
        check(
            &format!(r#"{{"name":"c","image":"c","env":[{{"name":"F","valueFrom":{source}}}]}}"#),
            "c",
            &format!("F={value}"),
        );
    };
    field("metadata.name", "web");
    field("metadata.namespace", "shop");
    field("metadata.labels['app']", "web");
    field("metadata.annotations['note']", "x");
    field("spec.nodeName", "n1");
    field("spec.serviceAccountName", "default");
    field("status.podIP", "10.42.0.5");
    field("status.hostIP", "192.168.1.2");
    let resource = |resource: &str, divisor: &str, value: &str| {
        let source = format!(r#"{{"resourceFieldRef":{{"resource":"{resource}","divisor":"{divisor}"}}}}"#);
        let limits = r#""resources":{"limits":{"memory":"64Mi"},"requests":{"cpu":"250m"}}"#;
        let container = format!(r#"{{"name":"c","image":"c",{limits},"env":[{{"name":"F","valueFrom":{source}}}]}}"#);
        check(&container, "c", &format!("F={value}"));
    };
    resource("limits.memory", "1Mi", "64");
    resource("requests.cpu", "1m", "250");
    resource("limits.cpu", "1", "2");
    resource("requests.memory", "1", "67108864");
}

#[test]
fn services_of_the_namespace_are_told() {
    let program = run(r#"{"name":"c","image":"c"}"#, true).expect("a program");
    let env: BTreeMap<String, String> = program.env.into_iter().collect();
    assert_eq!(env["WEB_API_SERVICE_HOST"], "10.43.0.9");
    assert_eq!(env["WEB_API_SERVICE_PORT_HTTP"], "80");
    assert_eq!(env["WEB_API_PORT_80_TCP"], "tcp://10.43.0.9:80");
}

#[test]
fn what_is_missing_is_named() {
    let refused = |container: &str| run(container, false).expect_err("blocked").message;
    let from = |source: &str| format!(r#"{{"name":"c","image":"c","env":[{{"name":"F","valueFrom":{source}}}]}}"#);
    assert_eq!(refused(&from(r#"{"configMapKeyRef":{"name":"no","key":"k"}}"#)), "configmap \"no\" not found");
    assert_eq!(
        refused(&from(r#"{"configMapKeyRef":{"name":"cfg","key":"k"}}"#)),
        "couldn't find key k in ConfigMap shop/cfg"
    );
    check(&from(r#"{"secretKeyRef":{"name":"no","key":"k","optional":true}}"#), "c", "");
}
