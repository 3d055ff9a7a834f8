//! postrider.toml(5): the documented defaults as a page.
//!
//! The file reads: paragraphs of comment, then sections; in a section, comment above the keys that it is about. PURE.

use super::{Page, escaped, title};
use crate::config::DEFAULTS;

/// The page of the configuration file.
pub(super) fn page() -> Page {
    Page { name: "postrider.toml".to_owned(), section: 5, text: text(DEFAULTS) }
}

fn text(defaults: &str) -> String {
    let mut out = title("postrider.toml", 5)
        + ".SH NAME\npostrider.toml \\- configuration of postrider\n.SH DESCRIPTION\n";
    let mut comment: Vec<&str> = Vec::new();
    // Whether the line before was a key: then the comment above is about this key as well.
    let mut after_key = false;
    let mut described = String::new();
    for line in defaults.lines() {
        if let Some((key, value)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            out += if after_key { ".TQ\n" } else { ".TP\n" };
            out.extend(["\\fB", &escaped(&format!("{key} = {value}")), "\\fR\n"]);
            if !after_key {
                described = paragraphs(&comment);
                comment.clear();
            }
            after_key = true;
            continue;
        }
        if after_key {
            out += &described;
            after_key = false;
        }
        if line.starts_with('[') {
            // What stands before the first section is about the file.
            out += &paragraphs(&comment);
            comment.clear();
            out.extend([".SH \"", &escaped(line), "\"\n"]);
        } else if let Some(words) = line.strip_prefix('#') {
            comment.push(words.trim());
        }
    }
    if after_key {
        out += &described;
    }
    out + ".SH FILES\n/etc/postrider/postrider.toml\n.SH \"SEE ALSO\"\npostrider(1), postrider\\-check\\-config(1)\n"
}

/// Lines of comment, where an empty one parts paragraphs.
fn paragraphs(comment: &[&str]) -> String {
    let line = |words: &&str| if words.is_empty() { ".PP\n".to_owned() } else { escaped(words) + "\n" };
    comment.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_share_a_comment_stand_above_it() {
        let page = text(
            "# About.\n#\n# More.\n\n[a]\n# Of both.\nx = 1\ny = \"-\"\n# Of z.\nz = []\n\n[b]\n# Of w.\nw = true\n",
        );
        let body = page.split(".SH DESCRIPTION\n").nth(1).unwrap().split(".SH FILES").next().unwrap();
        let expected = "About.\n.PP\nMore.\n.SH \"[a]\"\n.TP\n\\fBx = 1\\fR\n.TQ\n\\fBy = \"\\-\"\\fR\nOf both.\n.TP\n\\fBz = []\\fR\nOf z.\n\
            .SH \"[b]\"\n.TP\n\\fBw = true\\fR\nOf w.\n";
        assert_eq!(body, expected);
    }

    #[test]
    fn every_setting_is_on_the_page() {
        let page = page().text;
        let settings = DEFAULTS.lines().filter(|line| line.contains(" = ") && !line.starts_with('#'));
        assert!(settings.clone().count() > 30);
        for line in settings {
            assert!(page.contains(&format!("\\fB{}\\fR\n", escaped(line))), "{line}");
        }
    }
}
