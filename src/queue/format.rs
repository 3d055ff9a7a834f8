//! The file FORMAT in the store's directory: in which format its records are and which keys sealed them, read before sled
//! touches anything.
//!
//! ```text
//! postrider store
//! format 4
//! key 1f2e3d4c          what is written is sealed with this one
//! previous 5b6a7988     only while records may still be sealed with this one
//! ```

use std::path::Path;

use super::OpenError;
use super::seal::{FORMAT_VERSION, KeyId, Ring};

/// The file's name.
pub(super) const FORMAT: &str = "FORMAT";

/// What it says of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Keys {
    /// What is written is sealed with this one.
    pub(super) current: String,
    /// Records may still be sealed with this one.
    pub(super) previous: Option<String>,
}

impl Keys {
    /// Those of a store in which this key alone has sealed.
    pub(super) fn only(current: KeyId) -> Keys {
        Keys { current: current.to_string(), previous: None }
    }

    /// The same once it is open with these keys: the current one seals from now on.
    pub(super) fn with(&self, ring: &Ring) -> Keys {
        let current = ring.current().to_string();
        let mut named = std::iter::once(&self.current).chain(&self.previous);
        let previous = named.find(|id| **id != current).cloned();
        // One key was current and another previous: with a third, `check` has refused already.
        Keys { current, previous }
    }

    /// The text of the file.
    pub(super) fn text(&self) -> String {
        let Keys { current, previous } = self;
        let previous = previous.as_ref().map(|id| format!("previous {id}\n")).unwrap_or_default();
        format!("postrider store\nformat {FORMAT_VERSION}\nkey {current}\n{previous}")
    }

    /// Reads the file of the store in `store`, which this binary must be able to read.
    pub(super) fn read(text: &str, store: &Path) -> Result<Keys, OpenError> {
        let store = store.display();
        let refused = |text: String| Err(OpenError::Refused(text));
        let mut lines = text.lines();
        let format = lines.next().filter(|line| *line == "postrider store").and(lines.next());
        let Some(format) = format.and_then(|line| line.strip_prefix("format ")?.parse::<u32>().ok()) else {
            return refused(format!(
                "{store}/{FORMAT} is not a store's marker: restore the directory from a backup, or choose another --data"
            ));
        };
        if format > u32::from(FORMAT_VERSION) {
            return refused(format!(
                "{store} was written by a newer postrider (format {format}, this one reads {FORMAT_VERSION}): install that \
                 version again"
            ));
        }
        let Some(current) = lines.next().and_then(|line| line.strip_prefix("key ")) else {
            return refused(format!("{store}/{FORMAT} names no key: restore the directory from a backup"));
        };
        let previous = lines.next().and_then(|line| line.strip_prefix("previous ")).map(str::to_owned);
        Ok(Keys { current: current.to_owned(), previous })
    }

    /// Refuses a store that these keys cannot open whole.
    pub(super) fn check(&self, ring: &Ring, what: &str) -> Result<(), OpenError> {
        let given: Vec<_> = ring.ids().map(|id| id.to_string()).collect();
        let Some(missing) =
            std::iter::once(&self.current).chain(&self.previous).find(|id| !given.contains(id))
        else {
            return Ok(());
        };
        let given = given.join(" and ");
        Err(OpenError::Refused(format!(
            "{what} is sealed with the key {missing}, and the key given is {given}: give the right one with --key-file or the \
             credential postrider.key; or, if {given} is its new key, give {missing} as well, with --previous-key-file or the \
             credential postrider-previous.key, until `postrider rekey` has ended; nothing was changed"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::MasterKey;

    fn ring(current: u8, previous: Option<u8>) -> Ring {
        Ring::new(&MasterKey([current; 32]), previous.map(|byte| MasterKey([byte; 32])).as_ref())
    }

    #[test]
    fn a_key_stays_named_until_nothing_is_sealed_with_it() {
        let (store, id) = (Path::new("/s"), |byte| ring(byte, None).current().to_string());
        let first = Keys::only(ring(1, None).current());
        assert_eq!(Keys::read(&first.text(), store).unwrap(), first);
        let refused = first.check(&ring(2, None), "/s").unwrap_err().to_string();
        assert!(refused.contains(&id(1)) && refused.contains(&id(2)), "{refused}");
        assert!(refused.contains("--previous-key-file"), "{refused}");

        first.check(&ring(2, Some(1)), "/s").unwrap();
        let both = first.with(&ring(2, Some(1)));
        assert_eq!(both, Keys { current: id(2), previous: Some(id(1)) });
        assert_eq!(Keys::read(&both.text(), store).unwrap(), both);
        assert_eq!(both.with(&ring(2, Some(1))), both);
        assert!(both.check(&ring(2, None), "/s").is_err());
        assert!(both.check(&ring(3, Some(2)), "/s").is_err());
        // Back again.
        both.check(&ring(1, Some(2)), "/s").unwrap();
        assert_eq!(both.with(&ring(1, Some(2))), Keys { current: id(1), previous: Some(id(2)) });
    }
}
