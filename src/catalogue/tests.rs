use super::*;

fn names(entry: &Entry) -> Vec<&str> {
    entry.variables.keys().map(|name| &**name).collect()
}

fn catalogue(text: &str) -> Result<Catalogue, Fault> {
    Catalogue::parse(&[("c.toml", text)])
}

#[test]
fn what_comes_along_can_be_read() {
    assert_eq!(check(), Ok(()));
    assert_eq!(shipped().entries.len(), 3 + 13 + 3 + 10);
    let find = |name: &str| shipped().find(&name.parse().unwrap()).unwrap();
    assert_eq!(names(find("absence.event.deleted")), ["eventId", "typeId", "typeKey"]);
    assert_eq!(names(find("timekit.booking.error")), ["bookingId", "graph", "state"]);
    assert_eq!(names(find("BookingChanged")), ["bookingId", "eventTypeId"]);
    assert_eq!(names(find("trackingtime.time_entry.added")), ["accountId", "entryId", "projectId", "taskId"]);
    let changed = find("timetime.calendar_event.changed");
    assert_eq!(find("CalendarEventChanged"), changed);
    let payload = br#"{"type":"CalendarEventChanged","new":{"id":"e7","calendarId":"c1"}}"#;
    assert_eq!(changed.variables["eventId"].find(payload).unwrap().get(), "\"e7\"");
    assert!(shipped().find(&"absence.event.approved".parse().unwrap()).is_none());
}

#[test]
fn every_variable_is_documented() {
    let readme = include_str!("../../README.md");
    for name in shipped().entries.iter().flat_map(names) {
        assert!(readme.contains(&format!("`{{{name}}}`")), "{name}");
    }
}

#[test]
fn patterns_find_types_and_aliases() {
    let matching = |pattern: &str| shipped().matching(&pattern.parse().unwrap()).count();
    assert_eq!(matching("absence.event.*"), 3);
    assert_eq!(matching("*.booking.*"), 15);
    assert_eq!(matching("UpcomingBooking"), 1);
    assert_eq!(matching("upcomingbooking"), 0);
    assert_eq!(matching("absence.*"), 0);
    assert_eq!(matching("*"), shipped().entries.len());
}

#[test]
fn a_type_has_its_own_variables_over_those_of_all() {
    let text =
        "product = 'p'\n[variables]\na = '/a'\nb = '/b'\n[events.'p.x']\nvariables = { b = '/c', d = '/d' }";
    let catalogue = catalogue(text).unwrap();
    let entry = catalogue.find(&"p.x".parse().unwrap()).unwrap();
    assert_eq!(names(entry), ["a", "b", "d"]);
    assert_eq!(entry.variables["b"], "/c".parse().unwrap());
}

#[test]
fn a_fault_is_named_with_its_line() {
    let start = "product = 'p'\n[events.'p.x']\n";
    for (rest, line, says) in [
        ("alias = 'a b'", 3, "must be"),
        ("\nalias = 'p.x'", 4, "already"),
        ("aliass = 'x'", 3, "unknown field `aliass`"),
        ("alias = 1", 3, "string"),
        ("variables = { '1a' = '/a' }", 3, "name of a variable"),
        ("variables = { a = 'a' }", 3, "JSON Pointer"),
        ("[events.'q.x']", 3, "must begin with p."),
        ("[events.'p.']", 3, "must be"),
        ("[events.'p.x']", 3, "duplicate key"),
        ("[events.'p.y']\nalias = 'p.x'", 4, "already"),
        ("[", 3, "key"),
    ] {
        let text = format!("{start}{rest}\n");
        let fault = catalogue(&text).err().unwrap_or_else(|| panic!("{text} was taken"));
        assert_eq!((&*fault.file, fault.line), ("c.toml", line), "{fault}");
        assert!(fault.problem.contains(says), "{fault}");
    }
    assert_eq!(catalogue("").unwrap_err().to_string(), "c.toml:1: missing field `product`");
    let twice = Catalogue::parse(&[("a.toml", start), ("b.toml", start)]).unwrap_err();
    assert_eq!(twice.to_string(), "b.toml:2: p.x is already in a catalogue");
}
