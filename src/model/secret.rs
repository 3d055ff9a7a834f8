//! A string that is never shown by accident.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// A password or key. `Debug` prints a placeholder, there is no `Display`, and the memory is wiped on drop.
#[derive(Clone, PartialEq, Eq, Hash, Zeroize, ZeroizeOnDrop)]
pub struct Secret(String);

impl Secret {
    /// Takes over `text`.
    #[must_use]
    pub fn new(text: String) -> Secret {
        Secret(text)
    }

    /// The secret itself: for the one place that sends or seals it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_the_secret() {
        assert_eq!(format!("{:?}", Secret::new("hunter2".into())), "[secret]");
    }
}
