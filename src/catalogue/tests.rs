use super::*;

fn names(entry: &Entry) -> Vec<&str> {
    entry.variables.keys().map(|name| &**name).collect()
}

fn files(directory: &str, text: &str, others: &[(&str, &str)]) -> Files {
    let mut texts = vec![("catalogue.toml", text)];
    texts.extend(others);
    Files::of(directory, &texts)
}

fn catalogue(text: &str) -> Result<Catalogue, Fault> {
    Catalogue::read(&[files("c/p", text, &[])])
}

/// Reads and checks a product named `p`.
fn checked(text: &str, others: &[(&str, &str)]) -> Result<Product, Fault> {
    let files = files("c/p", text, others);
    let product = Product::read(&files)?;
    product.check(&files)?;
    Ok(product)
}

#[test]
fn what_comes_along_can_be_read_and_holds_what_it_says() {
    for files in shipped_files() {
        Product::read(&files).unwrap().check(&files).unwrap();
    }
    let shipped = Catalogue::shipped();
    assert_eq!(shipped.entries().count(), 3 + 13 + 3 + 18);
    let find = |name: &str| shipped.find(&name.parse().unwrap()).unwrap();
    assert_eq!(names(find("absence.event.deleted")), ["eventId", "typeId", "typeKey"]);
    assert_eq!(names(find("timekit.booking.error")), ["bookingId", "graph", "state"]);
    assert_eq!(names(find("BookingChanged")), ["bookingId", "eventTypeId"]);
    assert_eq!(names(find("trackingtime.time_entry.added")), ["accountId", "entryId", "projectId", "taskId"]);
    let changed = find("timetime.calendar_event.changed");
    assert!(Arc::ptr_eq(find("CalendarEventChanged"), changed));
    let payload = br#"{"type":"CalendarEventChanged","new":{"id":"e7","calendarId":"c1"}}"#;
    assert_eq!(changed.variables["eventId"].find(payload).unwrap().get(), "\"e7\"");
    assert!(shipped.find(&"absence.event.approved".parse().unwrap()).is_none());
}

#[test]
fn every_variable_and_attribute_is_documented() {
    let readme = include_str!("../../README.md");
    for entry in Catalogue::shipped().entries() {
        for name in names(entry) {
            assert!(readme.contains(&format!("`{{{name}}}`")), "{name}");
        }
        for (name, attribute) in &entry.attributes {
            let shown = if attribute.keyed { format!("`{name}.<name>`") } else { format!("`{name}`") };
            assert!(readme.contains(&shown), "{name}");
        }
    }
}

#[test]
fn patterns_find_types_and_aliases() {
    let shipped = Catalogue::shipped();
    let matching = |pattern: &str| shipped.matching(&pattern.parse().unwrap()).count();
    assert_eq!(matching("absence.event.*"), 3);
    assert_eq!(matching("*.booking.*"), 15);
    assert_eq!(matching("UpcomingBooking"), 1);
    assert_eq!(matching("upcomingbooking"), 0);
    assert_eq!(matching("absence.*"), 0);
    assert_eq!(matching("*"), shipped.entries().count());
}

#[test]
fn a_group_is_a_word_for_its_types_and_no_pattern_reaches_into_it() {
    let text = "product = 'p'\n[groups]\ntask = ['p.task.*']\nall = ['p.task.closed', '*']\n[events]\n'p.task.added' = {}\n'p.task.closed' = {}\n'p.note.added' = {}";
    let catalogue = catalogue(text).unwrap();
    let matching = |pattern: &str| -> Vec<_> {
        let pattern = pattern.parse().unwrap();
        catalogue.matching(&pattern).map(|entry| entry.event_type.to_string()).collect()
    };
    assert_eq!(matching("task"), ["p.task.added", "p.task.closed"]);
    assert_eq!(matching("all").len(), 3);
    assert_eq!(matching("note"), [""; 0]);
    assert_eq!(matching("*.task.*"), ["p.task.added", "p.task.closed"]);
}

