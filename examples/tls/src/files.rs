//! Certificates and keys in files.

use std::fs;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::Fault;

/// What an authority has signed is trusted.
pub fn authorities(file: &str) -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate)?;
    }
    Ok(roots)
}

pub fn certificates(file: &str) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let pem = read(file)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    all.map_err(|error| format!("{file}: {error}").into())
}

pub fn key(file: &str) -> Result<PrivateKeyDer<'static>, Fault> {
    PrivateKeyDer::from_pem_slice(read(file)?.as_bytes()).map_err(|error| format!("{file}: {error}").into())
}

pub fn read(file: &str) -> Result<String, Fault> {
    fs::read_to_string(file).map_err(|error| format!("{file}: {error}").into())
}
