//! What is refused when rules are loaded, and why a change fails.

use super::{compile, failure, fire, rule, value};
use crate::catalogue::rules::Refused;

#[test]
fn a_faulty_catalogue_is_refused_where_the_fault_is() {
    let fine = "when = 'true'\nevent = 'p.changed'\npayload = 'new'";
    for (rule, at, says) in [
        ("event = 'p.changed'\npayload = 'new'", "event", "must have `when`"),
        ("when = 'true'\nevent = 'p.changed'", "'p.changed'", "must have `payload`"),
        ("when = 'true'\npayload = 'new'", "'new'", "must have `event`"),
        ("when = 'true'", "when", "either `event` and `payload` or `refuse`"),
        ("when = 'true'\nrefuse = 'x'\nevent = 'p.changed'", "when", "either"),
        ("when = 'true'\nrefuse = ' '", "' '", "must say"),
        ("when = 'true'\nrefuse = 'x'\nfield = 'new'", "'new'", "JSON Pointer"),
        ("when = 'true'\nrefuse = 'x'\nfield = '/org'", "'/org'", "/old, /new or /actor"),
        ("when = 'true'\nevent = 'p.changed'\npayload = '1'\nfield = '/new'", "'/new'", "`refuse` only"),
        ("when = 'true'\nevent = 'q.changed'\npayload = 'new'", "'q.changed'", "did you mean p.changed?"),
        ("when = 'true'\nanswer = '1'", "'1'", "nobody asked here"),
        ("when = 'command(new) == null'\nrefuse = 'x'", "command", "for rules of requests"),
        ("when = '1 +'\nrefuse = 'x'", "'\nrefuse", "<EOF>"),
        ("when = '''\n\ntrue ||\n (new.a == )'''\nrefuse = 'x'", ")'''", ""),
        ("when = 'nwe.a == 1'\nrefuse = 'x'", "nwe", "there is no variable nwe, did you mean new?"),
        ("when = 'options.x'\nrefuse = 'x'", "options.x", "there is no options.x"),
        ("when = 'old.a == data.graph'\nrefuse = 'x'", "old.a", "there is no data.graph"),
        (
            "when = 'change.nmber == 1'\nrefuse = 'x'",
            "change.nmber",
            "there is no change.nmber, did you mean change.number?",
        ),
        ("when = 'newer == new || new.all(x, y)'\nrefuse = 'x'", "newer", "variable newer"),
        ("when = 'new.l.all(item, itme > 1)'\nrefuse = 'x'", "itme", "did you mean item?"),
        ("when = 'new.l.all(x, true) && x'\nrefuse = 'x'", "x, true", "there is no variable x"),
        ("when = 'new.a.startWith(\"x\")'\nrefuse = 'x'", "startWith", "did you mean startsWith?"),
        ("when = 'indx(new, \"a\") == {}'\nrefuse = 'x'", "indx", "did you mean index?"),
        ("when = 'index(new)'\nrefuse = 'x'", "index", "index takes 2 arguments"),
        ("when = 'new.index(\"a\")'\nrefuse = 'x'", "index", "no function index"),
        ("when = 'new.l.all(x > 1)'\nrefuse = 'x'", "all", "takes a name and an expression"),
        ("when = 'has(new)'\nrefuse = 'x'", "", "has() macro"),
        ("when = 'timestamp(new.a) > 1'\nrefuse = 'x'", "timestamp", "times are texts"),
        ("when = '_foo(1)'\nrefuse = 'x'", "_foo", "no function _foo"),
        ("when = 'optional.off(1)'\nrefuse = 'x'", "off", "did you mean of?"),
        ("when = 'optional == 1'\nrefuse = 'x'", "optional", "no variable optional"),
        ("when = 'Message{a: 1} == new'\nrefuse = 'x'", "Message", "there is no message Message"),
        ("when = '{1: 2} == new'\nrefuse = 'x'", "{", "must be a text"),
        ("when = 'new.a.matches(new.b)'\nrefuse = 'x'", "matches", "must be a text in quotes"),
        ("when = 'new.a.matches(\"(\")'\nrefuse = 'x'", "matches", "cannot read this pattern"),
        ("when = 'format_time(1, \"%!\") == \"\"'\nrefuse = 'x'", "format_time", "cannot read this pattern"),
        ("when = 'format_time(1, new.f) == \"\"'\nrefuse = 'x'", "format_time", "must be a text in quotes"),
    ] {
        let text = format!("[[changes.e.rules]]\n{fine}\n[[changes.e.rules]]\n{rule}\n");
        let fault = compile(&text).expect_err(rule);
        assert!(fault.problem.contains(says), "{rule}: {fault:?}");
        let second = text.rfind(rule).unwrap();
        assert!(fault.at <= text.len());
        let place = text.get(fault.at..).unwrap();
        let is_header = place.starts_with("[[changes.e.rules]]") && fault.at + 20 == second;
        assert!(place.starts_with(at) || is_header, "{rule}: at {place}");
    }
}

