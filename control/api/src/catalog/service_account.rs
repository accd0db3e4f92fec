//! An identity for pods.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ServiceAccount;
use serde_json::Value;

use super::{AGE, NAME, integer};
use crate::rules::Causes;
use crate::{Column, Names, Resource, Scope, Subresource, cells};

/// The kind.
#[derive(Debug)]
pub struct ServiceAccounts;

impl Resource for ServiceAccounts {
    type Object = ServiceAccount;

    const NAMES: &'static Names = &Names {
        group: "",
        version: "v1",
        kind: "ServiceAccount",
        plural: "serviceaccounts",
        singular: "serviceaccount",
        short: &["sa"],
        categories: &[],
        scope: Scope::Namespaced,
    };
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Token];
    const COLUMNS: &'static [Column] = &[NAME, integer("Secrets", "How many secrets it names."), AGE];

    fn validate(_account: &ServiceAccount, _causes: &mut Causes) {}

    fn cells(account: &ServiceAccount, now: Timestamp) -> Vec<Value> {
        let secrets = account.secrets.as_ref().map_or(0, Vec::len);
        vec![cells::name(&account.metadata), secrets.into(), cells::age(&account.metadata, now)]
    }
}
