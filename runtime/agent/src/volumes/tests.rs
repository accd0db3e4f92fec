//! Volumes on a real disk.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use state::Snapshot;

use super::*;
use crate::fixture::{object, pod, world};

fn around(view: &Snapshot) -> Surroundings<'_> {
    let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    Surroundings { view, address: nowhere, host: nowhere, node_cpu_millis: 1_000, node_memory_bytes: 1 << 30 }
}

fn tokens() -> Tokens {
    let mut tokens = Tokens::default();
    let ask = Ask { audience: Some("vault".into()), seconds: 600 };
    tokens.keep(ask, Held { text: "t0ken".into(), expires: jiff::Timestamp::MAX });
    tokens
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
    let plan = plan(&pod, &around(view), &tokens()).map_err(|why| format!("{} {}", why.volume, why.message))?;
    Ok(plan.into_iter().next().expect("one volume"))
}

fn put(root: &Path, planned: &Planned) -> std::io::Result<Placed> {
    write(root, &Store { local: root.join("local"), ..Store::default() }, planned)
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
        Ok(planned) => listing(put(directory.path(), &planned).expect("written").at.path()),
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
fn a_token_lies_where_it_is_asked_for() {
    let volume = |seconds: u32| {
        let source = format!(r#"{{"audience":"vault","expirationSeconds":{seconds},"path":"here/token"}}"#);
        format!(r#"{{"name":"v","projected":{{"sources":[{{"serviceAccountToken":{source}}}]}}}}"#)
    };
    let directory = tempfile::tempdir().expect("a directory");
    let placed = put(directory.path(), &planned(&volume(600), &view("fast")).expect("a plan")).expect("written");
    assert_eq!(std::fs::read_to_string(placed.at.path().join("here/token")).expect("a file"), "t0ken");
    check(&volume(700), "v the token was not given out yet");
}

#[test]
fn what_cannot_be_mounted_is_named() {
    check(r#"{"name":"v","configMap":{"name":"no"}}"#, "v configmap \"no\" not found");
    check(r#"{"name":"v","configMap":{"name":"no","optional":true}}"#, "");
    check(r#"{"name":"v","nfs":{"server":"s","path":"/"}}"#, "v volumes of type nfs are not supported by this node");
    check(
        r#"{"name":"v","configMap":{"name":"cfg","items":[{"key":"mode","path":"../x"}]}}"#,
        "v the path ../x is not one inside the volume",
    );
}

#[test]
fn an_update_is_swapped_in_whole() {
    let directory = tempfile::tempdir().expect("a directory");
    let volume = r#"{"name":"v","configMap":{"name":"cfg"}}"#;
    let first = put(directory.path(), &planned(volume, &view("fast")).expect("a plan")).expect("written");
    let next = Planned {
        name: "v".into(),
        content: Content::Files([(PathBuf::from("mode"), b"slow".to_vec())].into()),
        secret: false,
    };
    let second = put(directory.path(), &next).expect("written");
    assert_eq!(first, second);
    assert_eq!(listing(second.at.path()), "mode=slow");
    put(directory.path(), &next).expect("written again");
    assert_eq!(listing(second.at.path()), "mode=slow");
}

#[test]
fn what_is_as_planned_is_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let planned = planned(r#"{"name":"v","configMap":{"name":"cfg"}}"#, &view("fast")).expect("a plan");
    let current = || std::fs::read_link(directory.path().join("v/..data")).expect("a link");
    put(directory.path(), &planned).expect("written");
    let first = current();
    put(directory.path(), &planned).expect("written");
    assert_eq!(current(), first);
}

/// Mounts of the container `c`.
fn found(mounts: &str, placed: &BTreeMap<String, Placed>, fixed: &Path) -> Result<Vec<host::Mount>, String> {
    let pod = pod(&format!(
        r#"{{"containers":[{{"name":"c","env":[{{"name":"WHO","value":"me"}}],"volumeMounts":[{mounts}]}}],
            "volumes":[{{"name":"image","image":{{"reference":"prices:v1"}}}}]}}"#
    ));
    let view = view("fast");
    let fixed = Fixed::new(fixed.into(), fixed.with_extension("memory"));
    super::mounts(&pod, 0, placed, fixed, &around(&view)).map_err(|why| why.message)
}

/// The same, as `guest:mode` and the files below it.
fn seen(mounts: &str, placed: &BTreeMap<String, Placed>, fixed: &Path) -> Result<String, String> {
    let found = found(mounts, placed, fixed)?;
    let told = |mount: &host::Mount| format!("{}:{:?} {}", mount.guest, mount.mode, listing(mount.host.path()));
    Ok(found.iter().map(told).collect::<Vec<_>>().join("; "))
}

#[test]
fn guests_see_volumes_where_they_are_mounted() {
    let directory = tempfile::tempdir().expect("a directory");
    let fixed = directory.path().join("fixed");
    let volume = planned(
        r#"{"name":"v","configMap":{"name":"cfg","items":[{"key":"mode","path":"a/b"},{"key":"z","path":"z"}]}}"#,
        &view("fast"),
    );
    let config = put(directory.path(), &volume.expect("a plan")).expect("written");
    let scratch = Planned { name: "s".into(), content: Content::Scratch { bytes_max: None }, secret: false };
    let scratch = put(directory.path(), &scratch).expect("written");
    std::fs::write(scratch.at.path().join("file"), "mine").expect("written");
    let placed = BTreeMap::from([("v".to_owned(), config.clone()), ("s".to_owned(), scratch.clone())]);
    let check = |mounts: &str, expected: &str| {
        let found = seen(mounts, &placed, &fixed).unwrap_or_else(|refused| refused);
        assert_eq!(found, expected, "{mounts}");
    };
    check(r#"{"name":"v","mountPath":"/etc/app"}"#, "/etc/app:ReadOnly a=/ z=1");
    check(r#"{"name":"s","mountPath":"/data","readOnly":true}"#, "/data:ReadOnly file=mine");
    check(r#"{"name":"v","mountPath":"/etc/a","subPath":"a"}"#, "/etc/a:ReadOnly b=fast");
    check(
        r#"{"name":"v","mountPath":"/etc/app/mode","subPath":"a/b"},{"name":"v","mountPath":"/etc/app/z.conf","subPath":"z"}"#,
        "/etc/app:ReadOnly mode=fast z.conf=1",
    );
    check(r#"{"name":"s","mountPath":"/data/mine","subPath":"file"}"#, "/data:ReadWrite mine=mine");
    check(r#"{"name":"s","mountPath":"/own","subPathExpr":"of/$(WHO)"}"#, "/own:ReadWrite ");
    assert!(scratch.at.path().join("of/me").is_dir());
    check(r#"{"name":"v","mountPath":"/x","subPath":"../.."}"#, "the path ../.. is not one inside the volume");
    check(
        r#"{"name":"s","mountPath":"/etc/app"},{"name":"v","mountPath":"/etc/app/z","subPath":"z"}"#,
        "a file cannot be mounted into /etc/app, where a volume is mounted already",
    );
    check(r#"{"name":"none","mountPath":"/x"}"#, "volume \"none\" is not one of the pod's");
    // An image is linked, and has nothing to show.
    check(r#"{"name":"image","mountPath":"/x"},{"name":"v","mountPath":"/etc/app"}"#, "/etc/app:ReadOnly a=/ z=1");
    check(
        r#"{"name":"image","mountPath":"/x","subPath":"a"}"#,
        "volume \"image\" is an image that is linked to the container's own, and has no subPath",
    );
}

#[test]
fn whatever_a_guest_puts_in_its_place_a_sub_path_is_what_was_there() {
    let directory = tempfile::tempdir().expect("a directory");
    let fixed = directory.path().join("fixed");
    let scratch = Planned { name: "s".into(), content: Content::Scratch { bytes_max: None }, secret: false };
    let scratch = put(directory.path(), &scratch).expect("written");
    let (own, volume) = (directory.path().join("secret"), scratch.at.path().to_owned());
    for (folder, file) in [(&own, "key"), (&volume.join("a"), "file")] {
        std::fs::create_dir_all(folder).expect("made");
        std::fs::write(folder.join(file), file).expect("written");
    }
    std::os::unix::fs::symlink("a", volume.join("within")).expect("linked");
    std::os::unix::fs::symlink(&own, volume.join("far")).expect("linked");
    let up = "../".repeat(volume.components().count());
    std::os::unix::fs::symlink(&up, volume.join("up")).expect("linked");
    let placed = BTreeMap::from([("s".to_owned(), scratch)]);
    let of = |path: &str| format!(r#"{{"name":"s","mountPath":"/x","subPath":"{path}"}}"#);
    assert_eq!(seen(&of("within"), &placed, &fixed).expect("mounts"), "/x:ReadWrite file=file");
    for out in ["far", "far/key", "up", "up/etc"] {
        let refused = seen(&of(out), &placed, &fixed).expect_err("refused");
        assert_eq!(refused, format!("subPath {out} of volume \"s\" leads out of it"));
    }
    let mounts = found(&of("a"), &placed, &fixed).expect("mounts");
    std::fs::rename(volume.join("a"), volume.join("b")).expect("moved");
    std::os::unix::fs::symlink(&own, volume.join("a")).expect("linked");
    assert_eq!(listing(mounts[0].host.path()), "file=file");
}

#[test]
fn a_sub_path_does_not_change_under_a_running_container() {
    let directory = tempfile::tempdir().expect("a directory");
    let fixed = directory.path().join("fixed");
    let volume = r#"{"name":"v","configMap":{"name":"cfg"}}"#;
    let placed = put(directory.path(), &planned(volume, &view("fast")).expect("a plan")).expect("written");
    let placed = BTreeMap::from([("v".to_owned(), placed)]);
    let mount = r#"{"name":"v","mountPath":"/etc/mode","subPath":"mode"}"#;
    assert_eq!(seen(mount, &placed, &fixed).expect("mounts"), "/etc:ReadOnly mode=fast");
    put(directory.path(), &planned(volume, &view("slow")).expect("a plan")).expect("written");
    assert_eq!(listing(&fixed.with_extension("memory").join("0")), "mode=fast");
    assert_eq!(seen(mount, &placed, &fixed).expect("mounts"), "/etc:ReadOnly mode=slow", "the next run sees it");
}

#[test]
fn an_update_changes_what_it_can() {
    let pod = pod(r#"{"containers":[],"volumes":[{"name":"s","emptyDir":{}},{"name":"a","configMap":{"name":"cfg"}},
            {"name":"b","configMap":{"name":"gone"}}]}"#);
    let view = view("slow");
    let told: Vec<String> = updates(&pod, &around(&view), &tokens())
        .into_iter()
        .map(|update| update.map_or_else(|why| format!("{}: {}", why.volume, why.message), |planned| planned.name))
        .collect();
    assert_eq!(told, ["a", "b: configmap \"gone\" not found"]);
}

/// A claim `data` of this mode and phase, and the volume that it has.
fn claimed(mode: &str, phase: &str, source: &str) -> Snapshot {
    world([
        object(&format!(
            r#"{{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{{"name":"data","namespace":"shop","uid":"c"}},
                "spec":{{"volumeName":"v","accessModes":["{mode}"]}},"status":{{"phase":"{phase}"}}}}"#
        )),
        object(&format!(
            r#"{{"apiVersion":"v1","kind":"PersistentVolume","metadata":{{"name":"v"}},"spec":{{"capacity":{{"storage":"1Mi"}},
                "claimRef":{{"namespace":"shop","name":"data","uid":"c"}},{source}}}}}"#
        )),
    ])
}

#[test]
fn behind_a_claim_is_what_it_is_bound_to() {
    let check = |mode: &str, phase: &str, source: &str, expected: &str| {
        let volume = r#"{"name":"v","persistentVolumeClaim":{"claimName":"data"}}"#;
        let found = planned(volume, &claimed(mode, phase, source)).map(|planned| format!("{:?}", planned.content));
        assert_eq!(found.unwrap_or_else(|refused| refused), expected, "{mode} {phase} {source}");
    };
    let ours = r#""csi":{"driver":"coracle.dev/local-path","volumeHandle":"pvc-1"}"#;
    let local = |read_only| format!("Local {{ directory: \"pvc-1\", bytes_max: 1048576, read_only: {read_only} }}");
    check("ReadWriteOnce", "Bound", ours, &local(false));
    check("ReadOnlyMany", "Bound", ours, &local(true));
    check("ReadWriteOnce", "Pending", ours, "v error processing PVC shop/data: PVC is not bound");
    let host = "Host { path: \"/srv\", kind: Directory, read_only: false }";
    check("ReadWriteOnce", "Bound", r#""hostPath":{"path":"/srv","type":"Directory"}"#, host);
    check("ReadWriteOnce", "Bound", r#""local":{"path":"/srv"}"#, host);
    let nfs = r#""nfs":{"server":"s","path":"/"}"#;
    check("ReadWriteOnce", "Bound", nfs, "v volumes of type nfs are not supported by this node");
    let away = r#""csi":{"driver":"coracle.dev/local-path","volumeHandle":"../pki"}"#;
    check("ReadWriteOnce", "Bound", away, "v \"../pki\" is not the name of a directory");
    let block = format!(r#""volumeMode":"Block",{ours}"#);
    check("ReadWriteOnce", "Bound", &block, "v PV \"v\" has volumeMode Block: guests are given directories and files");
    let other = r#"{"name":"v","persistentVolumeClaim":{"claimName":"other"}}"#;
    let refused = planned(other, &claimed("ReadWriteOnce", "Bound", ours)).expect_err("there is none");
    assert_eq!(refused, "v persistentvolumeclaim \"other\" not found");
}

#[test]
fn paths_of_the_node_are_as_their_types_say() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path();
    std::fs::create_dir(root.join("d")).expect("made");
    std::fs::write(root.join("f"), "1").expect("written");
    let check = |kind: &str, name: &str, expected: &str| {
        let path = root.join(name);
        let volume = format!(r#"{{"name":"v","hostPath":{{"path":"{}","type":"{kind}"}}}}"#, path.display());
        let found = match planned(&volume, &view("fast")) {
            Err(refused) => refused,
            Ok(planned) => match put(root, &planned) {
                Err(error) => error.to_string().replace(&root.display().to_string(), ""),
                Ok(placed) if placed.at.path().is_dir() => "directory".into(),
                Ok(_) => "file".into(),
            },
        };
        assert_eq!(found, expected, "{kind} {name}");
    };
    check("", "d", "directory");
    check("", "f", "file");
    check("", "new", "directory");
    check("Directory", "d", "directory");
    check("Directory", "f", "hostPath type check failed: /f is not a directory");
    check("Directory", "none", "hostPath type check failed: /none is not a directory");
    check("DirectoryOrCreate", "made/deep", "directory");
    check("File", "f", "file");
    check("File", "none", "hostPath type check failed: /none is not a file");
    check("FileOrCreate", "made/file", "file");
    check("Socket", "f", "v hostPath type Socket is not supported: guests are given directories and files");
}

#[test]
fn a_node_shows_no_path_that_it_does_not_allow() {
    use super::host_path::HostPaths;
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path();
    for name in ["open", "closed"] {
        std::fs::create_dir(root.join(name)).expect("made");
    }
    std::os::unix::fs::symlink(root.join("closed"), root.join("open/way-out")).expect("a link");
    let check = |allowed: HostPaths, name: &str, expected: bool| {
        let found = allowed.open(&root.join(name), HostType::Anything);
        assert_eq!(found.is_ok(), expected, "{name} of {allowed:?}: {found:?}");
    };
    let below = || HostPaths::Below(vec![root.join("open")]);
    check(HostPaths::Any, "closed", true);
    check(HostPaths::Below(Vec::new()), "open", false);
    check(below(), "open", true);
    check(below(), "open/new/deep", true);
    check(below(), "closed", false);
    check(below(), "open/way-out", false);
    check(below(), "open/way-out/new", false);
}

#[test]
fn a_path_of_the_node_stays_what_it_was_when_it_was_allowed() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path();
    for (name, text) in [("open/inner", "mine"), ("closed", "secret")] {
        std::fs::create_dir_all(root.join(name)).expect("made");
        std::fs::write(root.join(name).join("file"), text).expect("written");
    }
    let volume = format!(r#"{{"name":"v","hostPath":{{"path":"{}"}}}}"#, root.join("open/inner").display());
    let host_paths = host_path::HostPaths::Below(vec![root.join("open")]);
    let store = Store { host_paths, ..Store::default() };
    let placed = write(root, &store, &planned(&volume, &view("fast")).expect("a plan")).expect("allowed");
    std::fs::rename(root.join("open/inner"), root.join("open/old")).expect("moved");
    std::os::unix::fs::symlink(root.join("closed"), root.join("open/inner")).expect("linked");
    let placed = BTreeMap::from([("v".to_owned(), placed)]);
    let mounts = found(r#"{"name":"v","mountPath":"/v"}"#, &placed, &root.join("fixed")).expect("mounted");
    assert_eq!(listing(mounts[0].host.path()), "file=mine");
}

#[test]
fn a_single_file_of_the_node_is_the_very_same_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("app.conf");
    std::fs::write(&file, "one").expect("written");
    let placed = Placed { at: Folder::at(&file), read_only: false, is_swapped: false, quota: None };
    let placed = BTreeMap::from([("h".to_owned(), placed)]);
    let fixed = directory.path().join("fixed");
    let mount = r#"{"name":"h","mountPath":"/etc/app/app.conf"}"#;
    assert_eq!(seen(mount, &placed, &fixed).expect("mounts"), "/etc/app:ReadWrite app.conf=one");
    std::fs::write(fixed.join("0/app.conf"), "two").expect("written");
    assert_eq!(std::fs::read_to_string(file).expect("a file"), "two");
}
