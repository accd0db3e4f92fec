//! What the servers have agreed about authorities.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};

/// Who signs, and who is trusted beside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Agreed {
    /// The layout of this; a newer one is refused.
    layout: u32,
    /// How many steps were taken: the later of two is the one that holds.
    pub(crate) step: u64,
    /// Who signs.
    pub(crate) signing: Pair,
    /// The certificate of whoever signs, as the other has signed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cross: Option<String>,
    pub(crate) phase: Phase,
}

/// A certificate and its key, both PEM.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// How far a rotation is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "name", deny_unknown_fields)]
pub(crate) enum Phase {
    /// One authority signs, and no other is trusted.
    Settled,
    /// The next is trusted, and does not sign yet.
    Introduced {
        next: Pair,
        /// The certificate of the next, as whoever signs has signed it.
        next_cross: String,
    },
    /// The next signs, and the last is trusted still.
    Turned {
        /// The certificate of the last. Its key is gone.
        last: String,
    },
}

const LAYOUT: u32 = 1;

/// What every layout says.
#[derive(Deserialize)]
struct Layout {
    layout: u32,
}

// === impl Agreed ===

impl Agreed {
    /// There was only ever this one.
    pub(crate) fn founded(signing: Pair) -> Self {
        Self { layout: LAYOUT, step: 0, signing, cross: None, phase: Phase::Settled }
    }

    pub(crate) fn read(text: &str) -> anyhow::Result<Self> {
        // Whatever else a newer one says, it may say in other words.
        let layout = serde_json::from_str::<Layout>(text).map_or(LAYOUT, |written| written.layout);
        if layout > LAYOUT {
            bail!(
                "what is agreed about authorities was written by a newer version: its layout is {layout}, and this version knows {LAYOUT}; \
                 start the version that wrote it, or a later one"
            );
        }
        let agreed: Self = serde_json::from_str(text).context("what is agreed about authorities cannot be read")?;
        if agreed.layout != LAYOUT {
            bail!("what is agreed about authorities has layout {}, and there is none", agreed.layout);
        }
        Ok(agreed)
    }

    /// The next is to be trusted; each has signed the certificate of the other.
    pub(crate) fn introduced(&self, next: Pair, next_cross: String, own_cross: String) -> Option<Self> {
        let phase = Phase::Introduced { next, next_cross };
        let is_free = self.phase == Phase::Settled;
        is_free.then(|| Self { step: self.step + 1, cross: Some(own_cross), phase, ..self.clone() })
    }

    /// The next is to sign.
    pub(crate) fn turned(&self) -> Option<Self> {
        let Phase::Introduced { next, next_cross } = &self.phase else { return None };
        let phase = Phase::Turned { last: self.signing.certificate.clone() };
        let (signing, cross) = (next.clone(), Some(next_cross.clone()));
        Some(Self { layout: LAYOUT, step: self.step + 1, signing, cross, phase })
    }

    /// The last is not to be trusted any more.
    pub(crate) fn retired(&self) -> Option<Self> {
        let is_turned = matches!(self.phase, Phase::Turned { .. });
        is_turned.then(|| Self { step: self.step + 1, cross: None, phase: Phase::Settled, ..self.clone() })
    }

    /// The certificates of all who are trusted, whoever signs first.
    pub(crate) fn bundle(&self) -> String {
        format!("{}{}", self.signing.certificate, self.other().unwrap_or_default())
    }

    /// What goes along with a certificate, for those who trust only the other.
    pub(crate) fn cross(&self) -> &str {
        self.cross.as_deref().unwrap_or_default()
    }

    /// The certificate of the one who is trusted and does not sign.
    pub(crate) fn other(&self) -> Option<&str> {
        match &self.phase {
            Phase::Settled => None,
            Phase::Introduced { next, .. } => Some(&next.certificate),
            Phase::Turned { last } => Some(last),
        }
    }

