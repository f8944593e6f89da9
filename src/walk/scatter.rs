//! By what a row gets its stripe.
//!
//! It goes by the key alone, so that a row is in the same stripe for every session and for ever; and where
//! the key has others, by the columns that do not change when a row moves to another partition. A run
//! notes what each column adds when its walk begins: what a chunk that is open is parted by must not
//! change when the partitions do.

use serde::{Deserialize, Serialize};

use super::column::KeyColumn;
use super::keyset::Keyset;

/// What a column of the key adds to the number by which a row gets its stripe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scatter {
    /// Its bits, folded: numbers that follow each other are in different stripes, also if they are even, or
    /// multiples of a thousand.
    Folded,
    /// A hash, in each place of the key another one: equal numbers that are folded would cancel each
    /// other out.
    Hashed,
    /// Nothing.
    Nothing,
}

impl Keyset {
    /// The same with what each of its columns adds, if a row that moves to another partition changes those
    /// for which `moves` is true.
    pub fn scattered(mut self, moves: impl Fn(&KeyColumn) -> bool) -> Keyset {
        let is_any = self.columns.iter().all(&moves);
        for column in &mut self.columns {
            let counts = is_any || !moves(column);
            column.stripe = if counts { Scatter::Hashed } else { Scatter::Nothing };
        }
        let counted = |column: &&mut KeyColumn| column.stripe == Scatter::Hashed;
        let numbers = self.columns.iter_mut().filter(counted).filter(|column| column.is_number());
        if let Some(last) = numbers.last() {
            last.stripe = Scatter::Folded;
        }
        self
    }

    /// The same with what its columns added when the run that noted them began its walk. Where nothing is
    /// noted, an older release has begun it, and every number is folded.
    pub fn scattered_as(mut self, noted: Option<&[KeyColumn]>) -> Keyset {
        for (at, column) in self.columns.iter_mut().enumerate() {
            column.stripe = match noted {
                Some(noted) => noted.get(at).map_or(column.stripe, |then| then.stripe),
                None if column.is_number() && column.stripe == Scatter::Hashed => Scatter::Folded,
                None => column.stripe,
            };
        }
        self
    }

    /// Returns the condition for keys in the stripe bound as parameter `no`, of as many as are bound as
    /// `of`, a power of two.
    pub fn in_stripe(&self, no: usize, of: usize) -> String {
        let added =
            self.columns.iter().enumerate().filter_map(|(at, column)| match column.stripe {
                Scatter::Folded => Some(self.folded(at)),
                Scatter::Hashed => Some(self.hashed(at)),
                Scatter::Nothing => None,
            });
        let number = added.collect::<Vec<_>>().join(" OPERATOR(pg_catalog.#) ");
        format!("(({number}) OPERATOR(pg_catalog.&) (${of} - 1)) = ${no}")
    }

    /// The low bits are what counts.
    fn folded(&self, at: usize) -> String {
        let number = format!("{}::pg_catalog.int8", self.column(at));
        let folds = [3, 6, 9].map(|bits| {
            format!(" OPERATOR(pg_catalog.#) ({number} OPERATOR(pg_catalog.>>) {bits})")
        });
        format!("({number}{})", folds.concat())
    }

    fn hashed(&self, at: usize) -> String {
        let column = self.column(at);
        match self.columns[at].sql_type.as_str() {
            "smallint" | "integer" | "bigint" => {
                format!("pg_catalog.hashint8extended({column}::pg_catalog.int8, {at})")
            }
            "uuid" => format!("pg_catalog.uuid_hash_extended({column}, {at})"),
            _ => format!(
                "pg_catalog.hashtextextended({column}::pg_catalog.text COLLATE pg_catalog.\"C\", {at})"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::column::column;
    use super::*;

    fn keyset(columns: &[(&str, &str)]) -> Keyset {
        let columns = columns.iter().map(|(name, sql_type)| column(name, sql_type)).collect();
        Keyset { table: "t".into(), columns }
    }

    fn scattered(columns: &[(&str, &str)], moves: &[&str]) -> Vec<Scatter> {
        let keyset = keyset(columns).scattered(|column| moves.contains(&column.name.as_str()));
        keyset.columns.iter().map(|column| column.stripe).collect()
    }

    use Scatter::{Folded, Hashed, Nothing};

    const NUMBERS: &[(&str, &str)] = &[("a", "bigint"), ("b", "integer")];

    #[test]
    fn the_last_number_is_folded_and_everything_before_it_is_hashed() {
        assert_eq!(scattered(&[("id", "smallint")], &[]), [Folded]);
        assert_eq!(scattered(NUMBERS, &[]), [Hashed, Folded]);
        assert_eq!(scattered(&[("id", "bigint"), ("name", "text")], &[]), [Folded, Hashed]);
        assert_eq!(scattered(&[("id", "uuid")], &[]), [Hashed]);
    }

    #[test]
    fn a_stripe_goes_by_what_stays_when_a_row_moves_to_another_partition() {
        assert_eq!(scattered(NUMBERS, &["b"]), [Folded, Nothing]);
        assert_eq!(scattered(NUMBERS, &["a"]), [Nothing, Folded]);
        assert_eq!(scattered(NUMBERS, &["a", "b"]), [Hashed, Folded], "there is nothing else");
    }

    #[test]
    fn what_a_run_noted_holds_whatever_the_partitions_have_become() {
        let then = keyset(NUMBERS).scattered(|_| false);
        let now = keyset(NUMBERS).scattered(|column| column.name == "b");
        assert_ne!(now.in_stripe(1, 2), then.in_stripe(1, 2));
        let noted = now.scattered_as(Some(&then.columns));
        assert_eq!(noted.in_stripe(1, 2), then.in_stripe(1, 2));
    }

    #[test]
    fn a_run_of_an_older_release_has_all_numbers_folded() {
        let of_old = |columns, moves: &str| {
            let keyset =
                keyset(columns).scattered(|column| column.name == moves).scattered_as(None);
            keyset.columns.iter().map(|column| column.stripe).collect::<Vec<_>>()
        };
        assert_eq!(of_old(NUMBERS, ""), [Folded, Folded]);
        assert_eq!(of_old(NUMBERS, "a"), [Nothing, Folded]);
        assert_eq!(of_old(&[("name", "text"), ("id", "bigint")], ""), [Hashed, Folded]);
    }

    #[test]
    fn the_text_of_a_stripe_is_what_it_was_at_all_times() {
        let folded = "(t.b::pg_catalog.int8 OPERATOR(pg_catalog.#) (t.b::pg_catalog.int8 \
            OPERATOR(pg_catalog.>>) 3) OPERATOR(pg_catalog.#) (t.b::pg_catalog.int8 OPERATOR(pg_catalog.>>) 6) \
            OPERATOR(pg_catalog.#) (t.b::pg_catalog.int8 OPERATOR(pg_catalog.>>) 9))";
        let one = keyset(&[("b", "integer")]).scattered(|_| false);
        assert_eq!(
            one.in_stripe(1, 2),
            format!("(({folded}) OPERATOR(pg_catalog.&) ($2 - 1)) = $1")
        );
        let two = keyset(NUMBERS).scattered(|_| false);
        assert_eq!(
            two.in_stripe(1, 2),
            format!(
                "((pg_catalog.hashint8extended(t.a::pg_catalog.int8, 0) OPERATOR(pg_catalog.#) {folded}) \
                 OPERATOR(pg_catalog.&) ($2 - 1)) = $1"
            )
        );
    }
}
