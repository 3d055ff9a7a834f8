//! Rules for requests: what they can read, what they come to, and what they are refused for.

use bytes::Bytes;
use serde::Deserialize;
use toml::Spanned;

use super::super::{Refused, RuleFault, Rules, Scope, TypedRequests};
use super::LIMITS;
use crate::catalogue::{ChangeLimits, IncomingRequest, Mapped, RequestRefused};
use crate::model::{OrgNumber, UnixMs};

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    data: toml::Table,
    #[serde(default)]
    options: toml::Table,
    requests: Spanned<TypedRequests>,
}

fn compile(text: &str) -> Result<Rules, RuleFault> {
    let file: File = toml::from_str(text).unwrap();
    let known = |name: &str| name.strip_prefix("p.").and_then(|_| name.parse().ok());
    let scope = Scope {
        lets: &[],
        text,
        data: &file.data,
        options: &file.options,
        known_event: &known,
        events: &["p.asked"],
    };
    let mut rules = Rules::default();
    rules.add_requests(file.requests.span().start, file.requests.get_ref(), &scope)?;
    Ok(rules)
}

fn map_within(rules: &Rules, body: &str, id: Option<&str>, limits: &ChangeLimits) -> Result<Mapped, Refused> {
    let request = IncomingRequest {
        product: "p",
        kind: "slack",
        source: "chat",
        event: None,
        id,
        body: &Bytes::copy_from_slice(body.as_bytes()),
        at: UnixMs(1_700_000_000_123),
        org: &"acme".parse().unwrap(),
        org_number: OrgNumber(12),
    };
    rules.map(&request, limits).map_err(|refused| match refused {
        RequestRefused::Rules(refused) => refused,
        RequestRefused::NoRules => panic!("no rules"),
    })
}

fn map(rules: &Rules, body: &str) -> Result<Mapped, Refused> {
    map_within(rules, body, Some("r-1"), &LIMITS)
}

const COMMANDS: &str = "[requests]\ncommands = ['/track [task] in [project]', '/stop']\n";

/// What an expression gives, as JSON.
fn value(expression: &str, body: &str) -> Result<String, Refused> {
    let rule = format!(
        "{COMMANDS}[[requests.rules]]\nwhen = 'true'\nevent = 'p.asked'\npayload = '''{expression}'''\n"
    );
    let mapped = map(&compile(&rule).unwrap(), body)?;
    assert_eq!(mapped.answer, None);
    Ok(String::from_utf8(mapped.events[0].payload.to_vec()).unwrap())
}

