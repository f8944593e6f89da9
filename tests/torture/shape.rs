//! The tables: what their keys are like, and how keys are made.

use fastrand::Rng;

use crate::work::Work;

/// Words whose order differs between bytes and languages.
const WORDS: [&str; 16] = [
    "", "10", "9", "a", "A", "ä", "Äpfel", "apfel", "a-b", "a b", "ab", "ñ", "œuvre", "Z", "ß",
    "日本",
];

/// What a row holds that nobody may change, from its tag `t`.
pub(crate) const PAYLOAD: &str = "\
CASE WHEN t % 100 = 7 THEN (SELECT string_agg(md5((t + i)::text), '') FROM generate_series(1, 150) i)
     ELSE repeat(md5(t::text), 3) END";

/// The kind of a table's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Small gaps everywhere, a big one in the middle, and negative numbers.
    Int8,
    /// Random, so every insert lands anywhere.
    Uuid,
    /// Text in the order of a language, then a number.
    TextAndInt8,
    /// Neighbours a few microseconds apart.
    Timestamptz,
    /// More digits than a float has.
    Numeric,
}

impl Shape {
    pub(crate) const ALL: [Shape; 5] =
        [Shape::Int8, Shape::Uuid, Shape::TextAndInt8, Shape::Timestamptz, Shape::Numeric];

    fn columns(self) -> &'static str {
        match self {
            Shape::Int8 => "id int8",
            Shape::Uuid => "id uuid",
            Shape::TextAndInt8 => "word text COLLATE \"und-x-icu\", id int8",
            Shape::Timestamptz => "at timestamptz",
            Shape::Numeric => "id numeric",
        }
    }

    /// The key's columns, and their values from the texts `a` and `b`.
    fn key(self) -> (&'static str, &'static str) {
        match self {
            Shape::Int8 => ("id", "a::int8"),
            Shape::Uuid => ("id", "a::uuid"),
            Shape::TextAndInt8 => ("word, id", "a, b::int8"),
            Shape::Timestamptz => {
                ("at", "timestamptz 'epoch' + a::int8 * interval '1 microsecond'")
            }
            Shape::Numeric => ("id", "a::numeric"),
        }
    }

    /// Returns the key as the program writes it down.
    pub(crate) fn key_texts(self) -> String {
        let key = self.key().0;
        let texts: Vec<_> = key.split(", ").map(|column| format!("{column}::text")).collect();
        format!("ARRAY[{}]", texts.join(", "))
    }

    /// Returns the statement that cuts the only range of a run that has hardly begun, as that of a
    /// larger table is cut when it is created.
    pub(crate) fn cut(self, ranges: u32) -> String {
        let (key, texts) = (self.key().0, self.key_texts());
        format!(
            "SET datestyle = 'ISO, YMD'; SET timezone = 'UTC';
             CREATE TEMPORARY TABLE cut AS SELECT key, at FROM (
                 SELECT {texts} AS key, row_number() OVER (ORDER BY {key}) AS at, count(*) OVER () AS n
                 FROM torture) k
             WHERE at * {ranges} / n > (at - 1) * {ranges} / n AND at < n - n / {ranges} / 2;
             WITH cuts AS (SELECT row_number() OVER (ORDER BY at) AS no, key, lead(key) OVER (ORDER BY at) AS next FROM cut)
             INSERT INTO piecemeal.range (run_id, no, after, upto)
             SELECT run_id, cuts.no, key, coalesce(next, upto) FROM cuts, piecemeal.range;
             UPDATE piecemeal.range SET upto = (SELECT key FROM cut ORDER BY at LIMIT 1) WHERE no = 0;
             DROP TABLE cut"
        )
    }

    /// Returns the columns of the key.
    pub(crate) fn columns_of_key(self) -> &'static str {
        self.key().0
    }

    /// Returns the statements that make the empty table, and the one that keeps what was deleted.
    pub(crate) fn tables(self, work: Work) -> String {
        let (columns, key) = (self.columns(), self.key().0);
        let (by, then) = work.forms();
        let more =
            work.column().map(|(column, _)| format!("{column} NOT NULL,")).unwrap_or_default();
        let part = if work.is_partitioned() { ", part" } else { "" };
        format!(
            "CREATE TABLE torture (
                 {columns}, {more} tag int8 NOT NULL, n int NOT NULL DEFAULT 0,
                 app_ver int NOT NULL DEFAULT 0, born bool NOT NULL, payload text NOT NULL,
                 UNIQUE (tag{part}), PRIMARY KEY ({key}{part})
             ){by};
             {then}
             CREATE TABLE torture_grave (tag int8 PRIMARY KEY, n int, app_ver int, born bool)"
        )
    }

    /// Returns the insert of rows whose keys are free: key texts `a` and `b`, tags, born. The payload
    /// follows from the tag, and some are too large for their pages.
    pub(crate) fn insert(self, table: &str, work: Work) -> String {
        let (columns, values) = self.key();
        let (column, value) = match work.column() {
            Some((column, value)) => (
                format!(", {}", column.split(' ').next().unwrap_or_default()),
                format!(", {value}"),
            ),
            None => Default::default(),
        };
        format!(
            "INSERT INTO {table} ({columns}{column}, tag, born, payload)
             SELECT {values}{value}, t, $4, {PAYLOAD}
             FROM unnest($1::text[], $2::text[], $3::int8[]) AS u (a, b, t) ON CONFLICT DO NOTHING"
        )
    }

    /// Makes a key at about the place `slot` of `slots`; places beyond that are behind the end.
    pub(crate) fn make(self, rng: &mut Rng, slot: i64, slots: i64) -> (String, String) {
        let near = slot * 1_000 + rng.i64(0..1_000);
        match self {
            Shape::Int8 => {
                let gap = if slot > slots / 2 { 1_000_000_000_000 } else { 0 };
                ((near - slots * 250 + gap).to_string(), String::new())
            }
            Shape::Uuid => {
                let bits = (rng.u128(..) & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
                (format!("{bits:032x}"), String::new())
            }
            Shape::TextAndInt8 => (WORDS[rng.usize(..WORDS.len())].to_owned(), near.to_string()),
            Shape::Timestamptz => {
                let near = slot * 7 + rng.i64(0..7);
                ((1_700_000_000_000_000 + near).to_string(), String::new())
            }
            Shape::Numeric => (format!("9007199254740993.{near:012}"), String::new()),
        }
    }
}
