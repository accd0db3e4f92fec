//! A webhook of admission in this process, over HTTPS.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use api::rules::webhooks::TIMEOUT_SECONDS;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// A webhook, served from this process; gone with the value.
pub(crate) struct Hook {
    pub(crate) address: SocketAddr,
    /// Its certificate, as a configuration names it.
    bundle: String,
    /// What it was asked.
    pub(crate) asked: Arc<Mutex<Vec<Value>>>,
    _runtime: Runtime,
}

impl Hook {
    /// Answers each request with what `answer` says of it.
    pub(crate) fn new(answer: fn(&Value) -> Value) -> Self {
        let (acceptor, certificate) = acceptor("127.0.0.1");
        let bundle = base64(certificate.as_bytes());
        let runtime = Runtime::new().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = asked.clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, heard) = (acceptor.clone(), heard.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(|request| review(request, answer, heard.clone()));
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { address, bundle, asked, _runtime: runtime }
    }

    /// A configuration that asks it about config maps of `shop`.
    pub(crate) fn configuration(&self, kind: &str, policy: &str) -> String {
        format!(
            "apiVersion: admissionregistration.k8s.io/v1
kind: {kind}
metadata: {{name: hook.example.com}}
webhooks:
- name: maps.hook.example.com
  sideEffects: None
  admissionReviewVersions: [v1]
  failurePolicy: {policy}
  clientConfig: {{url: 'https://{}/review', caBundle: {}}}
  namespaceSelector: {{matchLabels: {{environment: test}}}}
  matchConditions: [{{name: not-free, expression: \"object == null || !('free' in object.metadata.?labels.orValue({{}}))\"}}]
  rules:
  - {{apiGroups: [''], apiVersions: [v1], operations: [CREATE, UPDATE, DELETE], resources: [configmaps]}}
",
            self.address, self.bundle
        )
    }
}

/// Takes TLS connections as `name`, which nobody but its own certificate (PEM) vouches for.
pub(crate) fn acceptor(name: &str) -> (TlsAcceptor, String) {
    let key = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
    let private = PrivateKeyDer::try_from(key.signing_key.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], private)
        .expect("a certificate and its key");
    (TlsAcceptor::from(Arc::new(config)), key.cert.pem())
}

async fn review(
    request: Request<Incoming>,
    answer: fn(&Value) -> Value,
    heard: Arc<Mutex<Vec<Value>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let timeout = format!("timeout={TIMEOUT_SECONDS}s");
    assert_eq!((request.uri().path(), request.uri().query()), ("/review", Some(&*timeout)));
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let review: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut response = answer(&review["request"]);
    response["uid"] = review["request"]["uid"].clone();
    heard.lock().expect("not poisoned").push(review["request"].clone());
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
    Ok(Response::new(Full::from(review.to_string())))
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