#[test]
fn an_expression_has_the_variables_of_its_request() {
    let about =
        "[request.kind, request.source, request.event, request.id, request.at, request.org_number, org]";
    for (expression, json) in [
        (about, r#"["slack","chat",null,"r-1",1700000000123,12,"acme"]"#),
        ("[data, options, body]", r#"[{},{},{ "a" : 1.0 }]"#),
        ("request.number > 0 && request.number < 9007199254740992", "true"),
        (
            "command(' /TRACK  x in y ')",
            r#"{"name":"/track","usage":"/track [task] in [project]","parts":{"task":"x","project":"y"}}"#,
        ),
        ("command('/track')", r#"{"name":"/track","usage":"/track [task] in [project]","parts":{}}"#),
        ("command('/stop it').parts", "{}"),
        ("[command('track x'), command('')]", "[null,null]"),
        ("['/stop', '/track x'].map(text, command(text).name)", r#"["/stop","/track"]"#),
    ] {
        assert_eq!(value(expression, r#"{ "a" : 1.0 }"#).unwrap(), json, "{expression}");
    }
}

#[test]
fn a_request_has_the_same_number_whenever_it_comes_again() {
    let rules = compile("[[requests.rules]]\nwhen = 'true'\nevent = 'p.asked'\npayload = 'request.number'\n")
        .unwrap();
    let number = |body, id| map_within(&rules, body, id, &LIMITS).unwrap().events[0].payload.clone();
    assert_eq!(number("1", Some("a")), number("2", Some("a")));
    assert_ne!(number("1", Some("a")), number("1", Some("b")));
    // Nobody named these: they are told apart by what was sent.
    assert_eq!(number("1", None), number("1", None));
    assert_ne!(number("1", None), number("2", None));
}

#[test]
fn the_first_rule_that_holds_and_has_an_answer_gives_it() {
    let text = "[requests]
let = [{ name = 'who', value = 'body.who' }]
rules = [
  { when = 'body.n > 0', event = 'p.asked', payload = 'body' },
  { when = 'body.n > 1', event = 'p.told', payload = '1', answer = '\"told \" + who' },
  { when = 'body.n > 2', answer = '\"more\"' },
  { when = 'body.n > 3', answer = 'body.none' },
  { when = 'body.n > 4', refuse = 'too many', field = '/body/n' },
]";
    let rules = compile(text).unwrap();
    let come = |n: usize| {
        map(&rules, &format!(r#"{{"n": {n},"who":"dana"}}"#))
            .map(|mapped| (mapped.events.len(), mapped.answer))
    };
    let told = Some("told dana".to_owned());
    assert_eq!(come(0), Ok((0, None)));
    assert_eq!(come(1), Ok((1, None)));
    assert_eq!(come(2), Ok((2, told.clone())));
    // The later answers are not even looked at.
    assert_eq!(come(4), Ok((2, told)));
    let refused = Refused::Forbidden { field: "/body/n".to_owned(), rule: "too many".to_owned() };
    assert_eq!(come(5), Err(refused));
    let mapped = map(&rules, r#"{"n":1.0 , "who":null}"#).unwrap();
    assert_eq!(&mapped.events[0].payload[..], br#"{"n":1.0 , "who":null}"#);
}

#[test]
fn a_failure_names_its_place_in_the_body_and_no_value() {
    for (expression, field, says) in [
        ("body.a.b", "/body/a/b", "rule 1 of requests (p.asked, line 4), payload: there is no member b"),
        ("command(body.n)", "/body", "command does not work on int"),
        ("command(null)", "", "command does not work on null_type"),
        ("body.n + body.s", "/body", "does not work on int and string"),
    ] {
        let refused = value(expression, r#"{"a":{},"n":7,"s":"secret"}"#).unwrap_err();
        let Refused::Failed { field: at, problem } = refused else { panic!("{refused:?}") };
        assert!(at == field && problem.contains(says), "{expression}: {at} {problem}");
        assert!(!problem.contains("secret"), "{problem}");
    }
    for (body, says) in [("", "must be JSON"), ("{\"a\":", "must be JSON"), ("\u{fffd}", "must be JSON")] {
        let refused = value("1", body).unwrap_err();
        let Refused::Failed { field, problem } = refused else { panic!("{refused:?}") };
        assert!(field == "/body" && problem.contains(says), "{body}: {field} {problem}");
    }
}

#[test]
fn an_answer_is_a_text_within_its_bounds() {
    let answering = |answer: &str| {
        compile(&format!("[[requests.rules]]\nwhen = 'true'\nanswer = '''{answer}'''\n")).unwrap()
    };
    let long = |count: usize| format!(r#"{{"s":"{}"}}"#, "é".repeat(count));
    let rules = answering("body.s");
    let mapped = map(&rules, &long(2048)).unwrap();
    assert_eq!((mapped.events.len(), mapped.answer.map(|answer| answer.len())), (0, Some(4096)));
    let refused = map(&rules, &long(2049)).unwrap_err();
    let says = "rule 1 of requests (answers, line 2): its answer has more than 4096 bytes";
    assert_eq!(refused, Refused::TooCostly(says.to_owned()));
    for (answer, body) in [("body.s", r#"{"s":1}"#), ("null", "1"), ("{}", "1"), ("optional.of('a')", "1")] {
        let refused = map(&answering(answer), body).unwrap_err();
        let Refused::Failed { problem, .. } = refused else { panic!("{refused:?}") };
        assert!(problem.ends_with(", answer: an answer must be a text"), "{problem}");
    }
}

#[test]
fn a_request_costs_no_more_than_a_change_may() {
    let rule = |when: &str| {
        compile(&format!(
            "{COMMANDS}[[requests.rules]]\nwhen = '''{when}'''\nevent = 'p.asked'\npayload = '1'\n"
        ))
        .unwrap()
    };
    let long = format!(r#"{{"l":[{}0],"s":"/track {}"}}"#, "0,".repeat(4000), "in ".repeat(20_000));
    for when in [
        "body.l.all(x, body.l.all(y, x == y))",
        "body.l.all(x, command(body.s).name == '/track') || true",
        "body.l.exists(x, command(body.s + body.s) == null)",
    ] {
        let refused = map(&rule(when), &long).unwrap_err();
        let Refused::TooCostly(what) = refused else { panic!("{when}: {refused:?}") };
        assert!(what.ends_with("takes more steps than a request may cost"), "{what}");
    }
    assert_eq!(map(&rule("command(body.s).name == '/track'"), &long).unwrap().events.len(), 1);
    let few = ChangeLimits { max_events: 0, ..LIMITS };
    let refused = map_within(&rule("true"), "1", None, &few).unwrap_err();
    assert_eq!(refused, Refused::TooCostly("a request may fire at most 0 events".to_owned()));
    let little = ChangeLimits { max_cost: 100, ..LIMITS };
    let refused = map_within(&rule("true"), &long, None, &little).unwrap_err();
    assert_eq!(refused, Refused::TooCostly("reading it takes more steps than a request may cost".to_owned()));
}

#[test]
fn faulty_rules_for_requests_are_refused_where_the_fault_is() {
    for (rule, at, says) in [
        ("when = 'true'", "when", "or only `answer`"),
        ("answer = '\"x\"'", "answer", "must have `when`"),
        ("when = 'true'\npayload = '1'\nanswer = '\"x\"'", "'1'", "must have `event`"),
        ("when = 'true'\nevent = 'p.asked'\nanswer = '\"x\"'", "'p.asked'", "must have `payload`"),
        ("when = 'true'\nrefuse = 'x'\nanswer = '\"y\"'", "'\"y\"'", "`refuse` is a text itself"),
        ("when = 'true'\nanswer = '\"y\"'\nfield = '/body'", "'/body'", "`refuse` only"),
        ("when = 'true'\nanswer = 'bdy'", "bdy'", "there is no variable bdy, did you mean body?"),
        ("when = 'true'\nrefuse = 'x'\nfield = '/new'", "'/new'", "below /body"),
        ("when = 'new == null'\nrefuse = 'x'", "new", "there is no variable new"),
        ("when = 'change.id == \"\"'\nrefuse = 'x'", "change", "there is no variable change"),
        ("when = 'request.knd == \"\"'\nrefuse = 'x'", "request.knd", "did you mean request.kind?"),
        ("when = 'command(body) == null'\nrefuse = 'x'", "command", "needs their `commands`"),
    ] {
        let text = format!("[[requests.rules]]\n{rule}\n");
        let fault = compile(&text).expect_err(rule);
        assert!(fault.problem.contains(says), "{rule}: {fault:?}");
        let place = text.get(fault.at..).unwrap();
        let is_rule = place.starts_with("[[requests.rules]]");
        assert!(place.starts_with(at) || is_rule, "{rule}: at {place}");
    }
    let text =
        "[requests]\ncommands = [\n '/a [x]',\n '/b [x] [y]' ]\nrules = [{ when = 'true', answer = 'org' }]";
    let fault = compile(text).unwrap_err();
    assert!(text.get(fault.at..).unwrap().starts_with("'/b"), "{fault:?}");
    assert!(compile("[requests]\nrules = []").unwrap_err().problem.contains("requests must have a rule"));
    let call = "[[requests.rules]]\nwhen = 'command(\"/a\", 1) == null'\nanswer = 'org'";
    assert!(compile(call).unwrap_err().problem.contains("command takes 1 arguments"));
}
