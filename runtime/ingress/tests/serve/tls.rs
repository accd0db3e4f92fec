//! TLS: whose certificate, which protocol.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature_with_raw_key};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use serde_json::json;
use state::Txn;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::world::{Edge, PATIENCE, Plan, get, http1 as client1, read, secret, standard};

#[tokio::test]
async fn the_certificate_is_that_of_the_name_asked_for_and_of_now() {
    let (first, first_certificate) = secret();
    let edge = Plan { extra: vec![first], ..Plan::default() }.start().await;
    assert_eq!(shown(&edge, "web.example").await, first_certificate);
    assert_eq!(shown(&edge, "any.wild.example").await, first_certificate);
    let unsigned = shown(&edge, "other.example").await;
    assert_ne!(unsigned, first_certificate);
    assert_eq!(shown(&edge, "a.b.wild.example").await, unsigned);

    let (second, second_certificate) = secret();
    let (next, _) = edge.view.borrow().apply(&Txn::default().put(second)).expect("applies");
    edge.view.send_replace(next);
    let renewed = async { while shown(&edge, "web.example").await != second_certificate {} };
    timeout(PATIENCE, renewed).await.expect("in time");
}

#[tokio::test]
async fn both_protocols_are_spoken_over_tls() {
    let edge = standard().await;
    let mut request = get("web.example", "/headers");
    let stream = tls(&edge, "web.example", &[b"http/1.1"]).await;
    let (mut client, connection) = http1::handshake(TokioIo::new(stream)).await.expect("spoken");
    tokio::spawn(connection);
    let told = read(client.send_request(request).await.expect("an answer")).await.2;
    assert!(told.contains("x-forwarded-proto: https"), "{told}");

    let stream = tls(&edge, "web.example", &[b"h2", b"http/1.1"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("spoken");
    tokio::spawn(connection);
    request = http::Request::get("https://web.example/headers").body(Full::default()).expect("a request");
    let told = read(client.send_request(request).await.expect("an answer")).await.2;
    assert!(told.starts_with("https://web.example/headers"), "{told}");
}

async fn shown(edge: &Edge, name: &str) -> CertificateDer<'static> {
    let stream = tls(edge, name, &[b"h2"]).await;
    stream.get_ref().1.peer_certificates().expect("a certificate")[0].clone().into_owned()
}

pub(crate) async fn tls(edge: &Edge, name: &str, protocols: &[&[u8]]) -> tokio_rustls::client::TlsStream<TcpStream> {
    try_tls(edge, name, protocols).await.expect("a handshake")
}

pub(crate) async fn try_tls(
    edge: &Edge,
    name: &str,
    protocols: &[&[u8]],
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let stream = TcpStream::connect(edge.https).await.expect("connected");
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    timeout(PATIENCE, connector.connect(name, stream)).await.expect("in time")
}

/// Takes any certificate, as long as the server has its key: the tests look at it themselves.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        // By its key alone: what proves a host to a directory says something that the usual check stops at.
        let parsed = x509_parser::parse_x509_certificate(certificate);
        let (_, parsed) = parsed.map_err(|_| rustls::CertificateError::BadEncoding)?;
        let key = SubjectPublicKeyInfoDer::from(parsed.public_key().raw);
        verify_tls13_signature_with_raw_key(message, &key, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[tokio::test]
async fn a_host_with_a_certificate_is_sent_to_https() {
    let (secret, _) = secret();
    let annotations = json!({"coracle.dev/hsts": "max-age=60"});
    let edge = Plan { extra: vec![secret.clone()], annotations, ..Plan::default() }.start().await;
    let mut client = client1(edge.http).await;
    let answer = client.send_request(get("web.example:80", "/headers?q=1")).await.expect("an answer");
    let (status, headers, _) = read(answer).await;
    let place = format!("https://web.example:{}/headers?q=1", edge.https.port());
    assert_eq!((status.as_u16(), headers["location"].to_str().expect("text")), (308, place.as_str()));

    let stream = tls(&edge, "web.example", &[b"http/1.1"]).await;
    let (mut client, connection) = http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await.expect("spoken");
    tokio::spawn(connection);
    let (status, headers, _) = read(client.send_request(get("web.example", "/")).await.expect("an answer")).await;
    assert_eq!(
        (status.as_u16(), &headers["strict-transport-security"]),
        (200, &"max-age=60".parse().expect("a value"))
    );

    let annotations = json!({"coracle.dev/ssl-redirect": "false"});
    let edge = Plan { extra: vec![secret], annotations, ..Plan::default() }.start().await;
    let answer = client1(edge.http).await.send_request(get("web.example", "/")).await.expect("an answer");
    assert_eq!(read(answer).await.0.as_u16(), 200);
    let answer = client1(edge.http).await.send_request(get("a.wild.example", "/")).await.expect("an answer");
    assert_eq!(read(answer).await.0.as_u16(), 200);
}
