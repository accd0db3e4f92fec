//! Questions over UDP: many at a time, most of them answered by copying.
//!
//! One thread has one socket and shares nothing with the others but the published zone. It takes what has come, answers
//! what [`Wire`](crate::zone::wire::Wire) can answer, sends that in one system call, and hands the rest to tasks that
//! take the long way. There are only so many of these: beyond, a question is dropped, and its asker asks again.

use std::io::IoSlice;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::op::Edns;
use hickory_proto::rr::Record;
use hickory_proto::serialize::binary::BinEncoder;
use hickory_server::net::NetError;
use hickory_server::net::runtime::TokioTime;
use hickory_server::net::xfer::Protocol;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponse;
use rustix::io::Errno;
use rustix::net::{MMsgHdr, RecvFlags, SendAncillaryBuffer, SendFlags, SocketAddrAny, recvfrom, sendmmsg};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::answer::Answerer;
use crate::limit::{Limit, Verdict};
use crate::tables::Tables;
use crate::zone::wire::UDP_BYTES_MAX;

/// Questions answered at once.
const BATCH: usize = 64;
/// Longer questions are not ones that this server could answer.
const REQUEST_BYTES_MAX: usize = 2048;
const HEADER_BYTES: usize = 12;
/// How often a thread looks up from a silent socket.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long a thread rests if its socket does nothing but fail.
const REST: Duration = Duration::from_millis(100);
/// Questions of one socket on the long way at once.
pub(crate) const LONG_WAY_MAX: usize = 1000;

/// One socket and what its thread needs.
pub(crate) struct Door {
    socket: Arc<UdpSocket>,
    answerer: Arc<Answerer>,
    runtime: Handle,
    permits: Arc<Semaphore>,
    limit: Limit,
}

/// The way back for an answer that took the long way.
#[derive(Clone)]
struct Back {
    socket: Arc<UdpSocket>,
    to: SocketAddr,
}

// === impl Door ===

impl Door {
    pub(crate) fn new(
        socket: UdpSocket,
        answerer: Arc<Answerer>,
        runtime: Handle,
        permits: Arc<Semaphore>,
    ) -> std::io::Result<Self> {
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let limit = Limit::new(Instant::now());
        Ok(Self { socket: Arc::new(socket), answerer, runtime, permits, limit })
    }

    /// Answers until told to stop.
    pub(crate) fn serve(mut self, stop: &AtomicBool) {
        let mut request = vec![0; REQUEST_BYTES_MAX];
        let mut answers: Vec<Vec<u8>> = (0..BATCH).map(|_| Vec::with_capacity(UDP_BYTES_MAX)).collect();
        let mut sources: Vec<SocketAddrAny> = Vec::with_capacity(BATCH);
        while !stop.load(Ordering::Relaxed) {
            // Waits for the first question, and takes with it those that have come as well.
            let mut tables = None;
            let mut flags = RecvFlags::TRUNC;
            for _ in 0..BATCH {
                let (length, source) = match recvfrom(self.socket.as_fd(), &mut request[..], flags) {
                    Ok((_, length, source)) => (length, source),
                    Err(Errno::AGAIN | Errno::INTR) => break,
                    Err(error) => {
                        tracing::warn!(error = &error as &dyn std::error::Error, "questions cannot be received");
                        std::thread::sleep(REST);
                        break;
                    }
                };
                flags |= RecvFlags::DONTWAIT;
                let (Some(source), Some(request)) = (source, request.get(..length)) else { continue };
                let Ok(address) = SocketAddr::try_from(source.clone()) else { continue };
                let tables = tables.get_or_insert_with(|| self.answerer.tables());
                let answer = &mut answers[sources.len()];
                answer.clear();
                if self.answer(tables, request, address, answer) {
                    sources.push(source);
                }
            }
            self.send(&answers, &sources);
            sources.clear();
        }
    }

