//! The SQL of a walk in key order.
//!
//! A stretch of keys is one row comparison for its lower end and one for its upper end, and for a
//! composite key redundant bounds on the leading column, from which the planner estimates (it
//! guesses 25 % of the table for a row comparison). The end of a chunk is found by the index alone:
//! `ORDER BY key OFFSET n-1 LIMIT 1`. Bounds are bound as `text[]` and cast to the column's exact
//! type by the server; operators are qualified, so no schema can put another in their place (F93).
//! Columns are qualified by their table, because `SELECT id::text … ORDER BY id` sorts text.

use super::axis::Axis;
use super::column::KeyColumn;

/// A table and the unique index along which it is walked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyset {
    /// The table, qualified and quoted.
    pub table: String,
    /// The columns of the key, in the index's order; never empty.
    pub columns: Vec<KeyColumn>,
}

impl Axis for Keyset {
    fn above(&self, no: usize) -> String {
        self.bound(no, ">", ">=")
    }

    fn upto(&self, no: usize) -> String {
        self.bound(no, "<=", "<=")
    }

    /// The text is made outside, of the one row that is left: made inside, it would be made of every
    /// row that `OFFSET` skips, which costs more than reading them.
    fn nth(&self, has_lower: bool) -> String {
        let columns: Vec<_> = (0..self.columns.len()).map(|at| self.column(at)).collect();
        format!(
            "SELECT {key} FROM (SELECT {columns} FROM {table} WHERE {lower}{upper} \
             ORDER BY {order} OFFSET $1 LIMIT 1) AS piecemeal_key",
            key = self.key_of("piecemeal_key"),
            columns = columns.join(", "),
            table = self.table,
            lower = if has_lower { self.above(3) + " AND " } else { String::new() },
            upper = self.upto(2),
            order = self.order(""),
        )
    }
}

impl Keyset {
    /// Returns the expression for a row's key as `text[]`.
    pub fn key(&self) -> String {
        self.key_of(&self.table)
    }

    fn key_of(&self, relation: &str) -> String {
        let text = |column: &KeyColumn| format!("{relation}.{}::text", column.name);
        let values: Vec<_> = self.columns.iter().map(text).collect();
        format!("ARRAY[{}]", values.join(", "))
    }

