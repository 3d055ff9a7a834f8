//! For any JSON.

use proptest::prelude::*;
use serde_json::Value;

use super::{fire, rule, value};

/// Any JSON, with members that have the same names more often than by chance.
fn json() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e300_f64..1e300).prop_map(Value::from),
        (-5_i64..5).prop_map(Value::from)
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number,
        "[a-c\"\\\\\n\u{e9}\u{1F600}\u{0}]{0,4}".prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("[a-d]{0,2}", inner, 0..12)
                .prop_map(|members| Value::Object(members.into_iter().collect()))
        ]
    })
}

/// JSON as text, in one of several spellings.
fn spelled(json: &Value, spelling: u8) -> String {
    match spelling % 3 {
        0 => json.to_string(),
        1 => serde_json::to_string_pretty(json).unwrap(),
        _ => json.to_string().replace(':', " :\t").replace(',', " , ").replace('é', "\\u00E9"),
    }
}

/// Whether two values are the same for people who do not tell 1 from 1.0.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)))
        }
        (Value::Number(a), Value::Number(b)) if a.is_f64() != b.is_f64() => a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_payload_has_the_bytes_that_came(json in json(), spelling: u8) {
        let text = spelled(&json, spelling);
        let inside = format!("{{\"k\":{text}}}");
        prop_assert_eq!(value("new", "null", &inside).unwrap(), inside.clone());
        let passed_on = value("[new.k]", "null", &inside).unwrap();
        if json.is_array() || json.is_object() {
            prop_assert_eq!(passed_on, format!("[{text}]"));
        } else {
            prop_assert!(same(&serde_json::from_str::<Value>(&passed_on).unwrap()[0], &json));
        }
    }

    #[test]
    fn equality_is_that_of_json(a in json(), b in json(), spelling: u8) {
        let both = |a: &Value, b: &Value| {
            let rules = rule("(old == new) == (new == old)", "[old == new, [old] == [new], {'x': old} == {'x': new}, old in [new]]");
            fire(&rules, &format!("[{}]", spelled(a, spelling)), &format!("[{b}]")).unwrap()[0].1.clone()
        };
        prop_assert_eq!(both(&a, &a), "[true,true,true,true]");
        let expected = same(&a, &b);
        prop_assert_eq!(both(&a, &b), format!("[{expected},{expected},{expected},{expected}]"));
    }

    #[test]
    fn set_keeps_every_other_byte(a in json(), b in json(), c in json(), spelling: u8) {
        let (a, b, c) = (spelled(&a, spelling), spelled(&b, spelling), c.to_string());
        let new = format!("{{ \"a\" :{a}, \"m\": {b} ,\"z\":[{a}]}}");
        let set = value("set(new, 'm', old[0])", &format!("[{c}]"), &new).unwrap();
        let (read_b, read_c): (Value, Value) = (serde_json::from_str(&b).unwrap(), serde_json::from_str(&c).unwrap());
        if same(&read_b, &read_c) {
            prop_assert_eq!(set, new);
        } else {
            let (start, end) = (format!("{{ \"a\" :{a}, \"m\": "), format!(" ,\"z\":[{a}]}}"));
            prop_assert!(set.starts_with(&start) && set.ends_with(&end), "{}", set);
            let between: Value = serde_json::from_str(set.get(start.len()..set.len() - end.len()).unwrap()).unwrap();
            prop_assert!(same(&between, &read_c));
        }
    }

    #[test]
    fn any_text_is_taken_or_refused(text in "[\\[\\]{}:,\"\\\\a-fu0-9.+eE \u{e9}-]{0,24}") {
        let taken = value("new", "null", &format!("[{text}]")).is_ok();
        let parsed = serde_json::from_str::<Value>(&format!("[{text}]"));
        prop_assert_eq!(taken, parsed.is_ok(), "{:?}", parsed);
    }
}
