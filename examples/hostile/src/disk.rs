//! Filling the disk. `/data` is a volume with a limit.

use std::fs::{self, File};
use std::io::Write;

use crate::{Deed, got_away, held, limit, stay};

pub const ALL: &[Deed] = &[
    ("disk-fill", fill),
    ("disk-sparse", sparse),
    ("disk-rewrite", rewrite),
    ("disk-many-files", many_files),
    ("disk-deep", deep),
    ("disk-unlinked", unlinked),
    ("disk-fill-and-stay", fill_and_stay),
];

/// More than any limit here.
const CHUNKS: usize = 1_024;

fn write_on(mut file: File) -> std::io::Error {
    let chunk = vec![7_u8; 1 << 20];
    for _ in 0..CHUNKS {
        if let Err(error) = file.write_all(&chunk).and_then(|()| file.flush()) {
            return error;
        }
    }
    got_away("a gibibyte of file")
}

fn create(path: &str) -> File {
    File::create(path).unwrap_or_else(|error| held(error))
}

fn fill() {
    limit();
    held(write_on(create("/data/fill")));
}

fn sparse() {
    limit();
    match create("/data/sparse").set_len(1 << 50) {
        Err(error) => held(error),
        Ok(()) => got_away("a pebibyte of nothing"),
    }
}

/// What is taken away is not there any more, however often.
fn rewrite() {
    limit();
    for _ in 0..64 {
        let mut file = create("/data/rewrite");
        if let Err(error) = file.write_all(&vec![7; 4 << 20]).and_then(|()| file.flush()) {
            got_away(format_args!("what was taken away still counts: {error}"));
        }
    }
    held("a small file stays small");
}

fn many_files() {
    limit();
    for number in 0..100_000 {
        if let Err(error) = fs::write(format!("/data/{number}"), "") {
            held(format_args!("{number} files: {error}"));
        }
    }
    got_away("100000 files");
}

fn deep() {
    limit();
    let mut path = "/data".to_owned();
    for depth in 0..100_000 {
        path.push_str("/d");
        if let Err(error) = fs::create_dir(&path) {
            held(format_args!("{depth} deep: {error}"));
        }
    }
    got_away("100000 deep");
}

/// A file without a name takes room as well.
fn unlinked() {
    limit();
    let file = create("/data/unlinked");
    let _ = fs::remove_file("/data/unlinked");
    held(write_on(file));
}

/// Without a limit of its own the pod's limit is what there is.
fn fill_and_stay() {
    let mut file = create("/data/fill");
    let chunk = vec![7_u8; 1 << 20];
    for _ in 0..64 {
        limit();
        if file.write_all(&chunk).and_then(|()| file.flush()).is_err() {
            break;
        }
    }
    stay()
}
