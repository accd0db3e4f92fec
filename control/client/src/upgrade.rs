//! Byte streams through the API server: HTTP/1.1 connections that change their protocol.

use http::header::{CONNECTION, UPGRADE};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::connection::full;
use crate::{Client, ClientError, heed_silence};

/// A connection that no longer speaks HTTP.
pub type Upgraded = TokioIo<hyper::upgrade::Upgraded>;

/// What is spoken before the change.
const HTTP: &[u8] = b"http/1.1";

// === impl Client ===

impl Client {
    /// Opens `path` on a connection of its own and changes it to `protocol`.
    pub async fn upgrade(&self, path: &str, protocol: &str) -> Result<Upgraded, ClientError> {
        let (server, stream) = self.target().dial_any(HTTP).await?;
        self.upgraded(&server, stream, path, protocol).await
    }

    /// The same at this server.
    pub async fn upgrade_at(&self, server: &str, path: &str, protocol: &str) -> Result<Upgraded, ClientError> {
        let stream = self.target().dial_at(server, HTTP).await?;
        self.upgraded(server, stream, path, protocol).await
    }

    async fn upgraded(
        &self,
        server: &str,
        stream: TlsStream<TcpStream>,
        path: &str,
        protocol: &str,
    ) -> Result<Upgraded, ClientError> {
        let silence = |source| ClientError::Connect { server: server.into(), source };
        heed_silence(stream.get_ref().0).map_err(silence)?;
        let failed = |source| ClientError::Http { server: server.into(), source };
        let (mut sender, driver) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        // Ends with the upgraded connection.
        tokio::spawn(async move {
            if let Err(error) = driver.with_upgrades().await {
                tracing::debug!(%error, "upgraded connection ended");
            }
        });
        let request =
            Request::builder().method(Method::GET).uri(path).header(CONNECTION, "upgrade").header(UPGRADE, protocol);
        let mut request = request.body(full("")).map_err(|error| ClientError::Request(error.to_string()))?;
        self.target().address(server, &mut request);
        let answer = sender.send_request(request).await.map_err(failed)?;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return hyper::upgrade::on(answer).await.map(TokioIo::new).map_err(failed);
        }
        let code = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.map_err(failed)?.to_bytes();
        Err(ClientError::refused(code, &bytes))
    }
}
