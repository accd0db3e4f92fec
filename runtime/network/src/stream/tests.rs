use std::time::Duration;

use futures::FutureExt;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

fn pair() -> (Stream, Stream) {
    Stream::pair(([10, 42, 0, 2], 40_000).into(), ([10, 42, 0, 3], 80).into())
}

#[tokio::test]
async fn each_direction_ends_by_itself() {
    let (mut near, mut far) = pair();
    near.write_all(b"question").await.expect("room");
    near.shutdown().await.expect("open");
    let mut heard = String::new();
    far.read_to_string(&mut heard).await.expect("an end");
    far.write_all(b"answer").await.expect("the other direction is open");
    drop(far);
    let mut told = String::new();
    near.read_to_string(&mut told).await.expect("an end");
    assert_eq!((heard.as_str(), told.as_str()), ("question", "answer"));
    assert_eq!(near.write(b"more").await.map_err(|error| error.kind()), Err(io::ErrorKind::BrokenPipe));
}

#[tokio::test]
async fn bytes_are_moved_and_not_copied() {
    let (near, far) = pair();
    let ((_, mut writer), (mut reader, _)) = (near.into_split(), far.into_split());
    let bytes = Bytes::from(vec![7; 1000]);
    writer.send(bytes.clone()).expect("open");
    let first = reader.chunk(400).await.expect("bytes");
    let rest = reader.chunk(4000).await.expect("bytes");
    assert_eq!((first.len(), rest.len()), (400, 600));
    assert_eq!((first.as_ptr(), rest.as_ptr()), (bytes.as_ptr(), bytes[400..].as_ptr()));
}

#[tokio::test]
async fn who_is_behind_holds_up_who_writes() {
    let (near, far) = pair();
    let ((_, mut writer), (mut reader, _)) = (near.into_split(), far.into_split());
    let mut sent = 0;
    while let Some(room) = std::future::poll_fn(|cx| writer.poll_ready(cx)).now_or_never() {
        let bytes = Bytes::from(vec![0; room.min(1000)]);
        sent += bytes.len();
        writer.send(bytes).expect("open");
    }
    assert!((64 << 10..1 << 20).contains(&sent), "{sent} bytes were taken");
    let waiting = tokio::spawn(async move { std::future::poll_fn(|cx| writer.poll_ready(cx)).await });
    let mut read = 0;
    while read < sent {
        read += reader.chunk(usize::MAX).await.expect("bytes").len();
    }
    let room = tokio::time::timeout(Duration::from_secs(5), waiting).await.expect("woken").expect("no panic");
    assert!(room > 0);
}

#[tokio::test]
async fn who_waits_hears_that_the_other_side_is_gone() {
    let (near, far) = pair();
    let (mut reader, mut writer) = near.into_split();
    let waiting = tokio::spawn(async move { (reader.chunk(1).await, writer.closed().await) });
    far.reset();
    let (read, ()) = waiting.await.expect("no panic");
    assert_eq!(read.map_err(|error| error.kind()), Err(io::ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn what_a_side_holds_goes_with_both_its_halves() {
    let held = Arc::new(());
    let (near, _far) = pair();
    let (reader, writer) = near.holding(held.clone()).into_split();
    drop(reader);
    assert_eq!(Arc::strong_count(&held), 2);
    drop(writer);
    assert_eq!(Arc::strong_count(&held), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever the sizes of writes and reads, what comes out is what went in, in order.
    #[test]
    fn what_comes_out_is_what_went_in(writes in prop::collection::vec(0usize..40_000, 0..40), read_max in 1usize..50_000) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let sent: Vec<u8> = writes.iter().enumerate().flat_map(|(turn, length)| vec![turn as u8; *length]).collect();
        let expected = sent.clone();
        let got = runtime.block_on(async move {
            let (near, far) = pair();
            let ((_, mut writer), (mut reader, _)) = (near.into_split(), far.into_split());
            let writing = async move {
                for (turn, length) in writes.into_iter().enumerate() {
                    writer.send_all(Bytes::from(vec![turn as u8; length])).await.expect("open");
                }
            };
            let reading = async move {
                let mut got = Vec::new();
                loop {
                    let chunk = reader.chunk(read_max).await.expect("bytes");
                    if chunk.is_empty() {
                        return got;
                    }
                    got.extend_from_slice(&chunk);
                }
            };
            futures::join!(writing, reading).1
        });
        prop_assert_eq!(got, expected);
    }
}

/// Does as often as it can what never waits, all in one turn of its task; tells whether that came to an end.
fn gives_way(mut act: impl FnMut(&mut Context<'_>) -> bool + Send + 'static) -> bool {
    const MANY: usize = 100_000;
    let turn = std::future::poll_fn(move |cx| Poll::Ready((0..MANY).any(|_| !act(cx))));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async { tokio::spawn(turn).await.expect("no panic") })
}

#[test]
fn who_is_always_ready_does_not_keep_the_thread_of_who_reads() {
    let (near, mut far) = pair();
    let (_reader, mut writer) = near.into_split();
    let ended = gives_way(move |cx| {
        writer.send(Bytes::from_static(b"more")).expect("open");
        let mut bytes = [0; 64];
        Pin::new(&mut far).poll_read(cx, &mut ReadBuf::new(&mut bytes)).is_ready()
    });
    assert!(ended);
}

#[test]
fn who_reads_everything_does_not_keep_the_thread_of_who_writes() {
    let (near, mut far) = pair();
    let (mut reader, _writer) = near.into_split();
    let ended = gives_way(move |cx| {
        let written = Pin::new(&mut far).poll_write(cx, b"more").is_ready();
        written && reader.poll_chunk(cx, usize::MAX).is_ready()
    });
    assert!(ended);
}