    /// What whoever signs is known by.
    pub(crate) fn signer(&self) -> anyhow::Result<String> {
        fingerprint(&self.signing.certificate)
    }
}

/// What the authority of a certificate (PEM) is known by.
pub(crate) fn fingerprint(certificate: &str) -> anyhow::Result<String> {
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).context("the authority is not PEM")?;
    Ok(trust::fingerprint(&certificate))
}

/// Which of `all` have not come so far.
pub(crate) fn behind(all: &BTreeSet<String>, reached: &BTreeMap<String, u64>, step: u64) -> Vec<String> {
    all.iter().filter(|one| reached.get(*one).is_none_or(|reached| *reached < step)).cloned().collect()
}

// === impl Pair ===

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pair")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str) -> Pair {
        Pair { certificate: format!("{name}\n"), key: format!("key of {name}") }
    }

    fn told(agreed: &Agreed) -> String {
        format!("{} {} | {}", agreed.step, agreed.bundle(), agreed.cross()).replace('\n', ",")
    }

    #[test]
    fn one_takes_the_place_of_the_other_step_by_step() {
        let settled = Agreed::founded(pair("A"));
        assert_eq!(told(&settled), "0 A, | ");
        assert_eq!((settled.turned(), settled.retired()), (None, None));
        let introduced = settled.introduced(pair("B"), "B by A\n".into(), "A by B\n".into()).expect("a step");
        assert_eq!(told(&introduced), "1 A,B, | A by B,");
        assert_eq!(introduced.introduced(pair("C"), String::new(), String::new()), None);
        assert_eq!(introduced.retired(), None);
        let turned = introduced.turned().expect("a step");
        assert_eq!(told(&turned), "2 B,A, | B by A,");
        assert_eq!(turned.signing.key, "key of B");
        assert!(!serde_json::to_string(&turned).expect("JSON").contains("key of A"), "who does not sign needs no key");
        let again = turned.retired().expect("a step");
        assert_eq!(told(&again), "3 B, | ");
        for agreed in [settled, introduced, turned, again] {
            let text = serde_json::to_string(&agreed).expect("JSON");
            assert_eq!(Agreed::read(&text).expect("read"), agreed);
        }
    }

    #[test]
    fn the_file_is_the_one_on_disk_everywhere() {
        let introduced =
            Agreed::founded(pair("A")).introduced(pair("B"), "B by A\n".into(), "A by B\n".into()).expect("a step");
        assert_eq!(serde_json::to_string(&introduced).expect("JSON"), GOLDEN);
        let settled = Agreed::founded(pair("A"));
        let text =
            r#"{"layout":1,"step":0,"signing":{"certificate":"A\n","key":"key of A"},"phase":{"name":"settled"}}"#;
        assert_eq!(serde_json::to_string(&settled).expect("JSON"), text);
        let refused = Agreed::read(r#"{"layout":2,"signers":[]}"#).expect_err("newer").to_string();
        assert!(refused.contains("its layout is 2, and this version knows 1; start the version"), "{refused}");
    }

    const GOLDEN: &str = r#"{"layout":1,"step":1,"signing":{"certificate":"A\n","key":"key of A"},"cross":"A by B\n","phase":{"name":"introduced","next":{"certificate":"B\n","key":"key of B"},"nextCross":"B by A\n"}}"#;

    #[test]
    fn nothing_else_is_taken_for_it() {
        for wrong in ["", "{}", r#"{"layout":0}"#] {
            assert!(Agreed::read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn who_is_behind_is_named() {
        let all = ["1", "2", "3"].map(String::from).into();
        let reached = BTreeMap::from([("1".to_owned(), 2), ("2".to_owned(), 1), ("9".to_owned(), 0)]);
        assert_eq!(behind(&all, &reached, 2), ["2", "3"]);
        assert_eq!(behind(&all, &reached, 1), ["3"]);
    }
}
