//! Who vouches for whom: the cluster's certificate authority and the certificates it gives.
//!
//! The authority is made once and kept in `<data-dir>/pki`, until another takes its place (`authority`); every other certificate is cheap
//! and short, and made anew at each start and before it ends (`papers`). The administrator's, which lies in a file, is good for a year. Names follow Kubernetes: the
//! common name is the user, the organisations are the groups.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context, bail};
use controllers::CertificateOrder;
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use trust::Trust;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::authority::{Agreed, Pair};
use crate::data_dir;

/// Long enough that nobody meets its end by surprise.
const CA_DAYS: i64 = 3650;
/// Made anew at every start.
const ADMINISTRATOR_DAYS: i64 = 365;
/// As long as the issue of a certificate to a machine is good for, where nothing else is said.
pub(crate) const LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// Clocks may be behind by so much.
pub(crate) const CLOCK_SKEW: SignedDuration = SignedDuration::from_hours(24);

/// What the servers agreed on last, where there was ever another authority than the first.
const AGREED: &str = "authorities.json";

/// The cluster's certificate authority.
pub(crate) struct Authority {
    current: RwLock<Arc<Current>>,
    trust: Arc<Trust>,
    directory: PathBuf,
    /// How long a certificate is good that a machine has.
    life: SignedDuration,
}

