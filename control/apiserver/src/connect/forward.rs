//! `pods/NAME/portforward`: connections of the client, carried to ports of a pod.
//!
//! | asked | spoken |
//! |---|---|
//! | WebSocket, `SPDY/3.1+portforward.k8s.io` | SPDY inside of WebSocket messages: kubectl since 1.31 |
//! | `Upgrade: SPDY/3.1` | SPDY: kubectl before that |
//! | `Upgrade: coracle-port/1` | the bytes of the one port of the query: `coracle port-forward` |
//! | WebSocket, `v4.channel.k8s.io` or `v5` | channels, a pair for each port of the query: kube-rs, Python |
//!
//! Each connection is one request over the node's link: its body is what the client sends, the answer's body what the pod does.

mod channels;
mod plain;
pub(super) mod relay;
mod streams;

use std::sync::Arc;

use api::{Reason, StatusError};
use http::HeaderMap;
use hyper::upgrade::OnUpgrade;
use tracing::debug;

use super::backend::{Backend, Named};
use super::switch::{self, Offer};
use super::wire::{self, Framing};
use crate::Door;
use crate::answer::Answer;
use crate::query::Query;
use crate::target::Target;
use plain::Dialled;
use relay::Pod;
use streams::Broken;

/// What a connection becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    /// SPDY, framed or not.
    Streams(Framing),
    /// Channels, known by this name.
    Channels(&'static str),
    /// The bytes of one port.
    Port,
}

/// Who speaks it once the protocol is switched.
enum Speaker {
    Streams,
    Channels(Vec<u16>),
    Port(Dialled),
}

/// What a connection is called that carries the bytes of one port.
pub const PORT_PROTOCOL: &str = "coracle-port/1";

const STREAMS: &str = "portforward.k8s.io";
const STREAMS_FRAMED: &str = "SPDY/3.1+portforward.k8s.io";
const CHANNELS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];

