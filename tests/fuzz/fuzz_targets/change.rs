//! Changes of any JSON, and rules of any text: nothing panics, nothing outgrows its bounds, and what is passed on has the
//! bytes that came.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use postrider::catalogue::rules::Refused;
use postrider::catalogue::{Catalogue, Change, ChangeLimits, ChangeRefused, Files, Fired};
use postrider::model::{OrgId, OrgNumber, UnixMs};

const LIMITS: ChangeLimits = ChangeLimits { max_events: 8, max_cost: 20_000, max_payload_bytes: 4096 };

/// Expressions that lean on what a change brings along.
const EXPRESSIONS: [&str; 14] = [
    "[old == new, new == old, old in [new], new != {}, [] == old]",
    "new.map(x, old.map(y, [x, y, new[x] == old[y]]))",
    "new.filter(x, x == x).map(x, {'x': x, ?'y': old[?x]})",
    "index(new, 'id').map(k, k + string(size(k)))",
    "index(new.list, 'id') == index(old.list, 'id') ? set(new, 'list', old) : set(old, 'id', new)",
    "set(set(new, 'a', old), 'b', [new, old, actor])",
    "set({'a': new}, 'a', old).a",
    "new.a + new.b + old.a",
    "new.?a.?b[?0].orValue(new.?c.?d.orValue(old))",
    "{new.a: new.b, 'x': [new.c, {'y': new.d}]}",
    "new.s.matches('^(a|b|ab)*c$') || new.s.contains(old.s) || new.s < old.s",
    "format_time(new.at, '%Y-%m-%d %H:%M:%S.%3f')",
    "[int(new.s), double(new.s), uint(new.s), bool(new.s), string(new.n)]",
    "[new.n + old.n, new.n * old.n, new.n / old.n, new.n % old.n, -new.n, new.n < old.n]",
];

static NASTY: LazyLock<Catalogue> = LazyLock::new(|| {
    let rules =
        |payload: &str| format!("[{{ when = 'true', event = 'nasty.x', payload = {} }}]", quoted(payload));
    let mut text = "product = 'nasty'\n[events.'nasty.x']\n[changes]\n".to_owned();
    for (index, expression) in EXPRESSIONS.iter().enumerate() {
        text += &format!("'nasty.{index}' = {{ rules = {} }}\n", rules(expression));
    }
    text += &format!("'nasty.new' = {{ rules = {} }}\n", rules("new"));
    text += &format!("'nasty.inside' = {{ rules = {} }}\n", rules("[new]"));
    read(&text).expect("the rules are right")
});
static SHIPPED: LazyLock<Arc<Catalogue>> = LazyLock::new(Catalogue::shipped);

/// JSON's strings are strings of TOML as well.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("text")
}

fn read(text: &str) -> Option<Catalogue> {
    match Catalogue::read(&[Files::of("nasty", &[("catalogue.toml", text)])]) {
        Ok(catalogue) => Some(catalogue),
        Err(fault) => {
            assert!(fault.line <= text.lines().count() + 1 && !fault.problem.is_empty(), "{fault}");
            None
        }
    }
}

// Which rules, then old, new, actor and perhaps an expression, between zero bytes.
fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let mut parts = text.split('\0');
    let which = parts.next().unwrap_or_default();
    let mut json = || parts.next().filter(|json| *json != "null");
    let (old, new, actor) = (json(), json(), json());
    let org: OrgId = "acme".parse().expect("an org");
    let fire = |catalogue: &Catalogue, entity: &str| {
        let (id, at, org_number) = ("fuzzed", UnixMs(1_700_000_000_000), OrgNumber(1));
        let change = Change { entity, old, new, actor, id, at, org: &org, org_number };
        let fired = catalogue.fire(&change, &LIMITS);
        sound(&fired);
        fired
    };
    if let Some(expression) = parts.next() {
        let rule = format!("[{{ when = {0}, event = 'nasty.x', payload = {0} }}]", quoted(expression));
        let lets = format!("[{{ name = 'x', value = {} }}]", quoted(expression));
        let start = "product = 'nasty'\n[events.'nasty.x']\n[changes]\n";
        let whole = format!("{start}'nasty.x' = {{ let = {lets}, rules = {rule} }}\n");
        if let Some(catalogue) = read(&whole) {
            drop(fire(&catalogue, "nasty.x"));
        }
        return;
    }
    if which.contains('.') {
        drop(fire(&SHIPPED, which));
        return;
    }
    drop(fire(&NASTY, &format!("nasty.{which}")));
    // A whole value goes out as it came; within a list at least an object or array does.
    let Some(new) = new else { return };
    let trimmed = new.trim_matches([' ', '\t', '\n', '\r']);
    let compound = trimmed.starts_with(['[', '{']);
    if let Ok(fired) = fire(&NASTY, "nasty.new")
        && compound
    {
        assert_eq!(&fired[0].payload[..], trimmed.as_bytes());
        serde_json::from_str::<serde_json::Value>(new).expect("what was taken is JSON");
    }
    if let Ok(fired) = fire(&NASTY, "nasty.inside")
        && compound
    {
        assert_eq!(&fired[0].payload[..], format!("[{trimmed}]").as_bytes());
    }
});

/// What comes out keeps within the bounds, and is JSON.
fn sound(fired: &Result<Vec<Fired>, ChangeRefused>) {
    match fired {
        Ok(fired) => {
            assert!(fired.len() <= LIMITS.max_events);
            for event in fired {
                assert!(event.payload.len() <= LIMITS.max_payload_bytes);
                serde_json::from_slice::<&serde_json::value::RawValue>(&event.payload)
                    .expect("a payload is JSON");
            }
        }
        Err(ChangeRefused::Rules(Refused::Failed { field, problem })) => {
            assert!(
                !problem.is_empty() && (field.is_empty() || field.starts_with('/')),
                "{field}: {problem}"
            );
        }
        Err(_) => {}
    }
}
