//! The document of `doctor -o json`.

use serde_json::{Value, json};

use super::json;
use crate::doctor::{Checkup, Sign};

/// Returns everything that was looked at.
pub fn checkup(checkup: &Checkup) -> Value {
    let sign = |sign: &Sign| {
        json!({
            "health": sign.health.word(), "about": sign.about, "what": sign.what, "why": sign.why,
            "recipe": sign.recipe,
        })
    };
    let signs: Vec<_> = checkup.signs.iter().map(sign).collect();
    json!({ "v": json::VERSION, "doctor": { "fit": checkup.is_fit(), "signs": signs } })
}
