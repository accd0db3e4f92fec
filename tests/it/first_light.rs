//! A person with the binary and a manifest has an app answering over HTTP, stops it, and finds it again.

use harness::{Plan, eventually, get};

use crate::{PROGRAM, example, with};

#[test]
fn a_manifest_becomes_an_answer() {
    let mut cluster = with(&["hello"]);
    let answer = get(cluster.ingress(), "hello.localhost", "/").expect("an answer");
    assert_eq!(answer.status, 200);
    assert!(answer.body.starts_with("Hello, world!\nI am hello-"), "{}", answer.body);
    let url = format!("http://hello.localhost:{}/", cluster.ingress().port());
    // It goes to standard output, and all else to standard error: either may be heard first.
    eventually(10, || {
        let told = cluster.told();
        if told.contains(&url) { Ok(()) } else { Err(format!("the URL {url} is not told:\n{told}")) }
    });
    let told = cluster.stop().expect("stops cleanly");
    assert!(told.contains("stopping"), "{told}");
}

#[test]
fn every_example_answers() {
    let cluster = with(&["hello", "hello3", "counter", "probe", "ticker"]);
    for (host, path, expect) in [
        ("hello.localhost", "/", "I am hello-"),
        ("hello3.localhost", "/", "I am hello3-"),
        ("probe.localhost", "/", "probe-"),
        ("counter.localhost", "/", "counter"),
    ] {
        let answer = get(cluster.ingress(), host, path).expect("an answer");
        assert_eq!(answer.status, 200, "{host}: {}", answer.body);
        assert!(answer.body.contains(expect), "{host} said {}", answer.body);
    }
    eventually(30, || {
        let logs = cluster.coracle(&["logs", "ticker-once"]).ok();
        if logs.lines().count() >= 3 { Ok(()) } else { Err(logs) }
    });
    cluster.coracle(&["wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/ticker-once"]).ok();
}

#[test]
fn a_second_start_finds_everything_running() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let first = Plan::new().on(&data).apply(example("hello")).up(PROGRAM).expect("up");
    let before = first.coracle(&["get", "pods", "-o", "name"]).ok();
    first.stop().expect("stops cleanly");

    let second = Plan::new().on(&data).up(PROGRAM).expect("up again");
    assert_eq!(second.coracle(&["get", "pods", "-o", "name"]).ok(), before, "the same pods");
    eventually(30, || match get(second.ingress(), "hello.localhost", "/") {
        Ok(answer) if answer.status == 200 => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

#[test]
fn two_clusters_do_not_share_a_folder() {
    let cluster = with(&[]);
    let refused = Plan::new().on(cluster.data()).up(PROGRAM);
    let error = refused.err().expect("refused").to_string();
    assert!(error.contains("another coracle runs on"), "{error}");
}
