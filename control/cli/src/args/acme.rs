//! What an operator says about certificates from an ACME directory.

use std::path::PathBuf;

use clap::Args;
use instant_acme::LetsEncrypt;

use crate::acme::{Config, Directory};

#[derive(Debug, Clone, Args)]
pub(crate) struct Acme {
    /// The ACME directory for Ingresses with the annotation `coracle.dev/acme` or `cert-manager.io/cluster-issuer`, which
    /// agrees to its terms; nobody talks to it before there is one
    #[arg(long = "acme-directory", env = "CORACLE_ACME_DIRECTORY", value_name = "URL", value_parser = https,
        default_value = LetsEncrypt::Production.url())]
    directory: String,
    /// Where the directory may write to about these certificates
    #[arg(long = "acme-email", env = "CORACLE_ACME_EMAIL", value_name = "ADDRESS")]
    email: Option<String>,
    /// The certificates that vouch for the directory, PEM [default: those that this machine trusts]
    #[arg(long = "acme-ca", env = "CORACLE_ACME_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
}

// === impl Acme ===

impl Acme {
    /// Where certificates come from.
    pub(crate) fn config(&self) -> anyhow::Result<Config> {
        let directory = Directory::new(&self.directory, self.ca.as_deref())?;
        Ok(Config { directory, email: self.email.clone() })
    }
}

fn https(url: &str) -> Result<String, String> {
    let parsed = url.parse::<http::Uri>().map_err(|error| error.to_string())?;
    let is_https = parsed.scheme_str() == Some("https") && parsed.host().is_some_and(|host| !host.is_empty());
    if is_https { Ok(url.to_owned()) } else { Err("not a URL such as https://acme.example/directory".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_spoken_to_in_private() {
        assert!(https("https://127.0.0.1:14000/dir").is_ok());
        for wrong in ["http://acme.example/", "acme.example", "https://", "/dir", "not a url"] {
            assert!(https(wrong).is_err(), "{wrong}");
        }
    }
}
