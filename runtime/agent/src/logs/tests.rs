//! Logs on a real disk.

use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use tokio::sync::mpsc::Receiver;

use super::*;

const WHOSE: Whose<'static> = Whose { namespace: "shop", pod: "web", uid: "u1", container: "app" };
/// A few lines fill a file.
const SMALL: Rotation = Rotation { file_bytes_max: 200, files_max: 5 };
const PATIENCE: Duration = Duration::from_secs(30);

fn logs() -> (TempDir, Logs) {
    let directory = tempfile::tempdir().expect("a directory");
    let logs = Logs::new(directory.path(), Rotation::default());
    (directory, logs)
}

/// A run that prints this and ends.
async fn print(logs: &Logs, run: u32, text: &str) {
    let Streams { stdout, stderr, written } = logs.begin(&WHOSE, run, tokio::spawn).expect("a log");
    stdout.write(Bytes::copy_from_slice(text.as_bytes())).expect("somebody reads");
    drop((stdout, stderr));
    written.await.expect("written");
}

async fn all(mut pieces: Receiver<Bytes>) -> String {
    let mut text = Vec::new();
    while let Some(piece) = tokio::time::timeout(PATIENCE, pieces.recv()).await.expect("the log ends") {
        text.extend_from_slice(&piece);
    }
    String::from_utf8(text).expect("text")
}

async fn check(logs: &Logs, options: Options, expected: &str) {
    assert_eq!(all(logs.read(&WHOSE, options).expect("a log")).await, expected, "{options:?}");
}

#[tokio::test]
async fn what_was_printed_is_read_back() {
    let (_directory, logs) = logs();
    print(&logs, 0, "one\ntwo\nthree").await;
    check(&logs, Options::default(), "one\ntwo\nthree").await;
    check(&logs, Options { tail: Some(2), ..Options::default() }, "two\nthree").await;
    check(&logs, Options { tail: Some(0), ..Options::default() }, "").await;
    check(&logs, Options { limit_bytes: Some(5), ..Options::default() }, "one\nt").await;
    check(&logs, Options { follow: true, ..Options::default() }, "one\ntwo\nthree").await;
    let later = jiff::Timestamp::now().checked_add(jiff::SignedDuration::from_hours(1)).expect("a time");
    check(&logs, Options { since: Some(later), ..Options::default() }, "").await;
    let stamped = all(logs.read(&WHOSE, Options { timestamps: true, ..Options::default() }).expect("a log")).await;
    let (time, text) = stamped.lines().next().and_then(|line| line.split_once(' ')).expect("a time and a text");
    assert!(time.len() == "2026-11-21T10:00:00.123456789Z".len() && text == "one", "{stamped}");
}

#[tokio::test]
async fn the_run_before_is_kept_and_older_ones_are_not() {
    let (_directory, logs) = logs();
    let missing = logs.read(&WHOSE, Options::default()).expect_err("nothing ran").to_string();
    assert_eq!(missing, "container \"app\" in pod \"web\" is waiting to start: ContainerCreating");
    print(&logs, 0, "first\n").await;
    let previous = Options { previous: true, ..Options::default() };
    let missing = logs.read(&WHOSE, previous).expect_err("it ran once").to_string();
    assert_eq!(missing, "previous terminated container \"app\" in pod \"web\" not found");
    print(&logs, 1, "second\n").await;
    print(&logs, 2, "third\n").await;
    check(&logs, Options::default(), "third\n").await;
    check(&logs, previous, "second\n").await;
    assert_eq!(runs(&logs.directory(&WHOSE)), [1, 2]);
    logs.remove("shop", "web", "u1").expect("removed");
    assert!(logs.read(&WHOSE, Options::default()).is_err());
}

#[tokio::test]
async fn a_follower_hears_everything_until_the_run_ends_even_when_files_change() {
    let directory = tempfile::tempdir().expect("a directory");
    let logs = Logs::new(directory.path(), SMALL);
    let streams = logs.begin(&WHOSE, 0, tokio::spawn).expect("a log");
    let mut heard = logs.read(&WHOSE, Options { follow: true, ..Options::default() }).expect("a log");
    let mut text = Vec::new();
    for number in 0..40 {
        let line = format!("line {number}\n");
        streams.stdout.write(Bytes::from(line.clone())).expect("somebody reads");
        // A follower that keeps up misses nothing, however often a new file is begun.
        while !text.ends_with(line.as_bytes()) {
            let piece = tokio::time::timeout(PATIENCE, heard.recv()).await.expect("it is heard").expect("it goes on");
            text.extend_from_slice(&piece);
        }
    }
    drop((streams.stdout, streams.stderr));
    assert_eq!(tokio::time::timeout(PATIENCE, heard.recv()).await.expect("the log ends"), None);
    let expected: Vec<String> = (0..40).map(|number| format!("line {number}\n")).collect();
    assert_eq!(String::from_utf8(text).expect("text"), expected.concat());
    assert_eq!(files(&logs.directory(&WHOSE), 0).take_while(|file| file.is_file()).count(), SMALL.files_max as usize);
}

#[tokio::test]
async fn a_reader_never_hears_a_line_twice_or_out_of_turn() {
    let directory = tempfile::tempdir().expect("a directory");
    let logs = Logs::new(directory.path(), Rotation { files_max: 40, ..SMALL });
    let streams = logs.begin(&WHOSE, 0, tokio::spawn).expect("a log");
    // Many readers come while files change; each begins somewhere and then hears everything in its order.
    let mut readers = Vec::new();
    for number in 0..200 {
        streams.stdout.write(Bytes::from(format!("{number}\n"))).expect("somebody reads");
        readers.push(logs.read(&WHOSE, Options { follow: true, ..Options::default() }).expect("a log"));
        tokio::task::yield_now().await;
    }
    drop((streams.stdout, streams.stderr));
    streams.written.await.expect("written");
    for reader in readers {
        let heard = all(reader).await;
        let numbers: Vec<u32> = heard.lines().map(|line| line.parse().expect("a number")).collect();
        assert_eq!(numbers, (0..200).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_line_without_end_is_written_in_pieces_and_read_as_one() {
    let (_directory, logs) = logs();
    let long = "x".repeat(50_000);
    print(&logs, 0, &format!("{long}\nshort\n")).await;
    check(&logs, Options::default(), &format!("{long}\nshort\n")).await;
}
