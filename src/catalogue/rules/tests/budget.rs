//! What hostile changes can cost.

use std::time::{Duration, Instant};

use super::{LIMITS, fire, fire_within, rule};
use crate::catalogue::ChangeLimits;
use crate::catalogue::rules::Refused;

fn too_costly(when: &str, new: &str) -> String {
    let started = Instant::now();
    let fired = fire_within(&rule(when, "1"), "null", new, &ChangeLimits { max_cost: 200_000, ..LIMITS });
    let took = started.elapsed();
    assert!(took < Duration::from_secs(20), "{when}: {took:?}");
    match fired {
        Err(Refused::TooCostly(what)) => what,
        other => panic!("{when}: {other:?}"),
    }
}

fn list(count: usize) -> String {
    format!("[{}0]", "0,".repeat(count - 1))
}

#[test]
fn loops_are_paid_for_before_they_run() {
    let new = format!(r#"{{"l":{}}}"#, list(4096));
    for when in [
        "new.l.all(x, new.l.all(y, x == y))",
        "new.l.all(x, new.l.all(y, x == y)) || true",
        "true || new.l.all(x, new.l.all(y, x == y)) || new.l.map(x, new.l.map(y, y)) == []",
        "size(new.l.map(x, new.l)) > 0 && new.l.map(x, new.l.map(y, y)) == []",
        "new.l.exists(x, new.l.exists(y, new.missing)) || true",
        "new.l.map(x, new.l.filter(y, true)) == []",
        "new.l.map(x, new.l + new.l) == []",
        "new.l.exists(x, new.l == [1] + new.l) || new.l.exists(x, new.l != new.l + []) || true",
        "new.l.all(x, !(1 in new.l))",
        "new.l.exists_one(x, index(new.l, 'a') == [])",
        "new.l.all(x, [1,2,3,4,5,6,7,8].all(a, [1,2,3,4,5,6,7,8].all(b, [1,2,3,4,5,6,7,8].all(c, true))))",
    ] {
        if when.starts_with("true ||") {
            assert_eq!(fire(&rule(when, "1"), "null", &new).map(|fired| fired.len()), Ok(1), "{when}");
        } else {
            assert!(too_costly(when, &new).contains("takes more steps"), "{when}");
        }
    }
}

#[test]
fn a_long_text_is_paid_for_wherever_it_is_read_or_copied() {
    let (a, b, c) = ("a".repeat(1 << 20), "b".repeat(1 << 20), "c".repeat(1 << 20));
    let new = format!(r#"{{"s":"{a}","l":{},"t":["{b}"],"o":[{{"id":"k","s":"{c}"}}]}}"#, list(1000));
    for when in [
        "new.l.all(x, new.s.contains('b') || true)",
        "new.l.all(x, size(new.s) > 0)",
        "new.l.all(x, new.s == new.s + '')",
        "new.l.all(x, new.s < new.t[0])",
        "new.l.map(x, new.s) == []",
        "new.l.map(x, {'s': new.s}) == []",
        "new.l.map(x, {new.s: 1}) == []",
        "new.l.map(x, [new.s]) == []",
        "new.l.all(x, new.t.all(y, true))",
        "new.l.all(x, new.?s.hasValue())",
        "new.l.all(x, new.?s.orValue('') != '')",
        "new.l.all(x, string(new.s) != '')",
        "new.l.all(x, new.s in new || true)",
        "new.l.all(x, has(new[new.s].a) || true)",
        "new.l.all(x, new[?new.s] == optional.none())",
        "new.l.all(x, optional.of(new.s).hasValue())",
        "new.l.all(x, new.s.matches('c') || true)",
        "new.l.all(x, set(new, 'a', x) != {})",
        "new.l.map(x, true, true ? new.s : '') == []",
        "new.l.filter(x, type(new.s) == string) == []",
        "new.l.all(x, new.s.startsWith(new.s))",
        "new.l.all(x, bytes(new.s) != b'')",
        "new.l.all(x, index(new.o, 'id').k.s == '' || true)",
        "new.l.all(x, index(new.o, 'id')['k'].s || true)",
        "new.l.all(x, !index(new.o, 'id')[string('k')]['s'] || true)",
        "new.l.all(x, (x == 0 ? index(new.o, 'id') : {}).k.s == '' || true)",
        "new.l.all(x, new.o.filter(o, true)[0].s in [''] || true)",
        "new.l.all(x, new.?s || true)",
        "new.l.all(x, new.?o[0].s == optional.none() || true)",
    ] {
        too_costly(when, &new);
    }
}

#[test]
fn what_grows_by_itself_has_an_end() {
    let lets = |start: &str, step: &str| {
        let more: String = (1..60)
            .map(|n| {
                format!("{{ name = 'a{n}', value = \"{}\" }},", step.replace('@', &format!("a{}", n - 1)))
            })
            .collect::<Vec<_>>()
            .concat();
        format!(
            "[changes.e]\nlet = [{{ name = 'a0', value = \"{start}\" }},{more}]\nrules = [{{ when = 'a59 != new', event = 'p.x', payload = 'a59' }}]"
        )
    };
    for (start, step) in [
        ("'aaaaaaaaaaaaaaaa'", "@ + @"),
        ("[1]", "@ + @"),
        ("[1]", "[@, @]"),
        ("[1]", "@ + [@, @]"),
        ("{'a': 1}", "{'a': @, 'b': @}"),
        ("{'a': 1}", "set(set(new, 'a', @), 'b', @)"),
        ("{'a': 1}", "set(set(@, 'a', @), 'b', @)"),
        ("[1]", "@ == [2] ? @ : [@, @, @]"),
    ] {
        let rules = super::compile(&lets(start, step)).unwrap();
        let started = Instant::now();
        let fired = fire(&rules, "null", r#"{"x":1}"#);
        assert!(matches!(fired, Err(Refused::TooCostly(_))), "{step}: {fired:?}");
        assert!(started.elapsed() < Duration::from_secs(20), "{step}");
    }
}

#[test]
fn a_change_itself_is_paid_for() {
    let rules = rule("true", "1");
    let limits = ChangeLimits { max_cost: 1000, ..LIMITS };
    assert_eq!(fire_within(&rules, "null", &list(900), &limits).map(|fired| fired.len()), Ok(1));
    let refused = fire_within(&rules, "null", &list(1100), &limits).unwrap_err();
    assert_eq!(refused, Refused::TooCostly("reading it takes more steps than a change may cost".to_owned()));
}

#[test]
fn events_and_their_payloads_have_an_end() {
    let one = "{ when = 'true', event = 'p.x', payload = 'new' },";
    let rules = |count| super::compile(&format!("[changes.e]\nrules = [{}]", one.repeat(count))).unwrap();
    assert_eq!(fire(&rules(8), "null", "1").map(|fired| fired.len()), Ok(8));
    let refused = Refused::TooCostly("a change may fire at most 8 events".to_owned());
    assert_eq!(fire(&rules(9), "null", "1"), Err(refused));
    let limits = ChangeLimits { max_payload_bytes: 10, ..LIMITS };
    for (payload, new, fits) in [
        ("new", "[1234567]", true),
        ("new", "[123456789]", false),
        ("[new]", "[123456]", true),
        ("[new]", "[1234567]", false),
        ("'12345678'", "1", true),
        ("'123456789'", "1", false),
        ("'\\n\\n\\n\\n'", "1", true),
        ("'\\n\\n\\n\\n\\n'", "1", false),
        ("{'a': 1000}", "1", true),
        ("{'a': 10000}", "1", false),
        ("[1.5, 2.5]", "1", true),
        ("[1.5, 112.5]", "1", false),
    ] {
        let fired = fire_within(&rule("true", payload), "null", new, &limits);
        assert_eq!(fired.is_ok(), fits, "{payload} {new}: {fired:?}");
        assert!(fits || format!("{fired:?}").contains("more than 10 bytes"), "{fired:?}");
    }
}
