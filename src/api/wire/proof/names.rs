//! Which headers of a webhook are spoken for. PURE.

/// Headers that are spoken for, each with what wants it.
#[derive(Default)]
pub(super) struct Names(Vec<(Box<str>, &'static str)>);

impl Names {
    /// Notes a header that nothing else can want yet.
    pub(super) fn add(&mut self, name: &str, wanted_by: &'static str) {
        self.0.push((name.into(), wanted_by));
    }

    /// Notes a header, unless something else has it.
    ///
    /// # Errors
    /// What has it.
    pub(super) fn take(&mut self, name: &str, wanted_by: &'static str) -> Result<(), String> {
        if let Some((_, holder)) = self.0.iter().find(|(held, _)| **held == *name) {
            return Err(format!("must not be \"{name}\": {holder} is sent in it"));
        }
        self.add(name, wanted_by);
        Ok(())
    }
}
