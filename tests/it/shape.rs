//! The schema side of a job: expand, contract and down, each statement once, whatever happens in between.

use crate::support::cli::{Cli, Running};
use crate::support::db::{Db, pg_dump};
use crate::support::job::Toml;
use crate::support::until;

const POSTS: &str = "\
CREATE TABLE t (id int8 PRIMARY KEY, lat int, lng int);
INSERT INTO t SELECT i, i, i FROM generate_series(1, 100) i;";

const EXPAND: &str = "\
[expand]
up = ['ALTER TABLE t ADD COLUMN loc int']
down = ['ALTER TABLE t DROP COLUMN loc']
";

const CONTRACT: &str = "\
[contract]
up = ['ALTER TABLE t DROP COLUMN lat, DROP COLUMN lng']
";

fn rows() -> Toml {
    Toml::on("t").set("loc", "lat + lng").filter("loc IS NULL").rows(20)
}

fn posts() -> Toml {
    rows().with(EXPAND).with(CONTRACT)
}

/// Returns the columns of a table.
fn columns(db: &Db, table: &str) -> String {
    db.text(&format!(
        "SELECT coalesce(string_agg(attname, ',' ORDER BY attnum), '') FROM pg_attribute
         WHERE attrelid = to_regclass('{table}') AND attnum > 0 AND NOT attisdropped"
    ))
}

fn phase(db: &Db) -> String {
    db.text("SELECT phase || ' ' || status FROM piecemeal.run ORDER BY id DESC LIMIT 1")
}

#[test]
fn a_job_expands_fills_and_stops_before_its_contract() {
    let db = Db::with(POSTS);
    let cli = Cli::new(&db, "job", &posts().text());
    let answer = cli.done(&["run", "job", "-y"]);
    answer.says("[expand] up 1/1: ALTER TABLE t ADD COLUMN loc int").says("next: `piecemeal contract job`");
    assert_eq!(columns(&db, "t"), "id,lat,lng,loc");
    assert_eq!(db.number("SELECT count(*) FROM t WHERE loc = lat + lng"), 100);
    assert_eq!(phase(&db), "verify succeeded");
    let run = cli.status("job");
    assert_eq!((&run["shown"], &run["phase"]), (&"verified".into(), &"verify".into()));
    cli.done(&["run", "job"]).says("next: `piecemeal contract job`");
    cli.done(&["contract", "job", "-y"]).says("contracted: job, 1 statement");
    assert_eq!(columns(&db, "t"), "id,loc");
    assert_eq!(cli.status("job")["shown"], "contracted");
    cli.done(&["contract", "job", "-y"]).says("nothing to do");
}