struct Current {
    agreed: Agreed,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key, both PEM.
pub(crate) struct Credential {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    /// The authority kept in `directory`, made if there is none.
    pub(crate) fn open(directory: &Path, now: Timestamp) -> anyhow::Result<Self> {
        let (certificate_file, key_file) = (directory.join("ca.crt"), directory.join("ca.key"));
        if !certificate_file.exists() {
            fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
            let Pair { certificate, key } = fresh("coracle-ca", now)?;
            // The key first: an authority whose key is lost is worse than none.
            data_dir::write(&key_file, &key)?;
            data_dir::write(&certificate_file, &certificate)?;
        }
        let read = |file: &Path| fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()));
        let agreed_file = directory.join(AGREED);
        let agreed = if agreed_file.exists() {
            Agreed::read(&read(&agreed_file)?).with_context(|| format!("in {}", agreed_file.display()))?
        } else {
            Agreed::founded(Pair { certificate: read(&certificate_file)?, key: read(&key_file)? })
        };
        let trust = Trust::new(&agreed.bundle()).context("the certificate authority cannot be read")?;
        let current = RwLock::new(Arc::new(Current::of(agreed)?));
        let life = SignedDuration::try_from(LIFE)?;
        Ok(Self { current, trust, directory: directory.to_owned(), life })
    }

    /// The same, with certificates of machines that are good for so long.
    pub(crate) fn signing_for(self, life: Duration) -> Self {
        Self { life: SignedDuration::try_from(life).unwrap_or(SignedDuration::MAX), ..self }
    }

    /// The certificate of the cluster's administrator.
    pub(crate) fn administrator(&self, now: Timestamp) -> anyhow::Result<Credential> {
        self.user("kubernetes-admin", &[apiserver::MASTERS], now, SignedDuration::from_hours(24 * ADMINISTRATOR_DAYS))
    }

    /// The certificates of all who are trusted, PEM; the first is that of whoever signs.
    pub(crate) fn certificate(&self) -> String {
        self.now().agreed.bundle()
    }

    /// Whom others are known by, now and whenever that changes.
    pub(crate) fn trust(&self) -> &Arc<Trust> {
        &self.trust
    }

    /// What is agreed.
    pub(crate) fn agreed(&self) -> Agreed {
        self.now().agreed.clone()
    }

    /// Goes by what is agreed now. It is on the disk when this returns.
    pub(crate) fn adopt(&self, agreed: &Agreed) -> anyhow::Result<()> {
        let current = Current::of(agreed.clone())?;
        keep(&self.directory, agreed)?;
        self.trust.replace(&agreed.bundle()).context("the certificate authority cannot be used")?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(current);
        Ok(())
    }

    /// What would be agreed if another authority were introduced; none while one is.
    pub(crate) fn successor(&self, now: Timestamp) -> anyhow::Result<Option<Agreed>> {
        let agreed = self.agreed();
        let next = fresh(&format!("coracle-ca@{}", now.as_second()), now)?;
        let (next_cross, own_cross) = (cross(&next, &agreed.signing, now)?, cross(&agreed.signing, &next, now)?);
        Ok(agreed.introduced(next, next_cross, own_cross))
    }

    fn now(&self) -> Arc<Current> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A server certificate for these names and addresses.
    pub(crate) fn server(&self, names: &[String], now: Timestamp) -> anyhow::Result<Credential> {
        let mut params =
            CertificateParams::new(names.to_vec()).context("a name for the API's certificate is not a name")?;
        params = within(params, now, self.life)?;
        params.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let issued = self.issue(params)?;
        // The authorities go along too, so that a machine that joins can know one by its fingerprint.
        Ok(Credential { certificate: issued.certificate + &self.certificate(), ..issued })
    }

    /// A client certificate for a user and its groups.
    pub(crate) fn client(&self, user: &str, groups: &[&str], now: Timestamp) -> anyhow::Result<Credential> {
        self.user(user, groups, now, self.life)
    }

    fn user(&self, user: &str, groups: &[&str], now: Timestamp, life: SignedDuration) -> anyhow::Result<Credential> {
        let mut params = params(now, life)?;
        params.distinguished_name.push(DnType::CommonName, user);
        for group in groups {
            params.distinguished_name.push(DnType::OrganizationName, *group);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(params)
    }

    /// Signs a node's request with a certificate that says what the node may be, whatever the request says.
    pub(crate) fn sign_node(&self, request: &str, node: &str, now: Timestamp) -> anyhow::Result<String> {
        let request =
            CertificateSigningRequestParams::from_pem(request).context("not a certificate signing request")?;
        let mut params = params(now, self.life)?;
        params.distinguished_name.push(DnType::CommonName, format!("system:node:{node}"));
        params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let now = self.now();
        Ok(params.signed_by(&request.public_key, &now.issuer)?.pem() + now.agreed.cross())
    }

    /// Signs what a request asks for, for the usages and the time that were decided.
    pub(crate) fn sign_order(&self, order: &CertificateOrder) -> anyhow::Result<String> {
        let request = std::str::from_utf8(&order.request).context("the request is not PEM")?;
        let mut request =
            CertificateSigningRequestParams::from_pem(request).context("not a certificate signing request")?;
        let params = &mut request.params;
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        params.not_before = epoch + since_epoch(order.begins);
        params.not_after = epoch + since_epoch(order.ends);
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = order.usages.iter().filter_map(|usage| key_usage(usage)).collect();
        params.extended_key_usages = order.usages.iter().filter_map(|usage| extended_key_usage(usage)).collect();
        Ok(request.signed_by(&self.now().issuer)?.pem())
    }

    fn issue(&self, params: CertificateParams) -> anyhow::Result<Credential> {
        let (key, now) = (KeyPair::generate()?, self.now());
        let certificate = params.signed_by(&key, &now.issuer)?.pem() + now.agreed.cross();
        Ok(Credential { certificate, key: key.serialize_pem() })
    }
}

impl Current {
    fn of(agreed: Agreed) -> anyhow::Result<Self> {
        let issuer = issuer(&agreed.signing)?;
        Ok(Self { agreed, issuer })
    }
}

/// Writes what is agreed to where a server looks for it when it starts, and beside it who signs, for those who know no more.
pub(crate) fn keep(directory: &Path, agreed: &Agreed) -> anyhow::Result<()> {
    data_dir::write(&directory.join(AGREED), &serde_json::to_string(agreed)?)?;
    data_dir::write(&directory.join("ca.key"), &agreed.signing.key)?;
    data_dir::write(&directory.join("ca.crt"), &agreed.bundle())
}

fn issuer(pair: &Pair) -> anyhow::Result<Issuer<'static, KeyPair>> {
    let key = KeyPair::from_pem(&pair.key).context("the certificate authority's key cannot be read")?;
    Issuer::from_ca_cert_pem(&pair.certificate, key).context("the certificate authority cannot be read")
}