#[test]
fn names_are_checked() {
    for (lets, at, says) in [
        ("{ name = 'new', value = '1' }", "'new'", "already the name"),
        ("{ name = 'map', value = '1' }", "'map'", "already the name"),
        ("{ name = 'a', value = '1' }, { name = 'a', value = '2' }", "'a', value = '2'", "already the name"),
        ("{ name = 'a', value = 'b' }, { name = 'b', value = '2' }", "b' }", "no variable b"),
        ("{ name = 'a-b', value = '1' }", "'a-b'", "a name must be"),
        ("{ name = '1a', value = '1' }", "'1a'", "a name must be"),
        ("{ name = 'null', value = '1' }", "'null'", "no word of CEL"),
        ("{ name = 'optional', value = '1' }", "'optional'", "no word of CEL"),
        ("{ name = '@meter', value = '1' }", "'@meter'", "a name must be"),
        ("{ name = '', value = '1' }", "''", "a name must be"),
    ] {
        let text = format!("[changes.e]\nlet = [{lets}]\nrules = [{{ when = 'true', refuse = 'x' }}]");
        let fault = compile(&text).expect_err(lets);
        assert!(fault.problem.contains(says), "{lets}: {fault:?}");
        assert!(text.get(fault.at..).unwrap().starts_with(at), "{lets}: {fault:?}");
    }
}

#[test]
fn there_is_an_end_to_everything_that_is_typed() {
    let refused = |text: &str| compile(text).expect_err("taken").problem;
    let rules = |count| "{ when = 'true', refuse = 'x' },".repeat(count);
    compile(&format!("[changes.e]\nrules = [{}]", rules(64))).unwrap();
    assert!(refused(&format!("[changes.e]\nrules = [{}]", rules(65))).contains("at most 64 rules"));
    assert!(refused("[changes.e]\nrules = []").contains("must have a rule"));
    assert!(refused(&format!("[changes.'']\nrules = [{}]", rules(1))).contains("must have a name"));
    let lets: String =
        (0..65).map(|n| format!("{{ name = 'a{n}', value = '1' }},")).collect::<Vec<_>>().concat();
    assert!(
        refused(&format!("[changes.e]\nlet = [{lets}]\nrules = [{}]", rules(1))).contains("at most 64 names")
    );
    let when = |when: &str| format!("[changes.e]\nrules = [{{ when = '{when}', refuse = 'x' }}]");
    assert!(refused(&when(&format!("true{}", " ".repeat(16 << 10)))).contains("at most 16384 bytes"));
    compile(&when(&format!("true{}", " ".repeat((16 << 10) - 4)))).unwrap();
    for deep in [
        format!("{}1", "1+".repeat(8000)),
        format!("{}1 +", "1+".repeat(8000)),
        format!("new{}", ".a".repeat(8000)),
        format!("{}1", "-(".repeat(8000)),
        "(".repeat(16000),
        format!("{}1{}", "[".repeat(8000), "]".repeat(8000)),
        format!("{}true", "true ? true : ".repeat(1000)),
        format!("{}1", "{".repeat(8000)),
    ] {
        compile(&when(&deep)).expect_err("taken");
    }
}

