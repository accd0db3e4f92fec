//! `pods/NAME/exec` and `pods/NAME/attach`: a client at the streams of a command.
//!
//! | asked | spoken |
//! |---|---|
//! | WebSocket, `v5.channel.k8s.io` or `v4` | messages that begin with their channel: kubectl since 1.30, Python, kube-rs, Node |
//! | `Upgrade: SPDY/3.1`, `v4.channel.k8s.io` | a stream for each channel: kubectl before that |
//!
//! Either way it is one request over the node's link, with the client's pieces in its body and the command's in the answer's. What
//! one side does not read the other side does not get to send: connections and the link hold some hundred kilobytes, no more. When
//! the client is gone the request is, and with it the command.

mod asked;
mod channels;
mod session;
mod streams;

use std::sync::Arc;
use std::time::Duration;

use api::{StatusError, Subresource};
use http::HeaderMap;
use hyper::upgrade::OnUpgrade;
use tokio_stream::wrappers::ReceiverStream;
use tracing::debug;

use super::switch::{self, Offer};
use super::wire::{self, Framing};
use crate::Door;
use crate::answer::Answer;
use crate::query::Query;
use crate::target::Target;
use asked::Asked;
use session::Session;

/// What is spoken in messages; the newer one lets the client end its input.
const CHANNELS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];
/// What is spoken in streams.
const STREAMS: &str = "v4.channel.k8s.io";

/// So many pieces of the client wait for the node before the client is not read any more.
const PIECES_MAX: usize = 16;

/// What the client has sent meanwhile is read for so long after the end: a connection that is closed on unread bytes is
/// reset, and the client would lose the command's last words.
const LINGER: Duration = Duration::from_secs(5);

/// What a connection becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Channels(&'static str),
    Streams,
}

/// Switches the protocol, and carries the streams for as long as the command and the client last.
pub(super) async fn answer(
    door: &Arc<Door>,
    target: &Target,
    part: Subresource,
    headers: &HeaderMap,
    query: Option<&str>,
    upgrade: Option<OnUpgrade>,
) -> Result<Answer, StatusError> {
    let pod = super::object(door, target, target.name()).await?;
    let asked = Asked::read(&pod, part, &Query::parse(query))?;
    let protocol = protocol(headers)?;
    let upgrade = upgrade.ok_or_else(|| StatusError::bad_request("this connection cannot be upgraded"))?;
    let answer = match protocol {
        Protocol::Channels(name) => switch::to_websocket(headers, name)?,
        Protocol::Streams => switch::to_spdy(STREAMS),
    };
    let going_on = door.metrics.goes_on(crate::metrics::Asked::connect(target));
    let (links, closing) = (door.links.clone(), door.closing.clone());
    door.tasks.spawn(async move {
        let _going_on = going_on;
        let upgraded = match upgrade.await {
            Ok(upgraded) => upgraded,
            Err(error) => return debug!(%error, "no connection for the streams of a command"),
        };
        let framing = if protocol == Protocol::Streams { Framing::Plain } else { Framing::WebSocket };
        let (mut reader, writer, written) = wire::open(upgraded, framing);
        let (outgoing, pieces) = tokio::sync::mpsc::channel(PIECES_MAX);
        let session = Session::open(&links, &asked, ReceiverStream::new(pieces));
        let talking = async {
            let ended = match protocol {
                Protocol::Channels(_) => channels::serve(&mut reader, writer, &asked, outgoing, session).await,
                Protocol::Streams => streams::serve(&mut reader, writer, &asked, outgoing, session).await,
            };
            match ended {
                Ok(()) => Some(reader),
                Err(error) => {
                    debug!(%error, node = %asked.node, "the streams of a command broke");
                    None
                }
            }
        };
        // What is queued still goes out at the end; when the client is gone there is nothing to do.
        let over = async {
            tokio::pin!(talking, written);
            tokio::select! {
                reader = &mut talking => {
                    let rest = reader.map(wire::Reader::rest);
                    written.await;
                    if let Some(rest) = rest {
                        let _ = tokio::time::timeout(LINGER, rest).await;
                    }
                }
                () = &mut written => {}
            }
        };
        tokio::select! {
            () = over => {}
            () = closing.cancelled() => {}
        }
    });
    Ok(answer)
}

/// The best that the client offers of what is spoken here.
fn protocol(headers: &HeaderMap) -> Result<Protocol, StatusError> {
    let offer = Offer::of(headers);
    let unable = || offer.unable(&CHANNELS);
    if offer.asks_for("websocket") {
        return offer.first(&CHANNELS).map(Protocol::Channels).ok_or_else(unable);
    }
    if offer.asks_for(switch::SPDY) {
        return offer.first(&[STREAMS]).map(|_| Protocol::Streams).ok_or_else(unable);
    }
    Err(switch::needed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;

    fn check(headers: &[(&str, &str)], expect: Result<Protocol, u16>) {
        let mut asked = HeaderMap::new();
        for (name, value) in headers {
            asked.append(name.parse::<HeaderName>().expect("a name"), value.parse().expect("a value"));
        }
        assert_eq!(protocol(&asked).map_err(|error| error.code()), expect, "{headers:?}");
    }

    #[test]
    fn each_client_is_spoken_to_in_its_own_protocol() {
        let socket = |protocols| [("upgrade", "websocket"), ("sec-websocket-protocol", protocols)];
        check(&socket("v5.channel.k8s.io, v4.channel.k8s.io"), Ok(Protocol::Channels("v5.channel.k8s.io")));
        check(&socket("v4.channel.k8s.io"), Ok(Protocol::Channels("v4.channel.k8s.io")));
        check(&socket("channel.k8s.io"), Err(403));
        let streams = [("upgrade", "SPDY/3.1"), ("x-stream-protocol-version", "v5.channel.k8s.io")];
        check(&streams, Err(403));
        let streams = [streams[0], streams[1], ("x-stream-protocol-version", "v4.channel.k8s.io")];
        check(&streams, Ok(Protocol::Streams));
        check(&[("upgrade", "h2c")], Err(400));
        check(&[], Err(400));
    }
}
