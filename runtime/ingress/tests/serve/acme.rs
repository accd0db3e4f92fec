//! What a directory sees that looks whether a host is ours.

use ingress::acme::Proof;
use rustls_pki_types::CertificateDer;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::tls::{tls, try_tls};
use crate::world::{Edge, PATIENCE, Plan, get, http1, read, secret};

const ACME_TLS: &[u8] = b"acme-tls/1";

async fn with(proof: Proof) -> (Edge, CertificateDer<'static>) {
    let (certificate, shown) = secret();
    let extra = vec![certificate, proof.secret().expect("a secret")];
    (Plan { extra, ..Plan::default() }.start().await, shown)
}

#[tokio::test]
async fn a_token_is_answered_before_any_route_or_redirect() {
    let (host, token, answer) = ("web.example".to_owned(), "evaGxfADs6pS".to_owned(), "evaGxfADs6pS.thumb".to_owned());
    let (edge, _) = with(Proof::Http { host, token, answer }).await;
    for (host, path, expected) in [
        ("web.example", "/.well-known/acme-challenge/evaGxfADs6pS", "200 evaGxfADs6pS.thumb"),
        ("WEB.example:80", "/.well-known/acme-challenge/evaGxfADs6pS", "200 evaGxfADs6pS.thumb"),
        ("web.example", "/.well-known/acme-challenge/evaGxfADs6pS/", "308 308: web.example is served at"),
        ("web.example", "/.well-known/acme-challenge/another", "308 308: web.example is served at"),
        ("b.wild.example", "/.well-known/acme-challenge/evaGxfADs6pS", "308 308: b.wild.example is served at"),
        ("nobody.example", "/.well-known/acme-challenge/evaGxfADs6pS", "404 404: no ingress answers"),
    ] {
        let answer = http1(edge.http).await.send_request(get(host, path)).await.expect("an answer");
        let (status, headers, body) = read(answer).await;
        let told = format!("{} {body}", status.as_u16());
        assert!(told.starts_with(expected), "{host}{path}: {told}");
        let is_proof = body == "evaGxfADs6pS.thumb";
        assert_eq!(is_proof, expected.ends_with("thumb"), "{host}{path}: {headers:?}");
    }
}

#[tokio::test]
async fn the_certificate_that_proves_a_host_is_shown_to_who_asks_for_it_alone() {
    let (edge, usual) = with(Proof::Tls { host: "web.example".into(), digest: [7; 32] }).await;
    let mut stream = tls(&edge, "web.example", &[ACME_TLS]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(ACME_TLS));
    let proof = stream.get_ref().1.peer_certificates().expect("a certificate")[0].clone().into_owned();
    assert_ne!(proof, usual);
    let said = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await.expect("in time");
    assert_eq!(said.expect("a whole end"), 0, "nothing follows");

    for protocols in [&[&b"h2"[..]][..], &[], &[ACME_TLS, b"http/1.1"], &[b"http/1.1", ACME_TLS]] {
        let stream = tls(&edge, "web.example", protocols).await;
        let connection = stream.get_ref().1;
        assert_eq!(connection.peer_certificates().expect("a certificate")[0], usual, "{protocols:?}");
        assert_ne!(connection.alpn_protocol(), Some(ACME_TLS), "{protocols:?}");
    }
    for host in ["other.example", "a.wild.example"] {
        try_tls(&edge, host, &[ACME_TLS]).await.expect_err("nothing proves it");
    }
}
