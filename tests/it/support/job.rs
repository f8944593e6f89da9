//! Job files, as short as the tests about them need.

/// A job on `t` that adds one to `n` in every row: done twice, it shows.
pub(crate) const INCREMENT: &str =
    "[table]\nname = \"t\"\n[set]\nn = \"n + 1\"\n[batch]\nstripes = 1\n";

/// A job file in parts.
pub(crate) struct Toml {
    table: Vec<String>,
    set: Vec<String>,
    batch: Vec<String>,
    stripes: Option<&'static str>,
    rest: String,
}

impl Toml {
    /// Begins a job on a table, given as the file has it, that goes over each key once: so a test knows
    /// where it is by its cursor. What happens between passes has tests of its own.
    pub(crate) fn on(table: &str) -> Toml {
        let table = vec![format!("name = '''{table}'''")];
        let stripes = Some("stripes = 1");
        Toml { table, set: Vec::new(), batch: Vec::new(), stripes, rest: String::new() }
    }

    /// Lets it go over each key as often as pays.
    pub(crate) fn striped(mut self) -> Toml {
        self.stripes = None;
        self
    }

    /// Begins the job that adds one to `n` in every row of `t`.
    pub(crate) fn increment() -> Toml {
        Toml::on("t").set("n", "n + 1")
    }

    /// Sets a column to an expression.
    pub(crate) fn set(mut self, column: &str, expression: &str) -> Toml {
        let column = column.replace('\\', r"\\").replace('"', "\\\"");
        self.set.push(format!("\"{column}\" = '''{expression}'''"));
        self
    }

    /// Restricts it to rows.
    pub(crate) fn filter(mut self, condition: &str) -> Toml {
        self.table.push(format!("where = '''{condition}'''"));
        self
    }

    /// Walks along these columns.
    pub(crate) fn key(mut self, columns: &[&str]) -> Toml {
        self.table.push(format!("key = {columns:?}"));
        self
    }

    /// Walks in physical order.
    pub(crate) fn physical(mut self) -> Toml {
        self.table.push("order = \"physical\"".to_owned());
        self
    }

    /// Makes its batches of so many rows.
    pub(crate) fn rows(self, rows: u32) -> Toml {
        self.batch(&format!("rows = {rows}"))
    }

    /// Adds a line under `[batch]`.
    pub(crate) fn batch(mut self, line: &str) -> Toml {
        self.batch.push(line.to_owned());
        self
    }

    /// Records up to so many bad rows and goes on.
    pub(crate) fn quarantine(self, max: u32) -> Toml {
        self.with(&format!("[bad_rows]\npolicy = \"quarantine\"\nmax = {max}"))
    }

    /// Expects something of every row at the end.
    pub(crate) fn expect(mut self, condition: &str) -> Toml {
        self.rest = format!("[verify]\nexpect = '''{condition}'''\n");
        self
    }

    /// Adds what stands below the tables that come first, as in `[pace]` and `[[hold]]`.
    pub(crate) fn with(mut self, text: &str) -> Toml {
        self.rest.push_str(text);
        self.rest.push('\n');
        self
    }

    /// Returns the text of the file.
    pub(crate) fn text(&self) -> String {
        let lines = |lines: &[String]| lines.join("\n");
        format!(
            "[table]\n{}\n[set]\n{}\n[batch]\n{}\n{}\n{}",
            lines(&self.table),
            lines(&self.set),
            lines(&self.batch),
            self.stripes.unwrap_or_default(),
            self.rest
        )
    }
}

/// Creates `t` with the keys 1 to `rows`, none of them done.
pub(crate) fn numbers(rows: u32) -> String {
    format!(
        "CREATE TABLE t (id int8 PRIMARY KEY, n int NOT NULL DEFAULT 0);
         INSERT INTO t SELECT generate_series(1, {rows})"
    )
}
