//! How Raft speaks to another member: votes are questions, entries a stream with many batches under way, a snapshot a transfer
//! on a connection of its own.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, Stream, StreamExt};
use openraft::error::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{AppendEntriesResponse, SnapshotResponse, TransferLeaderResponse};
use openraft::{AnyError, OptionalSend, RPCTypes, RaftNetworkFactory, RaftNetworkV2};
use tokio::sync::mpsc::error::TrySendError;

use super::{
    AppendRequest, Appended, HandOver, LogId, Member, Transfer, Types, Vote, VoteRequest, VoteResponse, Whole,
};
use crate::MemberId;
use crate::fault::{Bug, planted};
use crate::peers::{Caller, Line, Peers, SILENCE_MAX};
use crate::runtime::{self, Instant};
use crate::transport::Peer;
use crate::wire::{self, Answer, Append, Call, Installed, Lane, Piece, Told};

/// Batches under way to one member at a time. Each is at most a few MiB, and a disk writes what it finds queued up in one go.
const UNDER_WAY_MAX: usize = 32;

/// Makes the ways to all members.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    peers: Arc<Peers>,
}

/// The way to one of them.
pub(crate) struct ToMember {
    peers: Arc<Peers>,
    peer: Peer,
    caller: Arc<Caller>,
    /// For votes and their like.
    patience: Duration,
    line: Option<Line<Append, Told>>,
    session: u64,
    /// Since when something is unanswered on the line.
    waiting_since: Option<Instant>,
}

/// One session of appending.
struct Session<'s, S> {
    to: &'s mut ToMember,
    input: S,
    is_input_over: bool,
    /// How many batches are unanswered.
    under_way: usize,
    /// How far its log is when all is answered.
    sent: Option<LogId>,
    is_over: bool,
}

// === impl Network ===

impl Network {
    pub(crate) fn new(peers: Arc<Peers>) -> Self {
        Self { peers }
    }
}

impl RaftNetworkFactory<Types> for Network {
    type Network = ToMember;

    async fn new_client(&mut self, target: MemberId, member: &Member) -> ToMember {
        let peer = Peer { member: target, address: member.address.clone() };
        let caller = self.peers.caller(&peer);
        ToMember {
            peers: self.peers.clone(),
            peer,
            caller,
            patience: SILENCE_MAX,
            line: None,
            session: 0,
            waiting_since: None,
        }
    }
}

// === impl ToMember ===

impl ToMember {
    async fn ask(&self, call: Call) -> Result<Answer, RPCError<Types>> {
        self.caller.ask(call, self.patience).await.map_err(|_| self.unreachable().into())
    }