#[test]
fn a_type_has_its_own_variables_and_attributes_over_those_of_all() {
    let text = "product = 'p'\n[variables]\na = '/a'\nb = '/b'\n[attributes]\nx = '/x'\ny = '/y'\n[events.'p.x']\nvariables = { b = '/c', d = '/d' }\nattributes = { x = '/z', tag = { pointer = '/t/*', keyed = true } }";
    let catalogue = catalogue(text).unwrap();
    let entry = catalogue.find(&"p.x".parse().unwrap()).unwrap();
    assert_eq!(names(entry), ["a", "b", "d"]);
    assert_eq!(entry.variables["b"], "/c".parse().unwrap());
    let payload = br#"{"x":1,"z":2,"y":"why","t":{"a.b":"c"}}"#;
    let is = |name: &str, wanted: &str| {
        let (attribute, member) = entry.attribute(name).unwrap();
        attribute.any(payload, member, &mut |value| value == wanted)
    };
    assert!(is("x", "2") && !is("x", "1") && is("y", "why") && is("tag.a.b", "c") && !is("tag.a", "c"));
    assert!(entry.attribute("tag").is_none() && entry.attribute("x.y").is_none());
    let place = |name: &str| entry.place_of(name).map(ToString::to_string);
    assert_eq!(place("b").as_deref(), Some("/c"));
    assert_eq!(place("x").as_deref(), Some("/z"));
    assert_eq!((place("tag"), place("none")), (None, None));
}