#[test]
fn the_deepest_expression_is_evaluated_without_running_out_of_stack() {
    let deepest = (1..=200).rev().find_map(|depth| {
        let sum = format!("{}1 == {}", "[1]+".repeat(depth).replace("[1]+", "1+"), depth + 1);
        let text = format!("[changes.e]\nrules = [{{ when = '{sum}', event = 'p.x', payload = '1' }}]");
        compile(&text).ok().map(|rules| (depth, rules))
    });
    let (depth, rules) = deepest.unwrap();
    assert!(depth >= 40, "{depth}");
    assert_eq!(fire(&rules, "null", "1").unwrap().len(), 1);
    for (open, inner, close) in [
        ("[1].all(x, ", "true", ")"),
        ("[1].map(x, ", "1", ") == [] || true"),
        ("[1].filter(x, ", "true", ") == [1]"),
        ("!(", "true", ")"),
        ("[[", "1", "]] != []"),
        ("[", "1", "]"),
        ("{\"a\": ", "1", "}"),
        ("size(string(", "1", "))"),
        ("optional.of(", "1", ").value()"),
        ("{\"a\": true}[", "\"a\"", " ? \"a\" : \"b\"]"),
        ("(true ? ", "true", " : false)"),
        ("(true && ", "true", ")"),
        ("set({}, \"a\", ", "1", ")"),
        ("(1 + ", "1", ")"),
        ("(1 in [", "1", "] ? 1 : 2)"),
    ] {
        let (depth, rules) = (1..=60)
            .rev()
            .find_map(|depth| {
                let nested = format!("{}{inner}{}", open.repeat(depth), close.repeat(depth));
                let text = format!(
                    "[changes.e]\nrules = [{{ when = 'true', event = 'p.x', payload = '{nested}' }}]"
                );
                compile(&text).ok().map(|rules| (depth, rules))
            })
            .unwrap();
        assert!(depth >= 10, "{open}: {depth}");
        drop(fire(&rules, "null", "1"));
    }
}

#[test]
fn names_cannot_nest_values_without_end() {
    let deeper = |count: usize| {
        let wrap = |name: &str, inside: &str| {
            format!("{{ name = '{name}', value = '{}{inside}{}' }},", "[".repeat(30), "]".repeat(30))
        };
        let more: Vec<_> = (1..count).map(|n| wrap(&format!("a{n}"), &format!("a{}", n - 1))).collect();
        let lets = wrap("a0", "new") + &more.concat();
        let rule = format!("{{ when = 'a{0} == a{0} + []', event = 'p.x', payload = 'a{0}' }}", count - 1);
        compile(&format!("[changes.e]\nlet = [{lets}]\nrules = [{rule}]")).unwrap()
    };
    let new = format!("{}{}", "[".repeat(16), "]".repeat(16));
    assert_eq!(fire(&deeper(8), "null", &new).unwrap()[0].1.len(), 2 * 256);
    let optional = |n: usize| {
        format!("{{ name = 'a{n}', value = '{}a{}{}' }},", "optional.of(".repeat(20), n - 1, ")".repeat(20))
    };
    let lets: Vec<_> = (1..60).map(optional).collect();
    let text = format!(
        "[changes.e]\nlet = [{{ name = 'a0', value = '1' }}, {}]\nrules = [{{ when = 'a59.hasValue()', refuse = 'x' }}]",
        lets.concat()
    );
    let Err(Refused::Failed { problem, .. }) = fire(&compile(&text).unwrap(), "null", "1") else {
        panic!("taken")
    };
    assert!(problem.contains("optionals are nested too deep"), "{problem}");
    let Err(Refused::Failed { problem, .. }) = fire(&deeper(60), "null", &new) else { panic!("taken") };
    assert!(problem.contains("nested at most 256 deep"), "{problem}");
}

