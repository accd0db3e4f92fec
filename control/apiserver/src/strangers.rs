//! What strangers may send, for those who try what happens: the parsers of this crate behind plain functions.
//!
//! Not for use by anything else; `tests/fuzz` calls them with bytes that nobody would send.

use api::Kinds;

use crate::list::Continue;
use crate::negotiate::{Encoding, Offer};
use crate::query::Query;
use crate::target::Target;
use crate::{body, negotiate, spdy, target, websocket};

/// A path and a query, as a request line has them.
pub fn url(text: &str) {
    let (path, query) = text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query)));
    if let Ok(target) = Target::find(&Kinds::default(), path) {
        assert!(target.name().len() <= path.len(), "a name is a part of its path");
    }
    let _ = target::proxied(path);
    let query = Query::parse(query);
    let _ = query.list_options();
    let _ = query.write_options("PatchOptions");
    let _ = query.get("continue").map(Continue::decode);
}

/// What a header says the client takes, and sends.
pub fn media(text: &str) {
    let _ = negotiate::form(Some(text), Offer::Objects);
    let _ = negotiate::form(Some(text), Offer::Discovery);
    let _ = negotiate::encoding(Some(text));
    if let Some(kind) = api::catalog::by_kind(api::kinds::POD) {
        let _ = negotiate::patch_type(Some(text), kind);
    }
}

/// A body in YAML.
pub fn yaml(bytes: &[u8]) {
    let _ = body::decode(Encoding::Yaml, bytes, "ConfigMap");
    let _ = body::decode_apply(bytes);
}

/// What comes over a WebSocket, in pieces of this size.
pub fn websocket(bytes: &[u8], piece: usize) {
    let mut decoder = websocket::Decoder::default();
    for bytes in bytes.chunks(piece.max(1)) {
        decoder.push(bytes);
        while let Ok(Some(_)) = decoder.next() {}
    }
}

/// What comes over a connection that speaks SPDY, in pieces of this size.
pub fn spdy(bytes: &[u8], piece: usize) {
    let mut decoder = spdy::Decoder::new();
    for bytes in bytes.chunks(piece.max(1)) {
        decoder.push(bytes);
        while let Ok(Some(_)) = decoder.next() {}
    }
}
