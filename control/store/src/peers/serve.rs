//! The other end: what a member answers to another that has dialled it.

use std::io;
use std::sync::Arc;

use futures::StreamExt;
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::sync::mpsc;

use super::line::{FRAMES_MAX, pour};
use crate::MemberId;
use crate::consensus::{AppendRequest, Raft, Transfer, Whole};
use crate::fault::{Bug, planted};
use crate::runtime::Tasks;
use crate::store::Parts;
use crate::transport::Connection;
use crate::wire::{self, Answer, Append, Asked, Begin, Call, Hello, Installed, Lane, Piece, Replied, Told, Welcome};

/// Answers on one connection until the other end closes it.
pub(crate) async fn serve(parts: &Arc<Parts>, connection: Connection) -> io::Result<()> {
    let (reader, mut writer) = tokio::io::split(connection);
    let mut reader = BufReader::with_capacity(wire::TOGETHER_BYTES, reader);
    let Some(Hello { from, to, lane }) = wire::read(&mut reader).await? else { return Ok(()) };
    let member = parts.member();
    if to != member {
        return wire::write(&mut writer, &Welcome::Other(member)).await;
    }
    wire::write(&mut writer, &Welcome::Yes).await?;
    tracing::debug!(member = from, ?lane, "connected");
    match lane {
        Lane::Calls => calls(parts, &mut reader, &mut writer).await,
        Lane::Appends => appends(&parts.raft, &mut reader, &mut writer).await,
        Lane::Transfer => transfer(&parts.raft, from, &mut reader, &mut writer).await,
    }
}

type Reader<'a> = &'a mut (dyn AsyncRead + Unpin + Send);
type Writer<'a> = &'a mut (dyn AsyncWrite + Unpin + Send);

async fn calls(parts: &Arc<Parts>, mut reader: Reader<'_>, mut writer: Writer<'_>) -> io::Result<()> {
    let (replies, sent) = mpsc::channel(FRAMES_MAX);
    let reading = async {
        let mut answering = Tasks::new();
        while let Some(Asked { number, call }) = wire::read(&mut reader).await? {
            while answering.try_join_next().is_some() {}
            let (parts, replies) = (parts.clone(), replies.clone());
            answering.spawn(async move {
                if let Some(answer) = answer(&parts, call).await {
                    // The connection may have ended meanwhile.
                    let _ = replies.send(Replied { number, answer }).await;
                }
            });
        }
        io::Result::Ok(())
    };
    tokio::select! {
        biased;
        ended = reading => ended,
        ended = wire::write_all(&mut writer, sent) => ended,
    }
}

/// The answer to a question; none where this member is going down.
async fn answer(parts: &Parts, call: Call) -> Option<Answer> {
    let raft = &parts.raft;
    match call {
        Call::Vote(request) => raft.vote(request).await.ok().map(Answer::Vote),
        Call::PreVote(request) => raft.pre_vote(request).await.ok().map(Answer::Vote),
        Call::HandOver(request) => raft.handle_transfer_leader(request).await.ok().map(Answer::HandOver),
        Call::Propose(command) => parts.commit(command).await,
        Call::ReadIndex => parts.committed().await,
        Call::Change(change) => parts.change_here(change).await,
    }
}

async fn appends(raft: &Raft, mut reader: Reader<'_>, mut writer: Writer<'_>) -> io::Result<()> {
    let (replies, sent) = mpsc::channel(FRAMES_MAX);
    let reading = async {
        let mut telling = Tasks::new();
        let mut current: Option<(u64, mpsc::Sender<AppendRequest>)> = None;
        while let Some(Append { session, request }) = wire::read(&mut reader).await? {
            while telling.try_join_next().is_some() {}
            let requests = match current.take() {
                Some((number, requests)) if number == session => requests,
                _ => {
                    let (requests, pending) = mpsc::channel(FRAMES_MAX);
                    telling.spawn(tell(raft.clone(), session, pending, replies.clone()));
                    requests
                }
            };
            // A session that was refused takes nothing more; what is under way of it is dropped.
            let _ = requests.send(request).await;
            current = Some((session, requests));
        }
        io::Result::Ok(())
    };
    tokio::select! {
        biased;
        ended = reading => ended,
        ended = wire::write_all(&mut writer, sent) => ended,
    }
}

/// Appends what comes in, and tells how each of it went.
async fn tell(raft: Raft, session: u64, mut pending: mpsc::Receiver<AppendRequest>, replies: mpsc::Sender<Told>) {
    let requests = futures::stream::poll_fn(move |context| pending.poll_recv(context));
    let mut results = std::pin::pin!(raft.stream_append(requests));
    while let Some(Ok(result)) = results.next().await {
        if replies.send(Told { session, result }).await.is_err() {
            return;
        }
    }
}

async fn transfer(raft: &Raft, from: MemberId, mut reader: Reader<'_>, mut writer: Writer<'_>) -> io::Result<()> {
    let (received, mut pieces) = mpsc::channel(2);
    let reading = async {
        pour(&mut reader, &received).await?;
        drop(received);
        // Whoever sent it waits for the answer.
        std::future::pending().await
    };
    let installing = async {
        let (begin, whole) = gather(&mut pieces).await?;
        tracing::info!(from, revision = whole.world.revision().0, "the whole world arrived");
        let transfer = Transfer { meta: begin.meta, snapshot: whole };
        let response = raft.install_full_snapshot(begin.vote, transfer).await.map_err(io::Error::other)?;
        wire::write(&mut writer, &Installed(response.vote)).await
    };
    tokio::select! {
        biased;
        ended = reading => ended,
        ended = installing => ended,
    }
}

/// Puts a world together out of its pieces.
async fn gather(pieces: &mut mpsc::Receiver<Piece>) -> io::Result<(Begin, Whole)> {
    let broken = |why: &str| io::Error::new(io::ErrorKind::InvalidData, format!("a broken transfer: {why}"));
    let Some(Piece::Begin(begin)) = pieces.recv().await else { return Err(broken("it has no beginning")) };
    let mut objects = Vec::new();
    loop {
        match pieces.recv().await {
            Some(Piece::Objects(more) | Piece::Deflated(more)) => objects.extend(more),
            Some(Piece::End(count)) if count == objects.len() as u64 => {
                if planted(Bug::TransferCut) {
                    objects.pop();
                }
                break;
            }
            Some(Piece::End(_)) => return Err(broken("objects are missing")),
            Some(Piece::Begin(_)) => return Err(broken("it begins twice")),
            None => return Err(broken("it has no end")),
        }
    }
    let world = state::Snapshot::load(begin.revision, objects);
    let sessions = Arc::new(begin.sessions.clone());
    Ok((*begin, Whole { world, sessions }))
}