    async fn elect(&self, call: Call) -> Result<VoteResponse, RPCError<Types>> {
        match self.ask(call).await? {
            Answer::Vote(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    fn unreachable(&self) -> Unreachable<Types> {
        let Peer { member, address } = &self.peer;
        Unreachable::new(&AnyError::error(format!("member {member} at {address} does not answer")))
    }

    fn silent(&self) -> Timeout<Types> {
        let (id, target) = (self.peers.member, self.peer.member);
        Timeout { action: RPCTypes::AppendEntries, id, target, timeout: SILENCE_MAX }
    }

    /// What comes in on the line; none once it is broken.
    async fn told(&mut self) -> Option<Told> {
        self.line.as_mut()?.receive.recv().await
    }

    /// The line there is, or a new one if that is broken or has gone silent.
    fn line(&mut self) -> &mut Line<Append, Told> {
        let is_silent = self.waiting_since.is_some_and(|since| since.elapsed() > SILENCE_MAX);
        let kept = self.line.take().filter(|line| !is_silent && !line.send.is_closed());
        if kept.is_none() {
            self.waiting_since = None;
        }
        let Peers { member, transport, .. } = &*self.peers;
        let fresh = || Line::open(*member, self.peer.clone(), Lane::Appends, transport.clone());
        self.line.insert(kept.unwrap_or_else(fresh))
    }
}

impl RaftNetworkV2<Types> for ToMember {
    type SnapshotData = Whole;

    async fn append_entries(
        &mut self,
        request: AppendRequest,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let input = futures::stream::iter([request]);
        let mut results = self.stream_append(input, option).await?;
        let result = results.next().await;
        drop(results);
        result.unwrap_or_else(|| Err(self.unreachable().into())).map(AppendEntriesResponse::from)
    }

    fn stream_append<S>(
        &mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'_, Result<BoxStream<'_, Result<Appended, RPCError<Types>>>, RPCError<Types>>>
    where
        S: Stream<Item = AppendRequest> + OptionalSend + Unpin + 'static,
    {
        self.session += 1;
        let session = Session { to: self, input, is_input_over: false, under_way: 0, sent: None, is_over: false };
        let results = futures::stream::unfold(session, |mut session| async move {
            let result = session.next().await?;
            session.is_over = !matches!(result, Ok(Ok(_)));
            Some((result, session))
        });
        async move { Ok(results.boxed()) }.boxed()
    }

    async fn vote(&mut self, request: VoteRequest, _option: RPCOption) -> Result<VoteResponse, RPCError<Types>> {
        self.elect(Call::Vote(request)).await
    }

    async fn pre_vote(&mut self, request: VoteRequest, _option: RPCOption) -> Result<VoteResponse, RPCError<Types>> {
        self.elect(Call::PreVote(request)).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Transfer,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let Peers { member, transport, .. } = &*self.peers;
        let mut line: Line<Piece, Installed> =
            Line::open(*member, self.peer.clone(), Lane::Transfer, transport.clone());
        let broken = || StreamingError::Unreachable(self.unreachable());
        let sending = async {
            for piece in wire::pieces(vote, snapshot.meta, &snapshot.snapshot) {
                line.send.send(piece).await.map_err(|_| broken())?;
            }
            let Installed(vote) = line.receive.recv().await.ok_or_else(broken)?;
            Ok(SnapshotResponse { vote })
        };
        tokio::select! {
            biased;
            sent = sending => sent,
            closed = cancel => Err(closed.into()),
            () = runtime::sleep(option.hard_ttl()) => Err(broken()),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: HandOver,
        _option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        match self.ask(Call::HandOver(request)).await? {
            Answer::HandOver(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }
}

// === impl Session ===

impl<S: Stream<Item = AppendRequest> + Unpin> Session<'_, S> {
    /// How the next batch went. None when all that there was to send has been answered: an error would be taken for one of the
    /// session that follows.
    async fn next(&mut self) -> Option<Result<Appended, RPCError<Types>>> {
        while !self.is_over {
            // A line that breaks while nothing is under way concerns nobody. Raft holds back its next request after an error, so
            // nobody is dialled before there is one.
            if self.under_way == 0 {
                if self.is_input_over {
                    return None;
                }
                let request = self.input.next().await?;
                self.to.line();
                if let Err(error) = self.send(request) {
                    return Some(Err(error));
                }
            }
            let deadline = self.to.waiting_since.unwrap_or_else(Instant::now) + SILENCE_MAX;
            let may_send = !self.is_input_over && self.under_way < UNDER_WAY_MAX;
            tokio::select! {
                biased;
                told = self.to.told() => match told {
                    None => return Some(Err(self.to.unreachable().into())),
                    Some(told) => {
                        let is_of_this_session = told.session == self.to.session;
                        self.under_way -= usize::from(is_of_this_session);
                        self.to.waiting_since = (self.under_way > 0).then(Instant::now);
                        if is_of_this_session {
                            return Some(Ok(told.result));
                        }
                    }
                },
                request = self.input.next(), if may_send => match request {
                    None => self.is_input_over = true,
                    Some(request) => if let Err(error) = self.send(request) {
                        return Some(Err(error));
                    },
                },
                () = runtime::sleep_until(deadline) => {
                    if planted(Bug::QuorumMinusOne) {
                        (self.under_way, self.to.waiting_since) = (0, None);
                        return Some(Ok(Ok(self.sent)));
                    }
                    return Some(Err(self.to.silent().into()));
                }
            }
        }
        None
    }

    fn send(&mut self, request: AppendRequest) -> Result<(), RPCError<Types>> {
        let session = self.to.session;
        let Some(line) = &self.to.line else { return Err(self.to.unreachable().into()) };
        self.sent = request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id);
        match line.send.try_send(Append { session, request }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(self.to.silent().into()),
            Err(TrySendError::Closed(_)) => return Err(self.to.unreachable().into()),
        }
        self.under_way += 1;
        self.to.waiting_since.get_or_insert_with(Instant::now);
        Ok(())
    }
}

fn unexpected(answer: &Answer) -> RPCError<Types> {
    RPCError::Network(NetworkError::new(&AnyError::error(format!("an answer to another question: {answer:?}"))))
}
