//! The parser that is used reads expressions as the one does that is made from CEL's grammar.

use cel::common::ast::IdedExpr;
use cel::parser::{Parser, PrattParser};

use super::super::rewrite::children;

/// The expression without the parsers' numbers.
fn plain(mut expr: IdedExpr) -> IdedExpr {
    fn strip(expr: &mut IdedExpr) {
        expr.id = 0;
        children(expr, &mut strip);
    }
    strip(&mut expr);
    expr
}

/// As text, in which what `children` does not reach (the constant parts of loops, entries) has no numbers either.
fn shown(expr: IdedExpr) -> String {
    let text = format!("{:?}", plain(expr));
    let mut parts = text.split("id: ");
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |text, part| {
        text + "id: " + part.trim_start_matches(|letter: char| letter.is_ascii_digit())
    })
}

#[test]
fn both_parsers_read_the_same() {
    for text in [
        "true",
        "-1 + 2 * 3 - -4 % 5 / 6",
        "a.b.c[0]['x'].d(1, 2).e()",
        "a ? b : c ? d : e",
        "a || b && !c || (d && e)",
        "a && b && c && d && e && f && g || h || i || j || k",
        "1 < 2 == true != false",
        "x in [1, 2u, 3.0, -4, 0x1F, 1e3, .5]",
        "'a' + \"b\" + r'\\n' + '''c\nd''' + \"\\u00e9\\x41\\101\\n\" + b'z'",
        "{'a': 1, \"b\": [2, {}], ?'c': d.?e}",
        "[?a.?b, c]",
        "a.?b.?c[?0].orValue(null).x",
        "has(a.b) && has(a.b.c) && !has(a['b'].c)",
        "a.all(x, x > 1) && a.exists(x, x.y == 2) || a.exists_one(x, x) || a.existsOne(y, y)",
        "a.map(x, x.filter(y, y != x).map(z, z > 1, z * 2))",
        "size(a) == a.size() && optional.of(1).hasValue()",
        "index(old.attendees, 'id')[a.id].status != a.status",
        "set(new, 'completed', new.state in data.final[new.graph])",
        "// note\n a // more\n == b",
        "(((a)))",
        "a.b ? {'x': {'y': 1}} : [[]]",
        "\ta\n==\r\nb",
        "!!a == - - 1",
        "a-1",
        "'\\\\' == \"\\\"\"",
        "1 +",
        "a b",
        "a.",
        "[1, 2",
        "{'a' 1}",
        "'open",
        "a.all(1, true)",
        "has(a)",
        "a ?: b",
        "for",
        "a.in",
        "@x",
        "a = b",
        "a & b",
        "",
    ] {
        let generated = Parser::default().enable_optional_syntax(true).parse(text);
        let used = PrattParser::new().enable_optional_syntax(true).parse(text);
        match (generated, used) {
            (Ok(generated), Ok(used)) => assert_eq!(shown(generated), shown(used), "{text}"),
            (Err(_), Err(_)) => {}
            (generated, used) => panic!("{text}: {} {}", generated.is_ok(), used.is_ok()),
        }
    }
}
