use proptest::prelude::*;

use super::*;

/// A stream as a client opens it.
fn open(deflate: &mut Deflate, stream: u32, headers: &[(&str, &str)]) -> Bytes {
    let block = deflate.headers(headers).expect("compressed");
    let mut frame = control(SYN_STREAM, 10 + block.len());
    frame.put_u32(stream);
    frame.put_u32(0);
    frame.put_u16(0);
    frame.put_slice(&block);
    frame.freeze()
}

fn frames(decoder: &mut Decoder) -> Vec<Frame> {
    std::iter::from_fn(|| decoder.next().expect("frames")).collect()
}

#[test]
fn a_client_opens_streams_and_sends() {
    let (mut decoder, mut deflate) = (Decoder::new(), Deflate::new());
    let headers = [("streamtype", "error"), ("port", "8080"), ("requestid", "0")];
    let owned: Vec<(String, String)> = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    decoder.push(&open(&mut deflate, 1, &headers));
    decoder.push(&data(1, Bytes::new(), true));
    decoder.push(&open(&mut deflate, 3, &headers));
    decoder.push(&data(3, Bytes::from_static(b"GET"), false));
    decoder.push(&pong(7));
    decoder.push(&more(3, 10));
    decoder.push(&reset(3));
    let expect = [
        Frame::Open { stream: 1, headers: owned.clone(), ends: false },
        Frame::Data { stream: 1, bytes: Bytes::new(), ends: true },
        Frame::Open { stream: 3, headers: owned, ends: false },
        Frame::Data { stream: 3, bytes: Bytes::from_static(b"GET"), ends: false },
        Frame::Ping(7),
        Frame::Reset(3),
    ];
    assert_eq!(frames(&mut decoder), expect);
}

#[test]
fn a_reply_carries_no_headers() {
    let (mut encoder, mut inflate) = (Encoder::new(), Inflate::new());
    for stream in [1, 3] {
        let reply = encoder.accept(stream).expect("a frame");
        assert_eq!(reply[..8], [0x80, 3, 0, 2, 0, 0, 0, (reply.len() - 8) as u8]);
        assert_eq!(reply[8..12], [0, 0, 0, stream as u8]);
        assert_eq!(inflate.headers(&reply[12..]), Ok(Vec::new()));
    }
}

#[test]
fn much_is_sent_in_several_frames() {
    let mut decoder = Decoder::new();
    decoder.push(&data(5, Bytes::from(vec![7; DATA_BYTES_MAX + 1]), true));
    let told: Vec<(usize, bool)> = frames(&mut decoder)
        .into_iter()
        .map(|frame| match frame {
            Frame::Data { stream: 5, bytes, ends } => (bytes.len(), ends),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, [(DATA_BYTES_MAX, false), (1, true)]);
}

#[test]
fn what_is_no_spdy_is_refused() {
    let refused = |bytes: &[u8]| {
        let mut decoder = Decoder::new();
        decoder.push(bytes);
        decoder.next()
    };
    assert_eq!(refused(b"\x80\x02\0\x01\0\0\0\0"), Err(Malformed::Version));
    assert_eq!(refused(b"\x80\x03\0\x03\0\0\0\0"), Err(Malformed::Short));
    assert_eq!(refused(b"\0\0\0\x01\0\xff\xff\xff"), Err(Malformed::Large(0x00ff_ffff)));
    assert_eq!(refused(b"\x80\x03\0\x01\0\0\0\x0c\0\0\0\x01\0\0\0\0\0\0zz"), Err(Malformed::Headers));
    assert_eq!(refused(b"\x80\x03\0"), Ok(None));
}

proptest! {
    #[test]
    fn however_the_bytes_are_cut_the_frames_are_the_same(cuts in prop::collection::vec(1..40_usize, 1..60)) {
        let mut deflate = Deflate::new();
        let mut whole = BytesMut::new();
        for stream in [1, 3, 5] {
            whole.extend_from_slice(&open(&mut deflate, stream, &[("streamtype", "data"), ("port", "80")]));
            whole.extend_from_slice(&data(stream, Bytes::from(vec![stream as u8; 50]), false));
        }
        let mut at_once = Decoder::new();
        at_once.push(&whole);
        let mut in_pieces = Decoder::new();
        let mut told = Vec::new();
        let mut rest = whole.freeze();
        for cut in cuts {
            in_pieces.push(&rest.split_to(cut.min(rest.len())));
            told.extend(frames(&mut in_pieces));
        }
        in_pieces.push(&rest);
        told.extend(frames(&mut in_pieces));
        prop_assert_eq!(told, frames(&mut at_once));
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut decoder = Decoder::new();
        decoder.push(&bytes);
        while let Ok(Some(_)) = decoder.next() {}
    }
}
