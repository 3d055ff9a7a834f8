//! Whether the events that a webhook listens to offer the variables of its URL. PURE.

use std::collections::BTreeSet;

use crate::catalogue::{Catalogue, Entry};
use crate::config::nearest::nearest;
use crate::model::{EventPattern, Target};
use crate::serving::problem::Problem;

/// Refuses a variable that one of the known types among `events` does not offer. `*` alone, and a pattern that means no
/// known type, ask for nothing: there any variable may come as an attribute of the event.
pub(in crate::api::wire) fn check_variables(
    target: &Target,
    events: &[EventPattern],
    catalogue: &Catalogue,
) -> Result<(), Problem> {
    let variables: BTreeSet<&str> = target.variables().collect();
    if variables.is_empty() {
        return Ok(());
    }
    let known = events
        .iter()
        .filter(|pattern| **pattern != EventPattern::any())
        .flat_map(|pattern| catalogue.matching(pattern));
    for entry in known {
        for variable in &variables {
            if !entry.variables.contains_key(*variable) {
                return Err(not_offered(target, variable, entry));
            }
        }
    }
    Ok(())
}

fn not_offered(target: &Target, variable: &str, entry: &Entry) -> Problem {
    let member = match target {
        Target::Url(_) => "url",
        Target::Client { .. } => "path",
    };
    let offered: Vec<&str> = entry.variables.keys().map(|name| &**name).collect();
    let advice = match nearest(variable, offered.iter().copied()) {
        Some(nearest) => format!("did you mean {{{nearest}}}?"),
        None => "see which types its events name".to_owned(),
    };
    let list = if offered.is_empty() { "no variable".to_owned() } else { braced(&offered) };
    Problem::invalid(
        format!("/{member}"),
        format!("{member}: {} does not offer {{{variable}}}, it offers {list}; {advice}", entry.event_type),
    )
}

fn braced(names: &[&str]) -> String {
    names.iter().map(|name| format!("{{{name}}}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::UrlTemplate;

    fn check(path: &str, events: &[&str]) -> Result<(), String> {
        let path = UrlTemplate::parse(path).unwrap();
        let targets =
            [Target::Client { client: "jira".parse().unwrap(), path: path.clone() }, Target::Url(path)];
        let events: Vec<EventPattern> = events.iter().map(|pattern| pattern.parse().unwrap()).collect();
        let [by_client, by_url] =
            targets.map(|target| check_variables(&target, &events, &Catalogue::shipped()));
        if let (Err(by_client), Err(by_url)) = (&by_client, &by_url) {
            assert_eq!(by_client.field.as_deref(), Some("/path"));
            assert_eq!(by_url.field.as_deref(), Some("/url"));
        }
        assert_eq!(by_client.is_ok(), by_url.is_ok());
        by_client.map_err(|problem| problem.detail)
    }

    #[test]
    fn known_types_offer_what_their_catalogue_says() {
        assert_eq!(check("/{eventId}/{typeKey}/{eventId}", &["absence.event.*"]), Ok(()));
        assert_eq!(check("/{eventId}", &["absence.event.created", "CalendarEventChanged"]), Ok(()));
        assert_eq!(
            check("/{eventid}", &["absence.event.created"]).unwrap_err(),
            "path: absence.event.created does not offer {eventid}, it offers {eventId}, {typeId}, {typeKey}; did you mean {eventId}?"
        );
        let refused = check("/{bookingId}", &["absence.event.deleted"]).unwrap_err();
        assert!(
            refused.contains("does not offer {bookingId}") && !refused.contains("did you mean"),
            "{refused}"
        );
        for events in [
            &["absence.event.*"][..],
            &["CalendarEventChanged", "UpcomingBooking"],
            &["*", "absence.event.created"],
            &["UpcomingBooking", "timekit.*.paid"],
            &["order.placed", "BookingChanged"],
        ] {
            assert!(check("/{calendarId}", events).is_err(), "{events:?}");
        }
    }

    #[test]
    fn of_what_is_in_no_catalogue_nothing_is_asked() {
        for events in [
            &["*"][..],
            &["order.placed"],
            &["absence.event.approved", "x.*"],
            &["*", "calendareventchanged"],
        ] {
            assert_eq!(check("/{anything}", events), Ok(()), "{events:?}");
        }
        assert_eq!(check("/fixed", &["absence.event.*"]), Ok(()));
    }
}
