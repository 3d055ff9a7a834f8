//! What expressions make of values.

use super::{failure, fire, rule, value};

#[test]
fn an_expression_has_the_variables_of_its_change() {
    for (expression, json) in [
        ("[old, new, actor]", r#"[null,{"a": 1},{"id":7}]"#),
        (
            "{'org': org, 'id': change.id, 'at': change.at, 'n': change.org_number}",
            r#"{"org":"acme","id":"change-1","at":1700000000123,"n":12}"#,
        ),
        ("change.number == change.number && change.number > 0 && change.number < 9007199254740992", "true"),
        ("[data, options]", "[{},{}]"),
        ("format_time(change.at, '%Y-%m-%d %H:%M:%S')", r#""2023-11-14 22:13:20""#),
        ("format_time(-1, '%Y-%m-%dT%H:%M:%S.%3fZ')", r#""1969-12-31T23:59:59.999Z""#),
    ] {
        assert_eq!(value(expression, "null", r#"{"a": 1}"#).unwrap(), json, "{expression}");
    }
}

#[test]
fn what_came_as_an_object_or_array_keeps_its_bytes() {
    let new = r#"{ "a" : [1.0, 1e2 ,{"é":"\u00e9\/"}], "b":{"x":1,"x":2} ,"c":-0, "s":"\u0041\"","u":18446744073709551615,"d":0.10 }"#;
    for (expression, json) in [
        ("new", new),
        ("new.a", r#"[1.0, 1e2 ,{"é":"\u00e9\/"}]"#),
        ("new.a[2]", r#"{"é":"\u00e9\/"}"#),
        ("[new.b, new.a[2].é == 'é/']", ""),
        ("{'b': new.b, 'l': [new.a]}", r#"{"b":{"x":1,"x":2},"l":[[1.0, 1e2 ,{"é":"\u00e9\/"}]]}"#),
        ("new.b.x", "2"),
        ("new.s", r#""A\"""#),
        ("[new.u, new.d, new.c, new.a[1]]", "[18446744073709551615,0.1,0,100.0]"),
        ("new.a.filter(x, type(x) == map)", r#"[{"é":"\u00e9\/"}]"#),
        ("new.map(name, name)", r#"["a","b","c","s","u","d"]"#),
    ] {
        if !json.is_empty() {
            assert_eq!(value(expression, "null", new).unwrap(), json, "{expression}");
        }
    }
}

#[test]
fn computed_members_stand_in_the_order_in_which_they_are_written() {
    for (expression, json) in [
        ("{'z': 1, 'a': {'y': 2, 'b': 3}, 'm': []}", r#"{"z":1,"a":{"y":2,"b":3},"m":[]}"#),
        ("{'z': 1, ?'y': new.?a, ?'x': new.?b, 'w': 4}", r#"{"z":1,"y":{"k":[1]},"w":4}"#),
        ("{new.n: 1, 'b' + 'c': 2}", r#"{"a\n":1,"bc":2}"#),
        ("[?new.?a, ?new.?b, 3]", r#"[{"k":[1]},3]"#),
        (
            "{'a': null, 'b': true, 'c': 1.5, 'd': 2u, 'e': 'x\"\\n'}",
            r#"{"a":null,"b":true,"c":1.5,"d":2,"e":"x\"\n"}"#,
        ),
        ("{}", "{}"),
        ("[]", "[]"),
    ] {
        assert_eq!(value(expression, "null", r#"{"a":{"k":[1]},"n":"a\n"}"#).unwrap(), json, "{expression}");
    }
}

#[test]
fn equality_is_by_value_whichever_side_is_computed() {
    let old = r#"{"a":1,"b":[1,2.0,"x"],"c":{"d":null},"e":[],"f":{}}"#;
    let new = r#"{"c":{"d":null},"b":[1.0,2,"x"],"a":1,"f":{},"e":[]}"#;
    for expression in [
        "old == new",
        "new == old",
        "old.e == [] && [] == old.e",
        "old.f == {} && {} == old.f",
        "old.b == [1, 2, 'x'] && [1, 2, 'x'] == old.b && [1u, 2.0, 'x'] == old.b",
        "{'c': {'d': null}} == {'c': old.c}",
        "old.b.map(x, x) == new.b && new.b == old.b.map(x, x)",
        "old.b + [3] == [1, 2, 'x', 3]",
        "old != {} && {} != old && old != [] && old != null && null != old",
        "old.a != '1' && old.c != new.e && old.e != old.f",
        "old.?c == new.?c && old.?x == new.?y && old.?x != old.?c",
        "[1, 2, 'x'] in [old.b] && !([1] in [old.b]) && 'a' in old && !('x' in old) && 1.0 in old.b",
        "{'a': 1, 'b': 2} == {'b': 2, 'a': 1} && {'a': 1} != {'b': 1} && [1, 2] != [2, 1] && [1] != [1, 1]",
    ] {
        assert_eq!(value(expression, old, new).unwrap(), "true", "{expression}");
    }
}

#[test]
fn the_standard_functions_work_on_what_a_change_brings() {
    let new = r#"{"s":"héllo","l":[3,1,2],"o":{"a":1},"n":null,"i":5,"d":2.5,"t":true,"big":[{"id":"a","v":1},{"id":2,"v":2},{"v":3},7,{"id":"a","v":4},{"id":null}]}"#;
    for (expression, json) in [
        ("size(new.s) + new.l.size() + size(new.o)", "9"),
        (
            "new.s.startsWith('h') && new.s.endsWith('o') && new.s.contains('éll') && new.s.matches('^h.l+o$')",
            "true",
        ),
        ("matches(new.s, 'l{2}')", "true"),
        ("new.s + '!' + string(new.i) + string(new.d) + string(new.t)", r#""héllo!52.5true""#),
        ("int('42') + new.i - 2 * 3 / 1 % 4", "45"),
        ("double(new.i) + new.d", "7.5"),
        ("new.l.all(x, x > 0) && new.l.exists(x, x == 3) && new.l.exists_one(x, x == 2)", "true"),
        ("new.l.map(x, x > 1, x * 10)", "[30,20]"),
        ("new.l.map(x, new.l.filter(y, y < x))", "[[1,2],[],[1]]"),
        ("new.l[0] + new.l[1u]", "4"),
        ("new['s'] == new.s && new[?'x'].orValue('no') == 'no'", "true"),
        ("has(new.s) && !has(new.x) && has(new.n) && !has(new.o.b)", "true"),
        ("new.?o.?a.orValue(9) + new.?o.?b.orValue(9) + new.?n.?a.orValue(9)", "19"),
        ("new.?s.hasValue() ? optional.of(1).value() : optional.none().orValue(2)", "1"),
        ("optional.ofNonZeroValue([]).hasValue() || optional.ofNonZeroValue({}).hasValue()", "false"),
        ("optional.none().or(optional.of(new.o)).value()", r#"{"a":1}"#),
        (
            "type(new.o) == map && type(new.l) == list && type(new.s) == string && type(new.n) == null_type",
            "true",
        ),
        ("type(new.i) == int && type(new.d) == double && type(1u) == uint && type(new.t) == bool", "true"),
        ("dyn(new.s) == 'héllo' && bool('true')", "true"),
        ("new.n == null ? 'none' : new.n.x", r#""none""#),
        ("'a' < 'b' && 1 < 2.5 && !(2 <= 1) && 3 >= 3 && -new.i == -5", "true"),
        ("index(new.big, 'id')", r#"{"2":{"id":2,"v":2},"a":{"id":"a","v":4}}"#),
        ("index([], 'id') == {}", "true"),
        ("new.o.map(k, k + '!')", r#"["a!"]"#),
    ] {
        assert_eq!(value(expression, "null", new).unwrap(), json, "{expression}");
    }
}

#[test]
fn set_touches_one_member_only() {
    let new = r#"{ "a" : 1 , "b":{"x": [1, 2]},"b" :2, "c":"é" }"#;
    for (expression, json) in [
        ("set(new, 'a', true)", r#"{ "a" : true , "b":{"x": [1, 2]},"b" :2, "c":"é" }"#),
        ("set(new, 'b', [new.a])", r#"{ "a" : 1 , "b":{"x": [1, 2]},"b" :[1], "c":"é" }"#),
        ("set(new, 'a', 1.0)", new),
        ("set(new, 'c', 'é')", new),
        (
            "set(new, 'd\"', {'k': null})",
            r#"{ "a" : 1 , "b":{"x": [1, 2]},"b" :2, "c":"é","d\"":{"k":null} }"#,
        ),
        ("set(set(new, 'c', 0), 'c', 1).c", "1"),
        ("set({}, 'a', 1)", r#"{"a":1}"#),
        ("set({'b': 1, 'a': 2}, 'b', new.a)", r#"{"b":1,"a":2}"#),
        ("set({'b': 1, 'a': 2}, 'b', 3)", r#"{"b":3,"a":2}"#),
    ] {
        assert_eq!(value(expression, "null", new).unwrap(), json, "{expression}");
    }
    assert_eq!(value("set(new, 'a', [1])", "null", "{ }").unwrap(), r#"{"a":[1] }"#);
}

#[test]
fn of_members_with_one_name_the_last_counts_everywhere() {
    let many: String = (0..40).map(|n| format!(r#""k{}":{n},"#, n % 20)).collect::<Vec<_>>().concat();
    let new = format!(r#"{{{many}"a":1,"\u0061":2}}"#);
    assert_eq!(value("[new.k0, new.k19, new.a, size(new)]", "null", &new).unwrap(), "[20,39,2,21]");
    assert_eq!(value("new.map(k, new[k])[0]", "null", &new).unwrap(), "20");
    assert_eq!(value("[new.a, size(new)]", "null", r#"{"a":1,"b":2,"a":3}"#).unwrap(), "[3,2]");
}

#[test]
fn a_name_is_for_all_rules_of_its_entity() {
    let text = "
[data]
n = 1
f = 1.5
t = 2020-01-02
flag = true
list = [{ a = 'x' }]
[options]
o = 'yes'
[changes.e]
let = [{ name = 'a', value = 'data.n + 1' }, { name = 'b', value = '[a, a]' }, { name = 'c', value = 'b + b' }]
rules = [{ when = 'c == [2, 2, 2, 2]', event = 'p.x', payload = '[b, data, options.o]' }]";
    let fired = fire(&super::compile(text).unwrap(), "null", "1").unwrap();
    let json = r#"[[2,2],{"f":1.5,"flag":true,"list":[{"a":"x"}],"n":1,"t":"2020-01-02"},"yes"]"#;
    assert_eq!(fired[0].1, json);
}

#[test]
fn a_condition_must_be_true_or_false() {
    let refused = format!("{:?}", fire(&rule("new", "1"), "null", "[1]"));
    assert!(refused.contains("when: a condition must be true or false"), "{refused}");
    assert!(failure("new.a", "null", "{}").1.contains("rule 1 of e (p.changed, line 2), payload:"));
}

#[test]
fn the_readmes_rules_do_what_it_says() {
    let readme = include_str!("../../../../README.md");
    let block = readme.split("```toml\n").find(|block| block.starts_with("[[changes.")).unwrap();
    let text = block
        .split("```")
        .next()
        .unwrap()
        .replace("shop.order.changed", "p.changed")
        .replace("shop.order", "e");
    let rules = super::compile(&text).unwrap();
    let old = r#"{"currency":"EUR","lines":[{"sku":"a"}]}"#;
    let new = r#"{"currency":"EUR","lines":[{"sku":"a"}, {"sku": "b"}]}"#;
    let fired = fire(&rules, old, new).unwrap();
    let payload =
        format!(r#"{{"order":{new},"at":"2023-11-14T22:13:20Z","by":{{"id":7}},"added":[{{"sku": "b"}}]}}"#);
    assert_eq!(fired, [("p.changed".to_owned(), payload)]);
    assert_eq!(fire(&rules, new, new).unwrap(), []);
    let refused = fire(&rules, old, &new.replace("EUR", "USD")).unwrap_err();
    assert!(format!("{refused:?}").contains("stays as it was"), "{refused:?}");
}
