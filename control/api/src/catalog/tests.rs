use super::*;
use crate::kinds;

#[test]
fn every_kind_is_found_by_name_and_by_resource() {
    for kind in all() {
        let names = kind.names();
        assert_eq!(by_kind(kind.group_kind()).map(Kind::names), Some(names));
        assert_eq!(by_resource(names.group, names.version, names.plural).map(Kind::names), Some(names));
        assert!(crate::schema::message(&crate::schema::of_kind(names)).is_some(), "{} has fields", names.kind);
    }
    assert!(by_kind(kinds::DEPLOYMENT).is_some() && by_resource("apps", "v1beta1", "deployments").is_none());
}
