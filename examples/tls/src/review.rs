//! An admission webhook: what is made is told, in an annotation, which labels it has. Asked again, it says the same again.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::http::Message;
use crate::{Fault, files, http};

const ANNOTATION: &str = "example.com/labels";
/// Who says nothing for so long is not waited for: one is served at a time.
const PATIENCE: Duration = Duration::from_secs(5);

pub fn serve(address: &str, cert: &str, key: &str) -> Result<(), Fault> {
    let config = ServerConfig::builder_with_provider(Arc::new(rustls_rustcrypto::provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(files::certificates(cert)?, files::key(key)?)?;
    let config = Arc::new(config);
    let listener = TcpListener::bind(address)?;
    println!("listens on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept()?;
        if let Err(error) = answer(stream, &config) {
            eprintln!("tls: {error}");
        }
    }
}

fn answer(stream: TcpStream, config: &Arc<ServerConfig>) -> Result<(), Fault> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut stream = StreamOwned::new(ServerConnection::new(config.clone())?, stream);
    let Message { first, body } = http::read(&mut stream, false)?;
    println!("{first}");
    let review: Value = serde_json::from_slice(&body)?;
    let said = reviewed(&review).to_string();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{said}",
        said.len()
    )?;
    stream.conn.send_close_notify();
    stream.flush()?;
    Ok(())
}

fn reviewed(review: &Value) -> Value {
    let request = &review["request"];
    let metadata = &request["object"]["metadata"];
    let labels: Vec<&str> =
        metadata["labels"].as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let mut annotations = metadata["annotations"].as_object().cloned().unwrap_or_default();
    annotations.insert(ANNOTATION.into(), labels.join(",").into());
    let patch = json!([{"op": "add", "path": "/metadata/annotations", "value": annotations}]).to_string();
    let response =
        json!({"uid": request["uid"], "allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(patch)});
    json!({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response})
}
