//! Timekit: every way from each state of each graph to each other one.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Case, Comes, example, fires, refused, with, without};

/// The graphs, said once more from the product's document: the state in which a booking begins, and the states that a
/// state leads to. States that are only named after `|` lead nowhere but to `error`.
const GRAPHS: [(&str, &str, &str); 7] = [
    (
        "instant",
        "confirmed",
        "confirmed > cancelled cancelled_by_customer completed rescheduled_by_customer | cancelled cancelled_by_customer completed rescheduled_by_customer error",
    ),
    (
        "confirm_decline",
        "tentative",
        "tentative > confirmed declined, confirmed > cancelled cancelled_by_customer completed rescheduled_by_customer | declined cancelled cancelled_by_customer completed rescheduled_by_customer error",
    ),
    (
        "instant_payment",
        "tentative",
        "tentative > paid unpaid, paid > cancelled cancelled_by_customer completed rescheduled_by_customer | unpaid cancelled cancelled_by_customer completed rescheduled_by_customer error",
    ),
    ("group_owner", "tentative", "tentative > cancelled completed | cancelled completed error"),
    (
        "group_customer",
        "confirmed",
        "confirmed > cancelled_by_customer cancelled_by_owner completed | cancelled_by_customer cancelled_by_owner completed error",
    ),
    (
        "group_customer_payment",
        "tentative",
        "tentative > paid unpaid cancelled_by_customer, paid > cancelled_by_customer cancelled_by_owner completed | unpaid cancelled_by_customer cancelled_by_owner completed error",
    ),
    ("reservation", "reserved", "reserved > expired | expired"),
];

/// Each state of a graph with the states that it leads to.
fn states(graph: &'static str) -> BTreeMap<&'static str, Vec<&'static str>> {
    let (leading, ended) = graph.split_once('|').unwrap();
    let leads = leading.split(',').map(|state| {
        let (from, to) = state.split_once('>').unwrap();
        (from.trim(), to.split_whitespace().collect())
    });
    leads.chain(ended.split_whitespace().map(|state| (state, Vec::new()))).collect()
}

/// With the type of a booking that enters it, and whether nothing can be done about the booking any more.
const STATES: [(&str, &str, bool); 13] = [
    ("tentative", "timekit.booking.tentative", false),
    ("confirmed", "timekit.booking.confirmed", false),
    ("declined", "timekit.booking.declined", true),
    ("paid", "timekit.booking.paid", false),
    ("unpaid", "timekit.booking.unpaid", true),
    ("completed", "timekit.booking.completed", true),
    ("cancelled", "timekit.booking.cancelled", true),
    ("cancelled_by_customer", "timekit.booking.cancelled_by_customer", true),
    ("cancelled_by_owner", "timekit.booking.cancelled_by_owner", true),
    ("rescheduled_by_customer", "timekit.booking.rescheduled_by_customer", false),
    ("reserved", "timekit.booking.reserved", false),
    ("expired", "timekit.booking.expired", true),
    ("error", "timekit.booking.error", false),
];

fn booking(graph: &str, state: &str) -> Value {
    let known = STATES.iter().find(|(name, ..)| *name == state);
    let completed = known.is_some_and(|(.., completed)| *completed);
    let members = [("/graph", json!(graph)), ("/state", json!(state)), ("/completed", json!(completed))];
    with(example("timekit.booking.confirmed"), members)
}

/// What must come of a booking of a graph that goes from one state to another.
fn transition(graph: (&str, &str, &'static str), from: Option<&str>, to: &str) -> Case {
    let (name, first, text) = graph;
    let states = states(text);
    let (old, new) = (from.map_or(Value::Null, |from| booking(name, from)), booking(name, to));
    let what: &str = format!("{name}: {from:?} to {to}").leak();
    let allowed = match from {
        _ if !states.contains_key(to) => return refused(what, old, new, "/new/state"),
        None => to == first,
        Some(from) if !states.contains_key(from) => return refused(what, old, new, "/old/state"),
        Some(from) if from == to => return fires(what, old, new, []),
        Some(from) => states[from].contains(&to) || to == "error",
    };
    if !allowed {
        return refused(what, old, new, "/new/state");
    }
    let (_, event_type, _) = STATES.iter().find(|(name, ..)| *name == to).unwrap();
    fires(what, old, new.clone(), [(*event_type, new)])
}

/// Every way from each state of each graph to each other one, and what is no booking of a graph.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = strange();
    for graph in GRAPHS {
        for (to, ..) in STATES {
            cases.push(transition(graph, None, to));
            cases.extend(STATES.iter().map(|(from, ..)| transition(graph, Some(from), to)));
        }
    }
    cases
}

#[test]
fn the_cases_cover_every_transition() {
    let leads = GRAPHS.iter().flat_map(|(.., text)| states(text).into_values());
    let with_error = GRAPHS.iter().filter(|(.., text)| text.contains("error"));
    let (leads, errors): (usize, usize) =
        (leads.map(|next| next.len()).sum(), with_error.map(|(.., text)| states(text).len() - 1).sum());
    let told = cases().into_iter().skip(strange().len());
    let told = told.filter(|case| matches!(&case.comes, Comes::Events(events) if !events.is_empty()));
    assert_eq!((told.count(), leads, errors), (GRAPHS.len() + leads + errors, 28, 32));
}

/// What is no booking of a graph, and what is nothing new of one.
fn strange() -> Vec<Case> {
    let confirmed = || booking("instant", "confirmed");
    let null = || Value::Null;
    let mut cases = vec![
        refused("an unknown graph", null(), booking("istant", "confirmed"), "/new/graph"),
        refused("no graph", null(), without(confirmed(), "/graph"), "/new/graph"),
        refused("an unknown state", null(), booking("instant", "cofirmed"), "/new/state"),
        refused("a word of the catalogue", null(), booking("instant", "first"), "/new/state"),
        refused("no state", null(), without(confirmed(), "/state"), "/new/state"),
        refused("another graph", confirmed(), booking("group_customer", "completed"), "/new/graph"),
        refused(
            "another graph, the same state",
            confirmed(),
            booking("group_customer", "confirmed"),
            "/new/graph",
        ),
        refused("from nowhere", booking("instant", "nowhere"), confirmed(), "/old/state"),
    ];
    let entered = ("timekit.booking.confirmed", confirmed());
    cases.push(fires("it begins", null(), confirmed(), [entered.clone()]));
    cases.push(fires("it is deleted", confirmed(), null(), []));
    // Whether it is completed follows from the state, whatever the application says.
    let wrong = with(confirmed(), [("/completed", json!(true))]);
    cases.push(fires("it begins, completed", null(), wrong.clone(), [entered]));
    let paid = booking("instant_payment", "paid");
    cases.push(fires(
        "paid, and so completed",
        booking("instant_payment", "tentative"),
        with(paid.clone(), [("/completed", json!(true))]),
        [("timekit.booking.paid", paid)],
    ));
    let noted = with(confirmed(), [("/event/what", json!("moved to the garden"))]);
    cases.push(fires("changed in the same state", confirmed(), noted, []));
    cases
}
