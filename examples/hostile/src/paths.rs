//! Getting at files that are not for it. `/data` may be written to, `/config` may not.

use std::fs::{self, File, OpenOptions};
use std::io::Write;

use crate::{Deed, got_away, held, limit};

pub const ALL: &[Deed] = &[
    ("path-dots", dots),
    ("path-absolute", absolute),
    ("path-symlink", symlink),
    ("path-symlink-deep", symlink_deep),
    ("path-symlink-loop", symlink_loop),
    ("path-hard-link", hard_link),
    ("path-rename", rename),
    ("path-long", long),
    ("path-odd", odd),
    ("path-read-only", read_only),
];

/// What every machine has, and no guest may see.
const SECRET: &str = "etc/passwd";

fn must_not_open(path: &str) {
    if File::open(path).is_ok() {
        got_away(path);
    }
}

fn link(target: &str, at: &str) -> bool {
    let directories = wasip2::filesystem::preopens::get_directories();
    let Some((data, _)) = directories.iter().find(|(_, place)| place == "/data") else {
        got_away("there is no /data");
    };
    data.symlink_at(target, at).is_ok()
}

fn dots() {
    limit();
    for depth in 1..40 {
        let up = "../".repeat(depth);
        for from in ["/data/", "/config/", "/", ""] {
            must_not_open(&format!("{from}{up}{SECRET}"));
        }
        must_not_open(&format!("/data/./{}{SECRET}", "./../".repeat(depth)));
        must_not_open(&format!("/data//{}{SECRET}", "..//".repeat(depth)));
    }
    held("dots");
}

fn absolute() {
    limit();
    for path in ["/etc/passwd", "//etc/passwd", "/proc/self/environ", "/proc/1/root/etc/passwd", "/dev/mem", "/sys/kernel"] {
        must_not_open(path);
        must_not_open(&format!("/data/{path}"));
    }
    held("absolute");
}

fn symlink() {
    limit();
    for (number, target) in ["/etc/passwd", "../../../../../../../../../../etc/passwd", "/proc/self/environ"].iter().enumerate() {
        if link(target, &format!("l{number}")) {
            must_not_open(&format!("/data/l{number}"));
        }
    }
    held("symlink");
}

/// Each link alone leads nowhere bad.
fn symlink_deep() {
    limit();
    let _ = fs::create_dir_all("/data/a/b/c");
    link("a/b/c", "in");
    link("in/../../../..", "out");
    must_not_open("/data/out/etc/passwd");
    must_not_open("/data/in/../../../../../../../../etc/passwd");
    for depth in 1..20 {
        must_not_open(&format!("/data/out/{}{SECRET}", "../".repeat(depth)));
    }
    held("deep symlink");
}

fn symlink_loop() {
    limit();
    link("b", "a");
    link("a", "b");
    must_not_open("/data/a");
    held("symlink loop");
}

fn hard_link() {
    limit();
    if fs::hard_link("/config/key", "/data/key").is_ok() {
        let written = OpenOptions::new().write(true).open("/data/key").and_then(|mut file| file.write_all(b"changed"));
        if written.is_ok() {
            got_away("a link to what may only be read");
        }
    }
    if fs::hard_link("/etc/passwd", "/data/passwd").is_ok() {
        got_away("a link to the node's");
    }
    held("hard link");
}

fn rename() {
    limit();
    let _ = fs::write("/data/mine", "mine");
    if fs::rename("/data/mine", "/config/key").is_ok() || fs::rename("/config/key", "/data/key").is_ok() {
        got_away("renamed over what may only be read");
    }
    if fs::rename("/data/mine", "/data/../../mine").is_ok() {
        got_away("renamed out");
    }
    held("rename");
}

fn long() {
    limit();
    must_not_open(&format!("/data/{}", "x".repeat(1 << 20)));
    must_not_open(&format!("/data/{}", "x/".repeat(1 << 19)));
    must_not_open(&format!("/data/{}etc/passwd", "../".repeat(1 << 18)));
    held("long");
}

fn odd() {
    limit();
    for path in ["/data/..\\..\\etc\\passwd", "/data/%2e%2e/etc/passwd", "/data/\u{2024}\u{2024}/etc/passwd", "/data/..;/etc/passwd", "/data/\u{0}/etc/passwd"] {
        must_not_open(path);
    }
    held("odd");
}

fn read_only() {
    limit();
    let file = OpenOptions::new().write(true).open("/config/key");
    if file.and_then(|mut file| file.write_all(b"changed")).is_ok() {
        got_away("written");
    }
    let tries = [
        fs::write("/config/new", "new"),
        fs::remove_file("/config/key"),
        fs::create_dir("/config/new"),
        OpenOptions::new().append(true).open("/config/key").map(drop),
    ];
    if tries.iter().any(Result::is_ok) {
        got_away("changed");
    }
    held("read only");
}
