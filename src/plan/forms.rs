//! One statement, as the stretch that it is for needs it.

/// A statement in two forms: for a stretch that begins with the key space, and for one that begins
/// after a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forms {
    first: String,
    next: String,
}

impl Forms {
    pub(super) fn of(compose: impl Fn(bool) -> String) -> Forms {
        Forms { first: compose(false), next: compose(true) }
    }

    /// Returns the form for a stretch that has a lower end, or not.
    pub fn of_stretch(&self, has_lower: bool) -> &str {
        if has_lower { &self.next } else { &self.first }
    }
}
