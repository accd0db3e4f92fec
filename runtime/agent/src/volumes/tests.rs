//! Volumes on a real disk.

use std::net::{IpAddr, Ipv4Addr};

use state::Snapshot;

use super::*;
use crate::fixture::{object, pod, world};

fn around(view: &Snapshot) -> Surroundings<'_> {
    let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    Surroundings { view, address: nowhere, host: nowhere, node_cpu_millis: 1_000, node_memory_bytes: 1 << 30 }
}

fn view(mode: &str) -> Snapshot {
    world([
        object(&format!(
            r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"cfg","namespace":"shop"}},"data":{{"mode":"{mode}","z":"1"}}}}"#
        )),
        object(
            r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"key","namespace":"shop"},"data":{"t":"czNjcmV0"}}"#,
        ),
    ])
}

fn planned(volume: &str, view: &Snapshot) -> Result<Planned, String> {
    let pod = pod(&format!(r#"{{"containers":[],"volumes":[{volume}]}}"#));
    let plan = plan(&pod, &around(view)).map_err(|why| format!("{} {}", why.volume, why.message))?;
    Ok(plan.into_iter().next().expect("one volume"))
}

/// The names in a volume and what is behind them.
fn listing(path: &Path) -> String {
    let mut names: Vec<String> = std::fs::read_dir(path)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with(".."))
        .collect();
    names.sort();
    let read = |name: &String| std::fs::read_to_string(path.join(name)).unwrap_or_else(|_| "/".into());
    names.iter().map(|name| format!("{name}={}", read(name))).collect::<Vec<_>>().join(" ")
}

fn check(volume: &str, expected: &str) {
    let directory = tempfile::tempdir().expect("a directory");
    let found = match planned(volume, &view("fast")) {
        Ok(planned) => listing(&write(directory.path(), &planned).expect("written").path),
        Err(refused) => refused,
    };
    assert_eq!(found, expected, "{volume}");
}

#[test]
fn volumes_hold_what_the_cluster_says() {
    check(r#"{"name":"v","emptyDir":{}}"#, "");
    check(r#"{"name":"v","configMap":{"name":"cfg"}}"#, "mode=fast z=1");
    check(r#"{"name":"v","configMap":{"name":"cfg","items":[{"key":"mode","path":"a/b"}]}}"#, "a=/");
    check(r#"{"name":"v","secret":{"secretName":"key"}}"#, "t=s3cret");
    check(
        r#"{"name":"v","downwardAPI":{"items":[{"path":"labels","fieldRef":{"fieldPath":"metadata.labels"}}]}}"#,
        "labels=app=\"web\"",
    );
    check(
        r#"{"name":"v","projected":{"sources":[{"configMap":{"name":"cfg"}},{"secret":{"name":"key"}}]}}"#,
        "mode=fast t=s3cret z=1",
    );
}

#[test]
fn what_cannot_be_mounted_is_named() {
    check(r#"{"name":"v","configMap":{"name":"no"}}"#, "v configmap \"no\" not found");
    check(r#"{"name":"v","configMap":{"name":"no","optional":true}}"#, "");
    check(
        r#"{"name":"v","persistentVolumeClaim":{"claimName":"c"}}"#,
        "v volumes of type persistentVolumeClaim are not supported by this node",
    );
    check(
        r#"{"name":"v","configMap":{"name":"cfg","items":[{"key":"mode","path":"../x"}]}}"#,
        "v the path ../x is not one inside the volume",
    );
}

#[test]
fn an_update_is_swapped_in_whole() {
    let directory = tempfile::tempdir().expect("a directory");
    let volume = r#"{"name":"v","configMap":{"name":"cfg"}}"#;
    let first = write(directory.path(), &planned(volume, &view("fast")).expect("a plan")).expect("written");
    let next =
        Planned { name: "v".into(), content: Content::Files([(PathBuf::from("mode"), b"slow".to_vec())].into()) };
    let second = write(directory.path(), &next).expect("written");
    assert_eq!(first, second);
    assert_eq!(listing(&second.path), "mode=slow");
    write(directory.path(), &next).expect("written again");
    assert_eq!(listing(&second.path), "mode=slow");
}

#[test]
fn guests_see_volumes_where_they_are_mounted() {
    let pod = pod(
        r#"{"containers":[{"name":"c","volumeMounts":[{"name":"v","mountPath":"/etc/app"},{"name":"s","mountPath":"/data","readOnly":true}]}]}"#,
    );
    let placed = BTreeMap::from([
        ("v".to_owned(), Placed { path: "/v".into(), read_only: true }),
        ("s".to_owned(), Placed { path: "/s".into(), read_only: false }),
    ]);
    let mounts = mounts(&pod, 0, &placed).expect("mounts");
    let told: Vec<String> =
        mounts.iter().map(|mount| format!("{}:{}:{:?}", mount.host.display(), mount.guest, mount.mode)).collect();
    assert_eq!(told, ["/v:/etc/app:ReadOnly", "/s:/data:ReadOnly"]);
}
