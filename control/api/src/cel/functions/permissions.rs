//! `authorizer.group('apps').resource('deployments').check('create').allowed()`: a question is put together, and asked.

use std::sync::Arc;

use crate::cel::access::{
    AUTHORIZER, Access, DECISION, Decision, GROUP_CHECK, PATH_CHECK, Question, RESOURCE_CHECK, Stage,
};
use crate::cel::budget::Fault;
use crate::cel::evaluate::Machine;
use crate::cel::signature::Kind::{Bool, Opaque, String};
use crate::cel::signature::{Answer, Overload, member};
use crate::cel::value::Value;

const ROOT: crate::cel::signature::Kind = Opaque(AUTHORIZER);
const PATH: crate::cel::signature::Kind = Opaque(PATH_CHECK);
const GROUP: crate::cel::signature::Kind = Opaque(GROUP_CHECK);
const RESOURCE: crate::cel::signature::Kind = Opaque(RESOURCE_CHECK);
const DECIDED: crate::cel::signature::Kind = Opaque(DECISION);

/// As Kubernetes has it: a question is dear.
const CHECK_COST: u64 = 350_000;

pub(crate) static TABLE: &[Overload] = &[
    member("serviceAccount", &[ROOT, String, String], ROOT, service_account),
    member("path", &[ROOT, String], PATH, path),
    member("group", &[ROOT, String], GROUP, group),
    member("resource", &[GROUP, String], RESOURCE, |_, given| {
        refined(given, |question, said| question.resource = said)
    }),
    member("subresource", &[RESOURCE, String], RESOURCE, |_, given| {
        refined(given, |question, said| question.subresource = said)
    }),
    member("namespace", &[RESOURCE, String], RESOURCE, |_, given| {
        refined(given, |question, said| question.namespace = said)
    }),
    member("name", &[RESOURCE, String], RESOURCE, |_, given| refined(given, |question, said| question.name = said)),
    member("fieldSelector", &[RESOURCE, String], RESOURCE, |_, given| {
        refined(given, |question, said| question.field_selector = Some(said))
    }),
    member("labelSelector", &[RESOURCE, String], RESOURCE, |_, given| {
        refined(given, |question, said| question.label_selector = Some(said))
    }),
    member("check", &[PATH, String], DECIDED, check),
    member("check", &[RESOURCE, String], DECIDED, check),
    member("allowed", &[DECIDED], Bool, |_, given| Ok(Value::Bool(decision(given)?.is_allowed))),
    member("reason", &[DECIDED], String, |_, given| Ok(Value::text(decision(given)?.reason.as_str()))),
    member("errored", &[DECIDED], Bool, |_, given| Ok(Value::Bool(decision(given)?.error.is_some()))),
    member("error", &[DECIDED], String, |_, given| {
        Ok(Value::text(decision(given)?.error.as_deref().unwrap_or_default()))
    }),
];

fn access<'v, 'a>(given: &'v [Value<'a>]) -> Result<&'v Access<'a>, Fault> {
    match given.first() {
        Some(Value::Access(access)) => Ok(access),
        _ => Err(Fault::no_overload()),
    }
}

fn said(given: &[Value<'_>], place: usize) -> Result<std::string::String, Fault> {
    given.get(place).and_then(Value::as_str).map(str::to_owned).ok_or_else(Fault::no_overload)
}

fn made(access: Access<'_>) -> Answer<'_> {
    Ok(Value::Access(Arc::new(access)))
}

fn decision<'v>(given: &'v [Value<'_>]) -> Result<&'v Decision, Fault> {
    match &access(given)?.stage {
        Stage::Decided(decision) => Ok(decision),
        _ => Err(Fault::no_overload()),
    }
}

fn service_account<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    let access = access(given)?;
    match &access.stage {
        Stage::Root(request, _) => {
            made(access.at(Stage::Root(request.clone(), Some((said(given, 1)?, said(given, 2)?)))))
        }
        _ => Err(Fault::no_overload()),
    }
}

fn path<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    let access = access(given)?;
    let Stage::Root(_, account) = &access.stage else { return Err(Fault::no_overload()) };
    let question = Question { service_account: account.clone(), path: Some(said(given, 1)?), ..Question::default() };
    made(access.at(Stage::Path(question)))
}

fn group<'a>(_: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    let access = access(given)?;
    let Stage::Root(_, account) = &access.stage else { return Err(Fault::no_overload()) };
    let question = Question { service_account: account.clone(), group: said(given, 1)?, ..Question::default() };
    made(access.at(Stage::Group(question)))
}

fn refined<'a>(given: &[Value<'a>], refine: fn(&mut Question, std::string::String)) -> Answer<'a> {
    let access = access(given)?;
    let (Stage::Group(question) | Stage::Resource(question)) = &access.stage else { return Err(Fault::no_overload()) };
    let mut question = question.clone();
    refine(&mut question, said(given, 1)?);
    made(access.at(Stage::Resource(question)))
}

fn check<'a>(machine: &mut Machine<'_, 'a>, given: &[Value<'a>]) -> Answer<'a> {
    let access = access(given)?;
    let (Stage::Path(question) | Stage::Resource(question)) = &access.stage else { return Err(Fault::no_overload()) };
    machine.spend(CHECK_COST)?;
    made(access.decide(&Question { verb: said(given, 1)?, ..question.clone() }))
}
