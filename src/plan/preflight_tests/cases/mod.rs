//! The cases of preflight, as data.

mod keys;
mod list;
mod partitions;

use crate::plan::facts::Facts;

pub(crate) use list::cases;

/// Who looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// An ordinary role with every privilege that a job needs.
    App,
    /// The same role without any privilege that the case does not grant.
    Bare,
    /// A role that cannot see what others do, with every privilege.
    Blind,
    /// A role with BYPASSRLS, and every privilege.
    Strong,
    /// A role whose name must be quoted, without privileges.
    Mixed,
    /// A superuser.
    Super,
}

impl Role {
    /// Returns its name, quoted.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Role::App | Role::Bare => "app",
            Role::Blind => "blind",
            Role::Strong => "strong",
            Role::Mixed => "\"Mixed Case\"",
            Role::Super => "postgres",
        }
    }

    /// Whether it gets what a job needs.
    pub(crate) fn is_granted(self) -> bool {
        !matches!(self, Role::Bare | Role::Mixed)
    }
}

/// One database with one job, and what is to be found there.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// What it is about.
    pub(crate) name: &'static str,
    /// SQL, run by a superuser; `;;` between statements that cannot share a transaction.
    pub(crate) setup: String,
    /// The job file.
    pub(crate) job: String,
    /// The codes of all findings, in order.
    pub(crate) codes: &'static [&'static str],
    /// SQL for the name that stands for `{name}` in the job file.
    pub(crate) name_sql: Option<&'static str>,
    /// Who looks.
    pub(crate) role: Role,
    /// Options of CREATE DATABASE.
    pub(crate) database: &'static str,
    /// Whether the tables are analyzed.
    pub(crate) analyzed: bool,
    /// What cannot be arranged on a test's server is put into the facts.
    pub(crate) tamper: Option<fn(&mut Facts)>,
}

impl Case {
    /// A case that an ordinary role looks at.
    pub(crate) fn new(
        name: &'static str,
        setup: &str,
        job: String,
        codes: &'static [&'static str],
    ) -> Case {
        let setup = setup.to_owned();
        Case {
            name,
            setup,
            job,
            codes,
            name_sql: None,
            role: Role::App,
            database: "",
            analyzed: true,
            tamper: None,
        }
    }

    /// Lets the server say the table's name.
    pub(crate) fn named_by(mut self, sql: &'static str) -> Case {
        self.name_sql = Some(sql);
        self
    }

    /// Lets another role look.
    pub(crate) fn seen_by(mut self, role: Role) -> Case {
        self.role = role;
        self
    }

    /// Makes the database with these options.
    pub(crate) fn in_database(mut self, options: &'static str) -> Case {
        self.database = options;
        self
    }

    /// Leaves the tables without statistics.
    pub(crate) fn never_analyzed(mut self) -> Case {
        self.analyzed = false;
        self
    }

    /// Changes the facts after they were read.
    pub(crate) fn with(mut self, tamper: fn(&mut Facts)) -> Case {
        self.tamper = Some(tamper);
        self
    }

    /// A table whose key begins with a column of this type.
    pub(crate) fn of_type(sql_type: &str) -> Case {
        let setup = format!(
            "CREATE TYPE mood AS ENUM ('zeta', 'alpha'); CREATE DOMAIN positive AS int CHECK (VALUE > 0);
             CREATE TYPE pair AS (a int, b int); CREATE EXTENSION citext;
             CREATE TABLE t (k {sql_type}, id int, n int, PRIMARY KEY (k, id));"
        );
        Case::new("type", &setup, on("public.t"), &[])
    }

    /// Names that need quotes, and everything that a target has.
    pub(crate) fn resolved() -> Case {
        let setup = "
            CREATE SCHEMA \"My App\"; CREATE SCHEMA ext; CREATE SCHEMA \"a\"\"b\";
            CREATE TYPE \"My App\".\"Kind\" AS ENUM ('a', 'b');
            CREATE TABLE \"My App\".\"Posts\" (n int, \"select\" int, tenant varchar(20),
                \"Id\" \"My App\".\"Kind\", PRIMARY KEY (tenant, \"Id\") INCLUDE (n));
            INSERT INTO \"My App\".\"Posts\" VALUES (1, 1, 'x', 'a'), (1, 1, 'x', 'b'), (1, 1, 'y', 'a');
            CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
            CREATE TRIGGER f BEFORE UPDATE ON \"My App\".\"Posts\" FOR EACH ROW EXECUTE FUNCTION f();";
        let job = "[table]\nname = 'My App.Posts'\nsearch_path = ['ext', 'a\"b']\n\
                   [set]\nselect = '1'\nn = '2'\n";
        Case::new("resolved", setup, job.to_owned(), &[]).seen_by(Role::Super)
    }

    /// A name that a role's own search path leads elsewhere; another schema has it too, off the path.
    pub(crate) fn on_path() -> Case {
        let setup = "CREATE SCHEMA tenant; CREATE TABLE tenant.t (id int PRIMARY KEY, n int);
                     CREATE TABLE public.t (id int PRIMARY KEY, n int);
                     CREATE SCHEMA evil;
                     CREATE FUNCTION evil.eq(text, name) RETURNS bool LANGUAGE sql AS 'SELECT false';
                     CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = name, FUNCTION = evil.eq);
                     GRANT USAGE ON SCHEMA tenant, evil TO app;
                     ALTER ROLE app IN DATABASE {db} SET search_path = evil, tenant";
        Case::new("path", setup, on("t"), &[])
    }
}

/// A job that sets `n` in a table.
pub(crate) fn on(table: &str) -> String {
    format!("[table]\nname = '{table}'\n[set]\nn = '1'\n")
}

/// The same along a key.
pub(crate) fn along(table: &str, key: &[&str]) -> String {
    format!("[table]\nname = '{table}'\nkey = {key:?}\n[set]\nn = '1'\n")
}

/// A job that sets another column.
pub(crate) fn setting(table: &str, column: &str) -> String {
    format!("[table]\nname = '{table}'\n[set]\n'{column}' = 'NULL'\n")
}

/// Types that may be in a key, and how they are resolved.
pub(crate) fn accepted_types() -> [(&'static str, &'static str); 20] {
    [
        ("int2", "smallint"),
        ("int4", "integer"),
        ("int8", "bigint"),
        ("uuid", "uuid"),
        ("text", "text"),
        ("text COLLATE \"C\"", "text"),
        ("varchar", "character varying"),
        ("varchar(5)", "character varying"),
        ("bpchar", "bpchar"),
        ("char(3)", "bpchar"),
        ("numeric", "numeric"),
        ("numeric(10,2)", "numeric"),
        ("date", "date"),
        ("timestamp", "timestamp without time zone"),
        ("timestamptz(3)", "timestamp with time zone"),
        ("bytea", "bytea"),
        ("bool", "boolean"),
        ("mood", "public.mood"),
        ("inet", "inet"),
        ("timestamptz", "timestamp with time zone"),
    ]
}

/// Types that may not be in a key.
pub(crate) fn refused_types() -> [&'static str; 22] {
    [
        "float4",
        "float8",
        "interval",
        "positive",
        "int[]",
        "text[]",
        "int4range",
        "int4multirange",
        "jsonb",
        "citext",
        "\"char\"",
        "name",
        "pair",
        "time",
        "timetz",
        "macaddr",
        "cidr",
        "bit(3)",
        "money",
        "oid",
        "pg_lsn",
        "tsvector",
    ]
}