    /// Writes the answer if that can be done here and now.
    fn answer(&mut self, tables: &Tables, request: &[u8], source: SocketAddr, answer: &mut Vec<u8>) -> bool {
        if source.port() == 0 {
            return false;
        }
        // An answer that came here is not answered: two servers could do so for ever.
        let Some(header) = request.get(..HEADER_BYTES).filter(|header| header[2] & 0x80 == 0) else { return false };
        let asker = self.answerer.asker(source);
        if !asker.is_served {
            match self.limit.judge(source.ip(), Instant::now()) {
                Verdict::Answer => {}
                Verdict::Drop => return false,
                Verdict::Defer => {
                    // Too long for UDP, as far as this asker is concerned.
                    answer.extend_from_slice(&[header[0], header[1], 0x82 | (header[2] & 0x79), 0]);
                    answer.extend_from_slice(&[0; HEADER_BYTES - 4]);
                    return true;
                }
            }
        }
        if self.answerer.answer_wire(tables, asker, request, answer) {
            return true;
        }
        if let Ok(permit) = self.permits.clone().try_acquire_owned() {
            let (answerer, request) = (self.answerer.clone(), request.to_vec());
            let back = Back { socket: self.socket.clone(), to: source };
            self.runtime.spawn(async move {
                take_long_way(&answerer, request, back).await;
                drop(permit);
            });
        }
        false
    }

    fn send(&self, answers: &[Vec<u8>], to: &[SocketAddrAny]) {
        let slices: Vec<[IoSlice<'_>; 1]> = answers[..to.len()].iter().map(|answer| [IoSlice::new(answer)]).collect();
        let mut controls: Vec<SendAncillaryBuffer<'_, '_, '_>> = to.iter().map(|_| Default::default()).collect();
        let parts = to.iter().zip(&slices).zip(&mut controls);
        let mut messages: Vec<MMsgHdr<'_>> =
            parts.map(|((to, slice), control)| MMsgHdr::new_with_addr(to, slice, control)).collect();
        let mut rest = &mut messages[..];
        while !rest.is_empty() {
            let sent = match sendmmsg(self.socket.as_fd(), rest, SendFlags::empty()) {
                Ok(sent) => sent,
                Err(error) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, "an answer could not be sent");
                    // The first of them could not be; the others are not to suffer for it.
                    1
                }
            };
            rest = rest.get_mut(sent.max(1)..).unwrap_or_default();
        }
    }
}

/// Parses and answers as over any other way; what cannot be read is told so.
async fn take_long_way(answerer: &Answerer, request: Vec<u8>, back: Back) {
    let header: [u8; 4] = [request[0], request[1], request[2], request[3]];
    match Request::from_bytes(request, back.to, Protocol::Udp) {
        Ok(request) => {
            answerer.handle_request::<_, TokioTime>(&request, back).await;
        }
        Err(error) => {
            tracing::debug!(error = &error as &dyn std::error::Error, "a question cannot be read");
            let [high, low, flags, _] = header;
            back.send(&[high, low, 0x80 | (flags & 0x79), 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        }
    }
}

// === impl Back ===

impl Back {
    fn send(&self, answer: &[u8]) {
        if let Err(error) = self.socket.send_to(answer, self.to) {
            tracing::debug!(error = &error as &dyn std::error::Error, "an answer could not be sent");
        }
    }
}

#[async_trait::async_trait]
impl ResponseHandler for Back {
    async fn send_response<'a>(
        &mut self,
        response: MessageResponse<
            '_,
            'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
        >,
    ) -> Result<ResponseInfo, NetError> {
        let mut bytes = Vec::with_capacity(512);
        let mut encoder = BinEncoder::new(&mut bytes);
        encoder.set_max_size(response.edns().map_or(512, Edns::max_payload));
        let info = response.destructive_emit(&mut encoder)?;
        self.send(&bytes);
        Ok(info)
    }
}
