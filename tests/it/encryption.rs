//! What lies on the disk tells nobody a secret, and its keys change while the cluster runs.

use std::path::Path;

use harness::{Plan, Servers, eventually};

use crate::{PROGRAM, example};

const CANARY: &str = "canary-7f3a91c2";

/// The files below a directory that hold `word`.
fn telling(directory: &Path, word: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(telling(&path, word));
        } else if let Ok(bytes) = std::fs::read(&path)
            && bytes.windows(word.len()).any(|window| window == word.as_bytes())
        {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn a_stolen_disk_tells_no_secret_and_a_rotated_key_opens_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (data, keys) = (folder.path().join("data"), folder.path().join("elsewhere.json"));
    let words = ["--encryption-keys", keys.to_str().expect("a path")];
    let manifest = folder.path().join("secret.yaml");
    std::fs::write(&manifest, manifest_text()).expect("written");
    let cluster = Plan::new().on(&data).say(&words).apply(&manifest).up(PROGRAM).expect("up");
    // "canary-7f3a91c2" in the base64 of the API.
    let spellings = [CANARY, "Y2FuYXJ5LTdmM2E5MWMy"];
    let secret = || cluster.coracle(&["get", "secret", "word", "-o", "json"]).stdout.contains(spellings[1]);
    assert!(secret(), "the API tells it");
    let silent = || {
        for word in spellings {
            assert_eq!(telling(&data, word), Vec::<String>::new(), "{word}");
        }
    };
    let waited = cluster.coracle(&["wait", "pod/reader", "--for", "condition=Ready", "--timeout", "60s"]);
    assert_eq!(waited.code, 0, "{waited:?}");
    silent();

    let status = || cluster.coracle(&["encryption", "status"]).stdout;
    let before = status();
    assert_eq!(before.lines().count(), 2, "{before}");
    let stolen = std::fs::read_to_string(&keys).expect("a key file");
    let rotated = cluster.coracle(&["encryption", "rotate"]);
    assert_eq!(rotated.code, 0, "{rotated:?}");
    let after = status();
    assert_eq!(after.lines().count(), 2, "{after}");
    assert!(after.contains("<none>"), "{after}");
    assert_ne!(before, after);
    assert!(secret(), "the API still tells it");
    silent();
    cluster.kill().expect("killed");
    silent();

    let new = std::fs::read_to_string(&keys).expect("a key file");
    std::fs::write(&keys, &stolen).expect("written");
    let refused = Plan::new().on(&data).say(&words).up(PROGRAM).map(|_| ()).expect_err("the old key opens nothing");
    assert!(format!("{refused:#}").contains("the key that it takes is not in the key file"), "{refused:#}");
    std::fs::write(&keys, new).expect("written");
    let cluster = Plan::new().on(&data).say(&words).up(PROGRAM).expect("up again");
    eventually(30, || {
        let got = cluster.coracle(&["get", "secret", "word", "-o", "json"]);
        if got.stdout.contains(spellings[1]) { Ok(()) } else { Err(format!("{got:?}")) }
    });
}

#[test]
fn one_command_gives_every_server_a_new_key_and_names_who_was_away() {
    let mut servers = Servers::alone(PROGRAM, 3);
    let keys = |servers: &Servers| -> Vec<String> {
        let files = (0..3).map(|place| servers.data(place).join("store/keys.json"));
        files.map(|file| std::fs::read_to_string(file).expect("a key file")).collect()
    };
    let before = keys(&servers);
    servers.kill(2);
    let away = servers.api(2);
    let told = servers.coracle(0, &["encryption", "rotate"]);
    assert!(told.stderr.contains(&format!("have not rotated their keys: {away}; ask again")), "{told:?}");
    assert_ne!(told.code, 0);
    let after = keys(&servers);
    assert!(before[0] != after[0] && before[1] != after[1] && before[2] == after[2], "one was away");
    servers.start(2);
    let told = servers.coracle(1, &["encryption", "rotate"]).ok();
    for place in 0..3 {
        assert!(told.contains(&servers.api(place)), "{told}");
    }
    let last = keys(&servers);
    assert!(after.iter().zip(&last).all(|(after, last)| after != last), "all have another");
    let status = servers.coracle(2, &["encryption", "status"]).ok();
    assert_eq!(status.lines().count(), 4, "{status}");
    // What each has still opens.
    for place in 0..3 {
        servers.kill(place);
    }
    servers.start_all(&[0, 1, 2]);
    servers.settled(3);
    servers.coracle(2, &["get", "namespaces"]).ok();
}

fn manifest_text() -> String {
    format!(
        "apiVersion: v1
kind: Secret
metadata: {{name: word, namespace: default}}
stringData: {{word: {CANARY}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: reader, namespace: default}}
spec:
  containers:
  - name: reader
    image: {}
    env: [{{name: WORD, valueFrom: {{secretKeyRef: {{name: word, key: word}}}}}}]
    volumeMounts: [{{name: word, mountPath: /word}}, {{name: word, mountPath: /one/word, subPath: word}}]
  volumes: [{{name: word, secret: {{secretName: word}}}}]
",
        example("hello").join("hello.wasm").display()
    )
}
