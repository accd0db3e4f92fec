//! A program that prints more than the node keeps.

use harness::{Output, Plan, eventually, kubectl_is_there};
use serde_json::Value;

use crate::{PROGRAM, manifest};

const LINES: usize = 400;

/// The numbers of the lines on standard output.
fn numbers(log: &str) -> Vec<usize> {
    let lines = log.lines().filter(|line| !line.ends_with(", to standard error"));
    lines
        .map(|line| line.rsplit(' ').next().and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{line}")))
        .collect()
}

fn is_gapless(numbers: &[usize]) -> bool {
    numbers.windows(2).all(|pair| pair[1] == pair[0] + 1)
}

#[test]
fn the_newest_lines_are_kept_and_a_follower_hears_all() {
    let plan = Plan::new().say(&["--container-log-max-size", "64Ki", "--container-log-max-files", "3"]);
    let cluster = plan.up(PROGRAM).unwrap_or_else(|error| panic!("{error:#}"));
    let folder = tempfile::tempdir().expect("a folder");
    let text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: talker}}\nspec:\n  restartPolicy: Never\n  containers:\n  - name: main\n    image: EXAMPLES/ticker/ticker.wasm\n    args: [\"--every\", \"10\", \"--count\", \"{LINES}\", \"--text\", \"{}\"]\n",
        "x".repeat(500)
    );
    cluster.coracle(&["apply", "-f", &manifest(folder.path(), &text)]).ok();
    let follow = |words: &[&str]| -> Output {
        eventually(60, || {
            let heard = if kubectl_is_there() { cluster.kubectl(words) } else { cluster.coracle(words) };
            if heard.code == 0 { Ok(heard) } else { Err(heard.stderr) }
        })
    };
    let heard = numbers(&follow(&["logs", "-f", "talker"]).ok());
    assert!(is_gapless(&heard) && heard.last() == Some(&LINES), "{heard:?}");
    eventually(30, || {
        let pod: Value =
            serde_json::from_str(&cluster.coracle(&["get", "pod", "talker", "-o", "json"]).ok()).expect("JSON");
        if pod["status"]["phase"] == "Succeeded" { Ok(()) } else { Err(pod["status"].to_string()) }
    });
    let kept = numbers(&cluster.coracle(&["logs", "talker"]).ok());
    assert!(is_gapless(&kept) && kept.last() == Some(&LINES), "{kept:?}");
    assert!(kept.len() < LINES, "the oldest lines are gone");
    let tail = cluster.coracle(&["logs", "talker", "--tail", "300"]).ok();
    assert_eq!(tail.lines().count(), 300.min(cluster.coracle(&["logs", "talker"]).ok().lines().count()));
}