#[test]
fn what_is_no_json_is_refused_with_its_place() {
    let rules = rule("true", "new");
    let refused = |old, new| match fire(&rules, old, new) {
        Err(Refused::Failed { field, problem }) => (field, problem),
        other => panic!("{other:?}"),
    };
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(fire(&rules, "null", &deep(128)).is_ok());
    for (json, says) in [
        (deep(129).as_str(), "128 deep"),
        (deep(100_000).as_str(), "128 deep"),
        ("1e999", "range of a double"),
        ("[-1e999]", "range of a double"),
        (r#"{"a":"\ud800"}"#, "surrogate"),
        (r#"{"\udc00":1}"#, "surrogate"),
        (r#""\ud800\u0041""#, "surrogate"),
        ("", "must be JSON"),
        ("{", "must be JSON"),
        ("[1,]", "must be JSON"),
        ("{\"a\":1,}", "must be JSON"),
        ("01", "must be JSON"),
        ("1.", "must be JSON"),
        ("-", "must be JSON"),
        ("1e", "must be JSON"),
        ("nul", "must be JSON"),
        ("\"a\nb\"", "must be JSON"),
        ("\"\\x\"", "must be JSON"),
        ("\"\\", "must be JSON"),
        ("\"\\é\"", "must be JSON"),
        ("1 2", "must be JSON"),
        ("tré", "must be JSON"),
        ("'a'", "must be JSON"),
    ] {
        let (field, problem) = refused("null", json);
        assert_eq!(field, "/new", "{json}");
        assert!(problem.contains(says), "{json}: {problem}");
        assert_eq!(refused(json, "1").0, "/old");
    }
}

#[test]
fn a_failure_names_place_and_kind_and_no_value() {
    let secret = r#"{"a":{"s":"hunter2","n":424242,"l":[424242]},"k":"hunter2","z":null,"nan":"NaN"}"#;
    for (expression, field, says) in [
        ("new.b", "/new/b", "there is no member b"),
        ("new.a.b.c", "/new/a/b", "there is no member b"),
        ("new.z.x", "/new/z", "taking a member does not work on null_type"),
        ("new.k.x", "/new/k", "does not work on string"),
        ("old.x", "/old", "does not work on null_type"),
        ("new.a[new.k]", "/new", "there is no such member"),
        ("{'a': 1}[new.k]", "/new", "there is no such member"),
        ("new.a.l[7]", "/new", "no such index"),
        ("new.a.l[-1]", "/new", "no such index"),
        ("new.a.l['x']", "/new", "taking an element does not work on list and string"),
        ("new.a[1]", "/new", "does not work on map and int"),
        ("new.k + 1", "/new", "+ does not work on string and int"),
        ("new.a.l + 1", "/new", "+ does not work on list and int"),
        ("new.a + new.a", "/new", "+ does not work on map and map"),
        ("new.k - 1", "/new", "does not work"),
        ("new.k < 1", "/new", "< does not work on string and int"),
        ("!new.k", "/new", "! does not work on string"),
        ("-new.k", "/new", "- does not work on string"),
        ("new.k && true", "/new", "&& does not work on string and bool"),
        ("new.k ? 1 : 2", "/new", "wrong type"),
        ("1 in new.k", "/new", "in does not work on int and string"),
        ("1 in new.a", "/new", "in does not work on int and map"),
        ("new.k.all(x, true)", "/new", "a loop does not work on string"),
        ("new.a.n / 0", "/new", "division by zero"),
        ("new.a.n % 0", "/new", "division by zero"),
        ("new.a.n * 9223372036854775807", "/new", "too large"),
        ("new.a.n + 9223372036854775807", "/new", "too large"),
        ("int(new.k)", "/new", "int cannot do that"),
        ("double(new.k)", "/new", "double cannot do that"),
        ("new.?x.value()", "", "value cannot do that"),
        ("new.?k", "", "type optional_type is no JSON"),
        ("[new.?k]", "", "cannot hold a value of type optional_type"),
        ("b'abc'", "", "type bytes is no JSON"),
        ("type(new.k)", "/new", "type type is no JSON"),
        ("double(new.nan)", "/new", "not finite"),
        ("[double(new.nan)]", "/new", "not finite"),
        ("{new.a.n: 1}", "/new", "must be a text"),
        ("{new.k: 1, 'hunter2': 2}", "/new", "a member twice"),
        ("index(new.a, 'id')", "/new", "index does not work on map and string"),
        ("index(new.a.l, new.a)", "/new", "index does not work on list and map"),
        ("set(new.k, 'a', 1)", "/new", "set does not work on string"),
        ("set(new.a.l, 'a', 1)", "/new", "set does not work on list"),
        ("set(new.a, 'a', new.?k)", "/new", "no JSON"),
        ("set({}, 'a', new.?k)", "", "cannot hold"),
        ("format_time(new.k, '%Y')", "/new", "format_time does not work on string"),
        ("format_time(9223372036854775807, '%Y')", "", "no such time"),
        ("new.a.matches('a')", "/new", "matches does not work on map"),
        ("new.a.n.contains('a')", "/new", "contains does not work on int"),
        ("size(new.a.n)", "/new", "size does not work on int"),
        ("new.a.l.map(x, x.y)", "/new", "taking a member does not work on int"),
    ] {
        let (at, problem) = failure(expression, "null", secret);
        assert!(problem.contains(says), "{expression}: {problem}");
        assert!(!problem.contains("hunter2") && !problem.contains("424242"), "{expression}: {problem}");
        assert_eq!(at, field, "{expression}: {problem}");
    }
}

#[test]
fn debug_shows_no_payload() {
    let json = super::super::json::read(
        &bytes::Bytes::from_static(br#"{"a":["hunter2"]}"#),
        &super::super::meter::Meter::new(100),
    )
    .unwrap();
    assert_eq!(format!("{json:?}"), "Json(map)");
}

#[test]
fn an_absent_side_is_null() {
    assert_eq!(value("[old == null, new == null]", "null", "1").unwrap(), "[true,false]");
    assert_eq!(value("[old == null, new == null]", "1", "null").unwrap(), "[false,true]");
}