/// Switches the protocol and forwards for as long as the connection lasts.
pub(super) async fn answer(
    door: &Arc<Door>,
    target: &Target,
    headers: &HeaderMap,
    query: Option<&str>,
    upgrade: Option<OnUpgrade>,
) -> Result<Answer, StatusError> {
    let pod = super::object(door, target, target.name()).await?;
    let Backend { node, namespace, pod, .. } = Backend::of_pod(&pod, Named::plain(target.name()))?;
    let protocol = protocol(headers)?;
    let upgrade = upgrade.ok_or_else(|| StatusError::bad_request("this connection cannot be upgraded"))?;
    let ports = || ports(&Query::parse(query));
    let answer = switching(protocol, headers)?;
    let pod = Pod { links: door.links.clone(), node, namespace, name: pod };
    let speaker = match protocol {
        Protocol::Streams(_) => Speaker::Streams,
        Protocol::Channels(_) => Speaker::Channels(ports()?),
        Protocol::Port => {
            let [port] = ports()?[..] else { return Err(StatusError::bad_request("one port at a time")) };
            let dialled = Dialled::new(&pod, port).await;
            Speaker::Port(dialled.map_err(|why| StatusError::new(Reason::ServiceUnavailable, why))?)
        }
    };
    let going_on = door.metrics.goes_on(crate::metrics::Asked::connect(target));
    let closing = door.closing.clone();
    door.tasks.spawn(async move {
        let _going_on = going_on;
        let upgraded = match upgrade.await {
            Ok(upgraded) => upgraded,
            Err(error) => return debug!(%error, "no connection to forward"),
        };
        let framing = match protocol {
            Protocol::Streams(framing) => framing,
            Protocol::Channels(_) => Framing::WebSocket,
            Protocol::Port => Framing::Plain,
        };
        let (reader, writer, written) = wire::open(upgraded, framing);
        let forwarding = async {
            let ended = match speaker {
                Speaker::Streams => streams::serve(reader, writer, &pod).await,
                Speaker::Channels(ports) => channels::serve(reader, writer, &pod, &ports).await.map_err(Broken::from),
                Speaker::Port(dialled) => dialled.serve(reader, writer).await.map_err(Broken::from),
            };
            if let Err(error) = ended {
                debug!(%error, pod = %pod.name, "forwarding ended");
            }
        };
        // What is queued still goes out when the forwarding ends; when the client is gone there is nothing to forward.
        let over = async {
            tokio::pin!(forwarding, written);
            tokio::select! {
                () = &mut forwarding => written.await,
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
    let known = [STREAMS, STREAMS_FRAMED, CHANNELS[0], CHANNELS[1]];
    if offer.asks_for("websocket") {
        return match offer.first(&[STREAMS_FRAMED, CHANNELS[0], CHANNELS[1]]) {
            Some(STREAMS_FRAMED) => Ok(Protocol::Streams(Framing::WebSocket)),
            Some(channels) => Ok(Protocol::Channels(channels)),
            None => Err(offer.unable(&known)),
        };
    }
    if offer.asks_for(PORT_PROTOCOL) {
        return Ok(Protocol::Port);
    }
    if offer.asks_for(switch::SPDY) {
        return offer.first(&[STREAMS]).map(|_| Protocol::Streams(Framing::Plain)).ok_or_else(|| offer.unable(&known));
    }
    Err(switch::needed())
}

fn ports(query: &Query) -> Result<Vec<u16>, StatusError> {
    let told = query.all("ports").flat_map(|ports| ports.split(','));
    let ports: Result<Vec<u16>, StatusError> = told
        .map(|port| match port.parse() {
            Ok(0) | Err(_) => Err(StatusError::bad_request(format!("invalid port {port:?}"))),
            Ok(port) => Ok(port),
        })
        .collect();
    match ports?.as_slice() {
        [] => Err(StatusError::bad_request("query parameter \"ports\" is required")),
        // A channel's number has one byte, and a port takes two channels.
        ports if ports.len() > 127 => Err(StatusError::bad_request("too many ports")),
        ports => Ok(ports.to_vec()),
    }
}

fn switching(protocol: Protocol, asked: &HeaderMap) -> Result<Answer, StatusError> {
    match protocol {
        Protocol::Streams(Framing::Plain) => Ok(switch::to_spdy(STREAMS)),
        Protocol::Streams(Framing::WebSocket) => switch::to_websocket(asked, STREAMS_FRAMED),
        Protocol::Channels(channels) => switch::to_websocket(asked, channels),
        Protocol::Port => Ok(switch::to(PORT_PROTOCOL)),
    }
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
        check(&socket(STREAMS_FRAMED), Ok(Protocol::Streams(Framing::WebSocket)));
        check(&socket("v5.channel.k8s.io, v4.channel.k8s.io"), Ok(Protocol::Channels("v5.channel.k8s.io")));
        check(&socket("v4.channel.k8s.io"), Ok(Protocol::Channels("v4.channel.k8s.io")));
        check(&socket("graphql-ws"), Err(403));
        check(
            &[("upgrade", "SPDY/3.1"), ("x-stream-protocol-version", STREAMS)],
            Ok(Protocol::Streams(Framing::Plain)),
        );
        check(&[("upgrade", "SPDY/3.1"), ("x-stream-protocol-version", "v9")], Err(403));
        check(&[("upgrade", PORT_PROTOCOL)], Ok(Protocol::Port));
        check(&[("upgrade", "h2c")], Err(400));
        check(&[], Err(400));
    }

    #[test]
    fn ports_come_in_the_query() {
        let told = |query| ports(&Query::parse(Some(query))).map_err(|error| error.message);
        assert_eq!(told("ports=80,443&ports=8080"), Ok(vec![80, 443, 8080]));
        assert_eq!(told("ports=0"), Err("invalid port \"0\"".into()));
        assert_eq!(told(""), Err("query parameter \"ports\" is required".into()));
    }
}