#[test]
fn an_attribute_with_a_wildcard_has_many_values() {
    let any = |pointer: &str, json: &str, wanted: &str| {
        let attribute = Attribute { path: Pointer::with_wildcards(pointer).unwrap(), keyed: false };
        attribute.any(json.as_bytes(), None, &mut |value| value == wanted)
    };
    let json = r#"{"l":[{"s":"A"},{"s":true},{"s":7.0},{"s":null},{"s":["x"]},"x"]}"#;
    for (wanted, found) in
        [("A", true), ("true", true), ("7.0", true), ("7", false), ("null", false), ("x", false)]
    {
        assert_eq!(any("/l/*/s", json, wanted), found, "{wanted}");
    }
    assert!(any("/a", r#"{"a":"\u00e4"}"#, "\u{e4}") && !any("/a", "{", "x") && !any("/a", "7", "7"));
}

const P: &str = "product = 'p'\n[events.'p.x']\n";

#[test]
fn a_schema_may_refer_to_files_beside_it_and_to_nothing_else() {
    let schema = r#"{"$ref":"common.json#/$defs/thing"}"#;
    let common = r#"{"$defs":{"thing":{"type":"object","required":["id"],"properties":{"at":{"format":"date-time"}}}}}"#;
    let files = [("schemas/p.x.json", schema), ("schemas/common.json", common)];
    let product = checked(P, &files).unwrap();
    let validate = |text: &str| product.entries[0].schema.as_ref().unwrap().validate(text.as_bytes());
    assert_eq!(validate(r#"{"id":7,"at":"2024-02-29T10:00:00Z"}"#), Ok(()));
    let broken = |text: &str| validate(text).map_err(|violation| (violation.pointer, violation.rule));
    let error = |pointer: &str, rule: &str| Err((pointer.to_owned(), rule.to_owned()));
    assert_eq!(broken("{}"), error("", "required: needs the member \"id\""));
    assert_eq!(broken("[]"), error("", "type: must be object"));
    assert_eq!(broken(r#"{"id":7,"at":"tomorrow"}"#), error("/at", "format: must be a date-time"));
    assert!(broken(r#"{"id":"\ud800"}"#).unwrap_err().1.starts_with("cannot be read: "));
    for url in ["https://example.com/s.json", "file:///etc/passwd", "missing.json"] {
        let schema = format!(r#"{{"$ref":"{url}"}}"#);
        let fault = checked(P, &[("schemas/p.x.json", &schema)]).unwrap_err();
        assert!(fault.problem.contains("is not in this catalogue's schemas"), "{fault}");
    }
}

#[test]
fn the_deepest_of_several_alternatives_says_what_is_wrong_and_no_value_is_shown() {
    let schema =
        r#"{"properties":{"a":{"oneOf":[{"type":"null"},{"properties":{"b":{"enum":["x","y"]}}}]}}}"#;
    let product = checked(P, &[("schemas/p.x.json", schema)]).unwrap();
    let violation =
        product.entries[0].schema.as_ref().unwrap().validate(br#"{"a":{"b":"canary"}}"#).unwrap_err();
    assert_eq!((&*violation.pointer, &*violation.rule), ("/a/b", r#"enum: must be one of ["x","y"]"#));
}

#[test]
fn a_fault_in_a_schema_or_an_example_is_named_with_its_line() {
    let schema = "{\n \"type\": \"object\",\n \"required\": [\"a\"],\n \"properties\": {\n  \"a\": {\"type\": \"text\"}}}";
    let fault = checked(P, &[("schemas/p.x.json", schema)]).unwrap_err();
    assert_eq!((&*fault.file, fault.line), ("c/p/schemas/p.x.json", 5), "{fault}");
    let schema = schema.replace("text", "string");
    let with_example = |name: &str, example: &str| {
        checked(P, &[("schemas/p.x.json", &schema), (&format!("examples/{name}"), example)])
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        with_example("p.x@odd.json", "{\n\n \"a\": 7}"),
        "c/p/examples/p.x@odd.json:3: /a: type: must be string"
    );
    assert_eq!(
        with_example("p.y.json", "{}"),
        "c/p/examples/p.y.json: p.y is no type of this catalogue; did you mean p.x?"
    );
    assert!(with_example("p.x.json", "{\n,").starts_with("c/p/examples/p.x.json:2: "));
    assert!(with_example("p.x.txt", "{}").contains("must be named <type>.json"));
    let fault = checked(P, &[("schemas/p.z.json", "{}")]).unwrap_err();
    assert!(fault.to_string().starts_with("c/p/schemas/p.z.json: p.z is no type"), "{fault}");
    let common = "{\"$defs\": {\n \"a\": {\"type\": \"strnig\"}}}";
    let files = [("schemas/p.x.json", r#"{"$ref":"common.json#/$defs/a"}"#), ("schemas/common.json", common)];
    let fault = checked(P, &files).unwrap_err();
    assert_eq!((&*fault.file, fault.line), ("c/p/schemas/common.json", 2), "{fault}");
    let fault = checked(P, &[("schemas/common.json", "{\n\n]")]).unwrap_err();
    assert_eq!(fault.line, 3, "{fault}");
}

#[test]
fn a_fault_is_named_with_its_line() {
    for (rest, line, says) in [
        ("alias = 'a b'", 3, "must be"),
        ("\nalias = 'p.x'", 2, "already"),
        ("aliass = 'x'", 3, "unknown field `aliass`"),
        ("alias = 1", 3, "string"),
        ("variables = { '1a' = '/a' }", 3, "name of a variable"),
        ("variables = { a = 'a' }", 3, "JSON Pointer"),
        ("variables = { a = '/l/*/id' }", 3, "one value"),
        ("attributes = { 'a.b' = '/a' }", 3, "name of an attribute"),
        ("attributes = { a = 'a' }", 3, "JSON Pointer"),
        ("attributes = { a = { pointer = '/a', keyed = true } }", 3, "needs a *"),
        ("attributes = { a = { pointer = '/a', kept = true } }", 3, "JSON Pointer"),
        ("[groups]\nall = ['*']\nodd = ['p.y']", 5, "means no type"),
        ("[events.'q.x']", 3, "must begin with p."),
        ("[events.'p']", 3, "must begin with p."),
        ("[events.'p.']", 3, "must be"),
        ("[events.'p.x']", 3, "duplicate key"),
        ("[events.'p.y']\nalias = 'p.x'", 3, "already"),
        ("[", 3, "key"),
    ] {
        let text = format!("{P}{rest}\n");
        let fault = catalogue(&text).err().unwrap_or_else(|| panic!("{text} was taken"));
        assert_eq!((&*fault.file, fault.line), ("c/p/catalogue.toml", line), "{rest}: {fault}");
        assert!(fault.problem.contains(says), "{fault}");
    }
    assert_eq!(catalogue("").unwrap_err().to_string(), "c/p/catalogue.toml:1: missing field `product`");
    let other = Catalogue::read(&[files("c/q", P, &[])]).unwrap_err();
    assert_eq!(other.to_string(), "c/q/catalogue.toml:1: product must be the name of its directory, \"q\"");
    let second = "product = 'q'\n[events]\n'q.x' = { alias = 'p.x' }";
    let group = |group: &str| format!("product = 'q'\n[groups]\n{group} = ['*']\n[events]\n'q.x' = {{}}");
    let p = "product = 'p'\n[groups]\ntask = ['*']\n[events]\n'p.x' = { alias = 'px' }";
    for (word, says) in [("task", "task is already a group of p"), ("px", "px is already the name of p.x")] {
        let fault = Catalogue::read(&[files("c/p", p, &[]), files("c/q", &group(word), &[])]).unwrap_err();
        assert!(fault.to_string() == format!("c/q/catalogue.toml: {says}"), "{fault}");
    }
    assert!(Catalogue::read(&[files("c/p", p, &[]), files("c/q", &group("note"), &[])]).is_ok());
    let named = "product = 'q'\n[events]\n'q.x' = { alias = 'task' }";
    let fault = Catalogue::read(&[files("c/p", p, &[]), files("c/q", named, &[])]).unwrap_err();
    assert_eq!(fault.to_string(), "c/q/catalogue.toml: task is already a group of p");
    let twice = Catalogue::read(&[files("c/p", P, &[]), files("c/q", second, &[])]).unwrap_err();
    assert_eq!(twice.to_string(), "c/q/catalogue.toml:3: p.x is already the name of p.x");
}

#[test]
fn an_operator_sets_options_that_there_are_to_values_that_they_can_have() {
    let load = |set: &str| {
        let settings = crate::config::CatalogueSettings {
            products: vec!["absence".to_owned()],
            directory: None,
            set: vec![set.to_owned()],
        };
        Catalogue::load(&settings).map(|_| ()).map_err(|fault| fault.to_string())
    };
    assert_eq!(load("absence.options.deleted_shows_old=true"), Ok(()));
    assert_eq!(load("absence.options.deleted_only_if_announced = true"), Ok(()));
    let settings = crate::config::CatalogueSettings {
        products: vec!["timetime".to_owned()],
        directory: None,
        set: vec![
            "timetime.profile.max_webhooks=32".to_owned(),
            "timetime.profile.plans=pro enterprise".to_owned(),
        ],
    };
    let catalogue = Catalogue::load(&settings).unwrap();
    let (_, profile) = catalogue.profile("timetime").unwrap();
    assert_eq!(profile.max_webhooks, Some(32));
    assert!(profile.entitles(Some("pro")) && !profile.entitles(Some("free")));
    for (set, says) in [
        ("absence.options.deleted_only_if_announced=yes", "must be a boolean"),
        ("absence.options.deleted_shows=true", "did you mean deleted_shows_old?"),
        ("timetime.options.x=1", "no catalogue of \"timetime\" is in force"),
        ("absence.events.x=1", "must be product.options.name=value"),
        ("absence.options", "must be product.options.name=value"),
        ("absence.profile.max_webhooks=0", "must be a whole number"),
        ("absence.profile.max_chars=5000", "must be a whole number"),
        ("absence.profile.distinct_urls=1", "must be true or false"),
        ("absence.profile.method=PUT", "is not to be set here"),
    ] {
        let fault = load(set).unwrap_err();
        assert!(fault.starts_with("catalogue.set: ") && fault.contains(says), "{set}: {fault}");
    }
}

#[test]
fn names_of_a_whole_catalogue_are_there_for_the_rules_of_every_entity() {
    let text = "product = 'p'\n[[let]]\nname = 'kept'\nvalue = 'new != null'\n[events.'p.x']\n[changes.'p.a']\nrules = [{ when = 'kept', event = 'p.x', payload = 'new' }]\n[changes.'p.b']\nlet = [{ name = 'both', value = 'kept && old != null' }]\nrules = [{ when = 'both', event = 'p.x', payload = 'new' }]";
    assert!(catalogue(text).is_ok(), "{:?}", catalogue(text).err());
    let fault = catalogue(&text.replace("'both', value", "'kept', value")).unwrap_err();
    assert!(fault.problem.contains("kept is already the name of something"), "{fault}");
}

#[test]
fn the_example_of_the_readme_is_a_catalogue() {
    let readme = include_str!("../../README.md");
    let block = |start: &str| {
        let found = readme.split("```toml\n").find(|block| block.starts_with(start)).unwrap();
        found.split("```").next().unwrap()
    };
    let text = block("product = \"parcels\"").to_owned() + block("[profile]");
    let catalogue = Catalogue::read(&[files("c/parcels", &text, &[])]).unwrap();
    assert!(catalogue.profile("parcels").is_some());
    assert!(catalogue.products()[0].rules.has("parcels.parcel"));
}

const Q: &str = "product = 'q'\n[events]\n'q.asked' = {}\n";
const RULES: &str =
    "[[rules]]\nwhen = 'body.a == 1'\nevent = 'q.asked'\npayload = 'body'\nanswer = \"'yes'\"\n";

#[test]
fn what_requests_mean_stands_in_the_main_file_or_in_one_of_its_own() {
    let body = bytes::Bytes::from_static(br#"{ "a": 1 }"#);
    let request = IncomingRequest {
        product: "q",
        kind: "token",
        source: "s",
        event: None,
        id: None,
        body: &body,
        at: crate::model::UnixMs(0),
        org: &"acme".parse().unwrap(),
        org_number: crate::model::OrgNumber(1),
    };
    let limits = ChangeLimits { max_events: 1, max_cost: 1000, max_payload_bytes: 1000 };
    let beside = Catalogue::read(&[files("c/q", Q, &[("requests.toml", RULES)])]).unwrap();
    let within = Q.to_owned() + &RULES.replace("[[rules]]", "[[requests.rules]]");
    let within = Catalogue::read(&[files("c/q", &within, &[]), files("c/p", P, &[])]).unwrap();
    for catalogue in [beside, within] {
        assert_eq!(catalogue.request_products().collect::<Vec<_>>(), ["q"]);
        let mapped = catalogue.map(&request, &limits).unwrap();
        assert_eq!(mapped.answer.as_deref(), Some("yes"));
        assert_eq!((mapped.events[0].event_type.as_str(), &mapped.events[0].payload), ("q.asked", &body));
        assert!(catalogue.maps_requests("q"));
        for other in ["p", "r"] {
            assert!(!catalogue.maps_requests(other));
            let request = IncomingRequest { product: other, ..request };
            assert_eq!(catalogue.map(&request, &limits), Err(RequestRefused::NoRules));
        }
    }
    assert!(!format!("{request:?}").contains('1'), "{request:?}");
}

#[test]
fn a_fault_in_the_rules_for_requests_is_named_with_their_file() {
    let refused = |main: &str, text: &str| {
        Catalogue::read(&[files("c/q", main, &[("requests.toml", text)])]).unwrap_err().to_string()
    };
    let wrong = RULES.replace("body.a", "bdy.a");
    assert!(refused(Q, &wrong).starts_with("c/q/requests.toml:2: there is no variable bdy"));
    assert!(refused(Q, "\nrules = 1").starts_with("c/q/requests.toml:2: invalid type"));
    assert!(refused(Q, "commands = []").starts_with("c/q/requests.toml:1: missing field `rules`"));
    let both = format!("{Q}[requests]\nrules = []\n");
    let said = "c/q/catalogue.toml:4: ";
    assert!(refused(&both, RULES).starts_with(said), "{}", refused(&both, RULES));
    let both = Q.to_owned() + &RULES.replace("[[rules]]", "[[requests.rules]]");
    assert!(refused(&both, RULES).contains("are in requests.toml already"), "{}", refused(&both, RULES));
}

#[test]
fn a_directory_is_read_with_its_rules_for_requests() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("data/catalogue/trackingtime");
    let read = read_directory(&directory).unwrap().remove(0);
    let shipped = shipped_files().into_iter().find(|files| files.name() == "trackingtime").unwrap();
    assert!(read.texts.contains_key("requests.toml"));
    assert_eq!(read.texts, shipped.texts);
}
