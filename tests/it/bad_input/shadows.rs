//! A schema whose functions and operators stand before those of PostgreSQL, and count their calls.

use crate::support::cli::Cli;
use crate::support::db::Db;
use crate::support::job::{Toml, numbers};

/// A function and an operator for nearly all that PostgreSQL has, with the same arguments; a call counts even where
/// its transaction is rolled back.
const SHADOWS: &str = r"
CREATE SCHEMA evil; CREATE SEQUENCE evil.calls;
DO $do$
DECLARE it record; body text := 'BEGIN PERFORM pg_catalog.nextval(''evil.calls''); RETURN NULL; END';
BEGIN
    FOR it IN SELECT p.oid, proname, pg_get_function_identity_arguments(p.oid) AS arguments, format_type(prorettype, NULL) AS result
        FROM pg_proc p WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind = 'f' AND NOT proretset AND provariadic = 0
            AND proargmodes IS NULL
            AND NOT EXISTS (SELECT FROM pg_type t WHERE t.typtype = 'p' AND t.oid = ANY (proargtypes::oid[] || prorettype))
    LOOP
        EXECUTE format('CREATE FUNCTION evil.%I(%s) RETURNS %s LANGUAGE plpgsql AS %L', it.proname, it.arguments, it.result, body);
    END LOOP;
    FOR it IN SELECT o.oid, oprname, format_type(oprleft, NULL) AS of_left, format_type(oprright, NULL) AS of_right,
            format_type(oprresult, NULL) AS result
        FROM pg_operator o WHERE oprkind = 'b'
            AND NOT EXISTS (SELECT FROM pg_type t WHERE t.typtype = 'p' AND t.oid IN (oprleft, oprright, oprresult))
    LOOP
        EXECUTE format('CREATE FUNCTION evil.operator_%s(%s, %s) RETURNS %s LANGUAGE plpgsql AS %L',
            it.oid, it.of_left, it.of_right, it.result, body);
        EXECUTE format('CREATE OPERATOR evil.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = evil.operator_%s)',
            it.oprname, it.of_left, it.of_right, it.oid);
    END LOOP;
END $do$;";

/// Everything that asks the server, in an order in which each has something to do.
const COMMANDS: &[(i32, &[&str])] = &[
    (0, &["doctor", "job"]),
    (0, &["new", "draft", "--table", "public.t", "--print"]),
    (0, &["plan", "job"]),
    (0, &["init"]),
    (4, &["run", "job", "-y", "--limit", "20"]),
    (0, &["status"]),
    (0, &["throttle", "job", "--rate", "1M/s"]),
    (0, &["run", "job"]),
    (0, &["quarantine", "job"]),
    (0, &["verify", "job"]),
    (0, &["history", "job"]),
    (0, &["contract", "job", "-y"]),
    (0, &["wait", "job"]),
    (0, &["watch"]),
    (0, &["forget", "job", "-y"]),
];

#[test]
fn nothing_that_shadows_postgresql_is_called_by_any_command() {
    let db = Db::with(&numbers(100));
    db.exec(SHADOWS);
    let role = format!("shadowed_{}", db.name);
    db.exec(&format!("CREATE ROLE {role} SUPERUSER LOGIN"));
    let path = "SET search_path = evil, pg_catalog, public";
    db.exec(&format!("ALTER ROLE {role} IN DATABASE {} {path}", db.name));
    let job = Toml::on("public.t").set("n", "n + 1").rows(10).expect("n > 0").quarantine(5);
    let contract = "[contract]\nup = ['ALTER TABLE public.t DROP COLUMN n']\n";
    let gate = "[[gate]]\nmessage = 'first'\nsql = 'SELECT true'\n[[hold]]\non = 'oldest-transaction'\nabove = '1h'";
    let mut cli = Cli::new(&db, "job", &job.with(contract).with(gate).text());
    cli.url = db.url.replace("postgres@", &format!("{role}@"));
    // They are there, and count.
    another_session_calls_them(&cli.url, &db);
    for (code, args) in COMMANDS {
        let answer = cli.call(args);
        assert_eq!(answer.code, *code, "{args:?}: {answer:?}");
        assert!(
            db.is("(SELECT NOT is_called FROM evil.calls)"),
            "{args:?} calls what shadows PostgreSQL"
        );
    }
}

/// Sees to it that another session of the role would call them.
fn another_session_calls_them(url: &str, db: &Db) {
    let session = Db::connect("shadowed", url);
    session.exec("SELECT 1 = 1, length('a'::text)");
    assert!(db.is("(SELECT last_value >= 2 FROM evil.calls)"));
    db.exec("SELECT setval('evil.calls', 1, false)");
}