/// An authority that nobody has heard of.
fn fresh(name: &str, now: Timestamp) -> anyhow::Result<Pair> {
    let key = KeyPair::generate()?;
    let certificate = authority_params(name, now)?.self_signed(&key)?.pem();
    Ok(Pair { certificate, key: key.serialize_pem() })
}

/// The certificate of one authority as another has signed it.
fn cross(one: &Pair, other: &Pair, now: Timestamp) -> anyhow::Result<String> {
    let known = CertificateDer::from_pem_slice(one.certificate.as_bytes()).context("the authority is not PEM")?;
    let (_, known) = X509Certificate::from_der(&known).context("the authority cannot be read")?;
    let name = known.subject().iter_common_name().find_map(|name| name.as_str().ok()).unwrap_or_default();
    let crossed = authority_params(name, now)?.signed_by(issuer(one)?.key(), &issuer(other)?)?;
    // Another name, or another way to write it, and nobody finds from one to the other.
    let (_, written) = X509Certificate::from_der(crossed.der()).context("the authority cannot be read")?;
    if written.subject().as_raw() != known.subject().as_raw() {
        bail!("the authority's name, {}, is more than a common name: it cannot be rotated", known.subject());
    }
    Ok(crossed.pem())
}

fn authority_params(name: &str, now: Timestamp) -> anyhow::Result<CertificateParams> {
    let mut params = params(now, SignedDuration::from_hours(24 * CA_DAYS))?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

/// The key that signs the tokens of service accounts, as the DER of PKCS#8: kept in `directory`, made if there is none.
pub(crate) fn account_key(directory: &Path) -> anyhow::Result<Vec<u8>> {
    let file = directory.join("sa.key");
    if !file.exists() {
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        data_dir::write(&file, &KeyPair::generate()?.serialize_pem())?;
    }
    let key = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let key = PrivatePkcs8KeyDer::from_pem_slice(&key).context("the key of service accounts cannot be read")?;
    Ok(key.secret_pkcs8_der().to_vec())
}

/// A node's key and the request that asks for a certificate for it, both PEM.
pub(crate) fn node_request() -> anyhow::Result<(String, String)> {
    let key = KeyPair::generate()?;
    let request = CertificateParams::new(Vec::new())?.serialize_request(&key)?.pem()?;
    Ok((key.serialize_pem(), request))
}

/// The names under which the API is reached: the loopback, the service inside the cluster, and what the caller adds.
pub(crate) fn server_names(more: &[String], addresses: &[IpAddr]) -> Vec<String> {
    let known = [
        "localhost",
        "127.0.0.1",
        "::1",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "10.43.0.1",
    ];
    let mut names: Vec<String> = known.iter().map(ToString::to_string).collect();
    names.extend(addresses.iter().map(ToString::to_string));
    names.extend(more.iter().cloned());
    names.sort();
    names.dedup();
    names
}

/// A usage in Kubernetes' words, where it is one of the key itself.
fn key_usage(usage: &str) -> Option<KeyUsagePurpose> {
    Some(match usage {
        "signing" | "digital signature" => KeyUsagePurpose::DigitalSignature,
        "content commitment" => KeyUsagePurpose::ContentCommitment,
        "key encipherment" => KeyUsagePurpose::KeyEncipherment,
        "data encipherment" => KeyUsagePurpose::DataEncipherment,
        "key agreement" => KeyUsagePurpose::KeyAgreement,
        _ => return None,
    })
}

/// A usage in Kubernetes' words, where it is one of the certificate; only such as the cluster's signers have.
fn extended_key_usage(usage: &str) -> Option<ExtendedKeyUsagePurpose> {
    Some(match usage {
        "client auth" => ExtendedKeyUsagePurpose::ClientAuth,
        "server auth" => ExtendedKeyUsagePurpose::ServerAuth,
        _ => return None,
    })
}

/// Certificates know seconds.
fn since_epoch(at: Timestamp) -> Duration {
    Duration::from_secs(u64::try_from(at.as_second()).unwrap_or_default())
}

fn params(now: Timestamp, life: SignedDuration) -> anyhow::Result<CertificateParams> {
    within(CertificateParams::new(Vec::new())?, now, life)
}

/// Valid from before now, for clocks that differ.
fn within(mut params: CertificateParams, now: Timestamp, life: SignedDuration) -> anyhow::Result<CertificateParams> {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_epoch(now.checked_sub(CLOCK_SKEW)?);
    params.not_after = epoch + since_epoch(now.checked_add(life)?);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::{ServerName, UnixTime};
    use trust::{Judge, Shown};

    use super::*;

    #[test]
    fn the_key_of_accounts_is_made_once_and_signs() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let key = account_key(dir.path()).expect("made");
        assert_eq!(account_key(dir.path()).expect("kept"), key);
        assert!(apiserver::Issuer::new(&key).is_ok());
    }

    #[test]
    fn what_was_decided_is_signed() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let authority = Authority::open(dir.path(), Timestamp::UNIX_EPOCH).expect("made");
        let (begins, ends) = (Timestamp::UNIX_EPOCH, Timestamp::from_second(600).expect("a time"));
        let order = |request: &[u8]| CertificateOrder {
            request: request.into(),
            usages: vec!["digital signature".into(), "server auth".into()],
            begins,
            ends,
        };
        let request = include_bytes!("../../api/src/certificate_request/node.csr");
        let signed = authority.sign_order(&order(request)).expect("signed");
        assert!(signed.starts_with("-----BEGIN CERTIFICATE-----"), "{signed}");
        let mut forged = String::from_utf8(request.to_vec()).expect("PEM");
        forged = forged.replace("hAJm1xMa", "hAJm1xMb");
        assert!(authority.sign_order(&order(forged.as_bytes())).is_err(), "its signature does not hold");
    }

    #[test]
    fn who_trusts_only_one_of_two_is_convinced_until_the_last_is_retired() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let now = Timestamp::now();
        let authority = Authority::open(dir.path(), now).expect("made");
        let introduced = authority.successor(now).expect("made").expect("a step");
        let old = Trust::new(&authority.certificate()).expect("an authority");
        let new = Trust::new(introduced.other().expect("the next")).expect("an authority");
        let convinced = |trust: &Arc<Trust>| {
            let shown = authority.server(&["localhost".to_owned()], now).expect("signed");
            let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(shown.certificate.as_bytes()).collect();
            let (chain, name) = (chain.expect("PEM"), ServerName::try_from("localhost").expect("a name"));
            let (leaf, intermediates) = chain.split_first().expect("a leaf");
            trust.judge(&Shown { leaf, intermediates, name: Some(&name), now: UnixTime::now() }).is_ok()
        };
        assert_eq!((convinced(&old), convinced(&new)), (true, false));
        let turned = introduced.turned().expect("a step");
        for agreed in [&introduced, &turned] {
            authority.adopt(agreed).expect("adopted");
            assert_eq!((convinced(&old), convinced(&new)), (true, true), "step {}", agreed.step);
            assert_eq!(authority.successor(now).expect("made"), None, "one after the other");
        }
        authority.adopt(&turned.retired().expect("a step")).expect("adopted");
        assert_eq!((convinced(&old), convinced(&new)), (false, true));
        let again = Authority::open(dir.path(), now).expect("kept");
        assert_eq!((again.agreed(), again.certificate()), (authority.agreed(), new.pem().to_string()));
    }

    #[test]
    fn an_authority_is_made_once_and_kept() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let now = Timestamp::UNIX_EPOCH;
        let first = Authority::open(dir.path(), now).expect("made");
        let second = Authority::open(dir.path(), now).expect("kept");
        assert_eq!(first.certificate(), second.certificate());
        let (_, request) = node_request().expect("a request");
        assert!(second.sign_node(&request, "n1", now).expect("signed").starts_with("-----BEGIN CERTIFICATE-----"));
        assert!(second.sign_node("nonsense", "n1", now).is_err());
    }
}
