//! How a node asks for itself: its probes, its hooks, the proxy of the API.
//!
//! Each question has a connection of its own. Over a connection there may be TLS with whatever certificate the other side
//! shows, as a kubelet takes it: what is asked is how somebody is, not who. Who answers requests in this process is asked as
//! it is; there is nothing to encrypt.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use futures::future::BoxFuture;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{Fabric, bridge};
use crate::stream::carry;
use crate::{Fault, Origin, Reach, Refused, Request, Response, Stream};

/// Whether what is said over a connection is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Security {
    /// It is not.
    #[default]
    Plain,
    /// TLS; whatever certificate is shown is taken.
    Tls,
}

/// Takes whatever certificate is shown, if whoever shows it has its key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl Fabric {
    /// Whether requests are answered at an address of this node without a connection.
    pub fn answers_requests(&self, address: SocketAddr) -> bool {
        self.shared.handlers.load().contains_key(&address)
    }

    /// Connects `origin` to `to`, as far as `reach` lets it.
    pub fn connect_as(
        &self,
        origin: &Origin,
        reach: Reach,
        to: SocketAddr,
    ) -> BoxFuture<'static, Result<Stream, Refused>> {
        let (fabric, origin) = (self.clone(), origin.clone());
        Box::pin(async move {
            let source = fabric.source(&origin, to);
            fabric.reach(&origin, reach, source, to).await
        })
    }

    /// Has `request` of `origin` answered at `to`, over a connection of its own.
    pub async fn ask(
        &self,
        origin: &Origin,
        reach: Reach,
        security: Security,
        to: SocketAddr,
        request: Request,
    ) -> Result<Response, Fault> {
        if self.answers_requests(to) {
            return self.send(origin, to, request).await;
        }
        let mut stream = self.connect_as(origin, reach, to).await?;
        if security == Security::Tls {
            let name = request.uri().host().unwrap_or_default();
            let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
            stream = self.secure(stream, &name).await.map_err(|error| Fault::Connection(error.into()))?;
        }
        let asked = self.home(async move { bridge::ask(stream, to, request).await }).await;
        asked.unwrap_or(Err(Fault::Unreachable(to)))
    }

    /// Puts TLS over a connection to whoever is called `name`. What is then said over it is encrypted on the way.
    pub async fn secure(&self, stream: Stream, name: &str) -> io::Result<Stream> {
        static CONNECTOR: LazyLock<Result<TlsConnector, rustls::Error>> = LazyLock::new(connector);
        let connector = CONNECTOR.as_ref().map_err(|error| io::Error::other(error.clone()))?;
        let address = stream.remote();
        let name = ServerName::try_from(name.to_owned()).unwrap_or(ServerName::IpAddress(address.ip().into()));
        let (limit, local) = (self.shared.config.connect_timeout, stream.local());
        let shaken = self.home(async move { timeout(limit, connector.connect(name, stream)).await }).await;
        let secured = shaken.ok_or(io::ErrorKind::ConnectionAborted)?.map_err(io::Error::from)??;
        let (near, far) = Stream::pair(local, address);
        self.start(async move {
            if let Err(error) = carry(far, secured).await {
                tracing::debug!(%address, error = &error as &dyn std::error::Error, "an encrypted connection broke off");
            }
        });
        Ok(near)
    }
}

fn connector() -> Result<TlsConnector, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let anybody = Arc::new(Anybody(provider));
    let config = builder.dangerous().with_custom_certificate_verifier(anybody).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

// === impl Anybody ===

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use rustls::ServerConfig;
    use tokio_rustls::TlsAcceptor;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{Citizen, Config, EgressPolicy, Latest, ServiceTable, empty, full, handler};

    /// TLS with a certificate that nobody has signed.
    fn acceptor() -> TlsAcceptor {
        let made = rcgen::generate_simple_self_signed(vec!["nobody.example".to_owned()]).expect("a certificate");
        let key = made.signing_key.serialize_der().try_into().expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a pair");
        TlsAcceptor::from(Arc::new(config))
    }

    async fn check(fabric: &Fabric, reach: Reach, security: Security, to: SocketAddr, expected: Result<&str, &str>) {
        let request = http::Request::get(format!("https://{to}/healthz")).body(empty()).expect("a request");
        let found = match fabric.ask(&fabric.node(), reach, security, to, request).await {
            Ok(response) => Ok(response.into_body().collect().await.expect("a body").to_bytes()),
            Err(fault) => Err(fault.to_string()),
        };
        assert_eq!(found.as_deref().map_err(String::as_str), expected.map(str::as_bytes), "{to}");
    }

    #[tokio::test]
    async fn whoever_shows_a_certificate_is_asked() {
        let fabric = Fabric::new();
        let addresses = vec![[10, 42, 0, 2].into()];
        let pod =
            fabric.attach(Citizen { namespace: "shop".into(), name: "web".into(), addresses, host_network: false });
        let mut listener =
            pod.bind(SocketAddr::from(([0, 0, 0, 0], 8443))).and_then(|socket| socket.listen(8)).expect("free");
        let serving = tokio::spawn(async move {
            let acceptor = acceptor();
            while let Ok(stream) = listener.accept().await {
                let Ok(secured) = acceptor.accept(stream).await else { continue };
                let answer =
                    handler(|request: Request| async move { Ok(Response::new(full(request.uri().path().to_owned()))) });
                bridge::serve(answer, secured, CancellationToken::new()).await;
            }
        });
        let at = |port| SocketAddr::from(([10, 42, 0, 2], port));
        check(&fabric, Reach::Pod, Security::Tls, at(8443), Ok("/healthz")).await;
        check(&fabric, Reach::Pod, Security::Plain, at(8443), Err("the connection failed")).await;
        check(&fabric, Reach::Pod, Security::Tls, at(81), Err("nobody answers at 10.42.0.2:81")).await;
        let hello = handler(|_| async { Ok(Response::new(full("hello"))) });
        let _bound = fabric.bind(at(80), hello);
        check(&fabric, Reach::Pod, Security::Tls, at(80), Ok("hello")).await;
        serving.abort();
    }

    #[tokio::test]
    async fn the_nodes_own_loopback_is_for_who_is_on_its_network() {
        let real = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let at = real.local_addr().expect("bound");
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = real.accept().await {
                let hello = handler(|_| async { Ok(Response::new(full("from the node"))) });
                bridge::serve(hello, stream, CancellationToken::new()).await;
            }
        });
        let config = Config { egress: EgressPolicy::default(), ..Config::default() };
        let fabric = Fabric::over(Latest::fixed(ServiceTable::default()), config);
        let refused = "127.0.0.1 is not to be reached from a pod";
        check(&fabric, Reach::Pod, Security::Plain, at, Err(refused)).await;
        check(&fabric, Reach::Node, Security::Plain, at, Ok("from the node")).await;
        serving.abort();
    }
}