    /// Returns the query for keys that cut the table into as many parts of equal weight as the first parameter
    /// says, in their order, below the key that is the second: from a sample of whole pages, of whose rows a
    /// share is taken, so that it takes the same time for any table. The pages are the same each time, so that
    /// a second attempt finds what the first one has read. They are keys of rows, so nothing is computed with a
    /// key. One that more rows share than a part has cuts once.
    ///
    /// All rows that fulfil `matches` weigh as much again as all rows together, so that no part has more than
    /// twice its share of either. It is computed once for each row that is taken.
    pub fn cuts(&self, percent: f64, share: f64, matches: &str) -> String {
        let columns: Vec<_> = (0..self.columns.len()).map(|at| self.column(at)).collect();
        let of = |alias: &str| {
            let names = self.columns.iter().map(|it| format!("{alias}.{}", it.name));
            names.collect::<Vec<_>>().join(", ")
        };
        let thinned = if share < 1.0 {
            format!(" AND pg_catalog.random() OPERATOR(pg_catalog.<) {share}")
        } else {
            String::new()
        };
        format!(
            "SELECT DISTINCT ON ({cuts}) {key} FROM (
    SELECT {passed}, piecemeal_at, piecemeal_all, piecemeal_unit + CASE WHEN piecemeal_match THEN piecemeal_all ELSE 0 END AS piecemeal_own,
           piecemeal_unit * piecemeal_at + piecemeal_all * piecemeal_found AS piecemeal_sum,
           piecemeal_unit * piecemeal_all + piecemeal_all * piecemeal_matches AS piecemeal_weight
    FROM (
        SELECT {names}, piecemeal_match, row_number() OVER piecemeal_order AS piecemeal_at, count(*) OVER () AS piecemeal_all,
               count(*) FILTER (WHERE piecemeal_match) OVER piecemeal_order AS piecemeal_found,
               count(*) FILTER (WHERE piecemeal_match) OVER () AS piecemeal_matches,
               greatest(count(*) FILTER (WHERE piecemeal_match) OVER (), 1) AS piecemeal_unit
        FROM (
            SELECT {columns}, {matches} AS piecemeal_match FROM {table}
            TABLESAMPLE SYSTEM ({percent}) REPEATABLE (0) WHERE {below}{thinned} OFFSET 0
        ) AS piecemeal_sample WINDOW piecemeal_order AS (ORDER BY {names} ROWS UNBOUNDED PRECEDING)
    ) AS piecemeal_passed
) AS piecemeal_key
WHERE piecemeal_sum * $1 / piecemeal_weight > (piecemeal_sum - piecemeal_own) * $1 / piecemeal_weight
AND piecemeal_at < piecemeal_all ORDER BY {cuts}",
            key = self.key_of("piecemeal_key"),
            cuts = of("piecemeal_key"),
            passed = of("piecemeal_passed"),
            names = of("piecemeal_sample"),
            columns = columns.join(", "),
            table = self.table,
            below = self.bound(2, "<", "<="),
        )
    }

    /// Returns the query for the highest key.
    pub fn last_key(&self) -> String {
        self.outermost("", " DESC")
    }

    /// Returns the query for the lowest key.
    pub fn first_key(&self) -> String {
        self.outermost("", "")
    }

    /// Returns the query for the highest key below the one that is the first parameter.
    pub fn before(&self) -> String {
        self.outermost(&format!(" WHERE {}", self.bound(1, "<", "<=")), " DESC")
    }

    fn outermost(&self, condition: &str, direction: &str) -> String {
        let (key, table, order) = (self.key(), &self.table, self.order(direction));
        format!("SELECT {key} FROM {table}{condition} ORDER BY {order} LIMIT 1")
    }

    /// Returns the order of the key, with `direction` behind each column.
    pub fn order(&self, direction: &str) -> String {
        let columns: Vec<_> =
            (0..self.columns.len()).map(|at| self.column(at) + direction).collect();
        columns.join(", ")
    }

    pub(super) fn column(&self, at: usize) -> String {
        format!("{}.{}", self.table, self.columns[at].name)
    }

    fn value(&self, no: usize, at: usize) -> String {
        format!("(${no}::text[])[{}]::{}", at + 1, self.columns[at].sql_type)
    }

    fn bound(&self, no: usize, operator: &str, leading: &str) -> String {
        let all = 0..self.columns.len();
        if self.columns.len() == 1 {
            return format!(
                "{} OPERATOR(pg_catalog.{operator}) {}",
                self.column(0),
                self.value(no, 0)
            );
        }
        let columns: Vec<_> = all.clone().map(|at| self.column(at)).collect();
        let values: Vec<_> = all.map(|at| self.value(no, at)).collect();
        format!(
            "ROW({}) OPERATOR(pg_catalog.{operator}) ROW({}) AND {} OPERATOR(pg_catalog.{leading}) {}",
            columns.join(", "),
            values.join(", "),
            columns[0],
            values[0],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::column::column;
    use super::*;

    fn keyset(columns: &[(&str, &str)]) -> Keyset {
        let columns = columns.iter().map(|(name, sql_type)| column(name, sql_type)).collect();
        Keyset { table: "public.posts".into(), columns }
    }

    #[test]
    fn a_single_column_is_compared_by_itself() {
        let posts = keyset(&[("id", "bigint")]);
        assert_eq!(
            posts.above(3),
            "public.posts.id OPERATOR(pg_catalog.>) ($3::text[])[1]::bigint"
        );
        assert_eq!(
            posts.nth(false),
            "SELECT ARRAY[piecemeal_key.id::text] FROM (SELECT public.posts.id FROM public.posts \
             WHERE public.posts.id OPERATOR(pg_catalog.<=) ($2::text[])[1]::bigint \
             ORDER BY public.posts.id OFFSET $1 LIMIT 1) AS piecemeal_key"
        );
    }

    #[test]
    fn a_composite_key_is_one_row_comparison_and_a_redundant_leading_bound() {
        let posts = keyset(&[("tenant", "text"), ("id", "bigint")]);
        assert_eq!(
            posts.above(1),
            "ROW(public.posts.tenant, public.posts.id) OPERATOR(pg_catalog.>) \
             ROW(($1::text[])[1]::text, ($1::text[])[2]::bigint) \
             AND public.posts.tenant OPERATOR(pg_catalog.>=) ($1::text[])[1]::text"
        );
    }
}
