//! Is this the server and the role to run with, and is it in a state to?

use crate::finding::Finding;
use crate::plan::catalog::OLDEST;
use crate::plan::facts::{Facts, Holder, HolderKind};

/// The newest major version that was tested.
const NEWEST: i32 = 18;

/// Something that holds old rows for longer than this, in seconds, is named.
const LONG: i64 = 5 * 60;

/// The same for what has no time, in transaction ids.
const FAR: i64 = 1_000_000;

/// The version is one that was tested.
pub(crate) fn version(facts: &Facts) -> Vec<Finding> {
    let (major, text) = (facts.server.major(), &facts.server.version_text);
    let finding = if major < OLDEST {
        Finding::refuse("server-too-old", format!("the server is PostgreSQL {text}"))
            .because(format!("PostgreSQL {OLDEST} is the oldest that is supported"))
            .recipe(format!("upgrade it to PostgreSQL {OLDEST} or later"))
    } else if major > NEWEST {
        Finding::warn("server-newer", format!("the server is PostgreSQL {text}"))
            .because(format!("this version was tested with PostgreSQL {OLDEST} to {NEWEST}"))
            .recipe("look for a newer release of piecemeal, or try the job on a copy first")
    } else {
        return Vec::new();
    };
    vec![finding.at(format!("database {}", facts.server.database))]
}

/// It takes writes, and nobody decided that it should not.
pub(crate) fn writable(facts: &Facts) -> Vec<Finding> {
    let (server, mut found) = (&facts.server, Vec::new());
    if server.in_recovery {
        let finding = Finding::refuse("server-standby", "the server is a standby")
            .because("only its primary can be written")
            .recipe(
                "connect to the primary, or give all hosts and `target_session_attrs=read-write`",
            );
        found.push(finding);
    }
    if server.is_read_only {
        let (role, database) = (&server.role, &server.database);
        let finding = Finding::refuse("server-read-only", format!("transactions of role {role} are read-only"))
            .because("somebody set default_transaction_read_only, and that is not for us to override")
            .recipe(format!("ask why it was set: as {role}, SELECT source FROM pg_settings WHERE name = 'default_transaction_read_only';"))
            .recipe(format!(
                "then end it where it says:\n\
                 ALTER ROLE {role} RESET default_transaction_read_only;\n\
                 ALTER ROLE {role} IN DATABASE {database} RESET default_transaction_read_only;\n\
                 ALTER DATABASE {database} RESET default_transaction_read_only;\n\
                 ALTER SYSTEM RESET default_transaction_read_only; SELECT pg_reload_conf();"
            ));
        found.push(finding);
    }
    found.into_iter().map(|finding| finding.at(format!("database {}", server.database))).collect()
}

/// The role has no more power than it needs.
pub(crate) fn role(facts: &Facts) -> Vec<Finding> {
    let server = &facts.server;
    let finding = if server.is_superuser {
        Finding::warn("role-superuser", format!("role {} is a superuser", server.role))
            .because("no privilege and no policy is checked for the SQL of the job")
            .recipe("use a role of its own: CREATE ROLE backfill LOGIN; and grant it what preflight then asks for")
    } else if server.bypasses_row_security {
        Finding::warn("role-bypassrls", format!("role {} bypasses row security", server.role))
            .because("policies are not applied to the rows that the job changes")
            .recipe(format!(
                "if no table with policies needs it: ALTER ROLE {} NOBYPASSRLS;",
                server.role
            ))
    } else {
        return Vec::new();
    };
    vec![finding.at(format!("database {}", server.database))]
}

/// Nothing keeps VACUUM from removing what the run leaves behind.
pub(crate) fn holders(facts: &Facts) -> Vec<Finding> {
    let Some(around) = &facts.surroundings else { return Vec::new() };
    let is_old = |holder: &&Holder| {
        holder.seconds.is_some_and(|seconds| seconds > LONG) || holder.transactions > FAR
    };
    let mut found: Vec<_> = around.holders.iter().filter(is_old).map(warn_of).collect();
    if !facts.server.sees_activity {
        let role = &facts.server.role;
        let finding = Finding::note(
            "activity-hidden",
            "it is unknown whether others have old transactions open",
        )
        .at(format!("role {role}"))
        .because(
            "the transactions of other roles are hidden from it, and old ones keep VACUUM from \
                 removing what the run leaves behind",
        )
        .recipe(format!("GRANT pg_read_all_stats TO {role};"));
        found.push(finding);
    }
    found
}

fn warn_of(holder: &Holder) -> Finding {
    let name = &holder.name;
    let (code, place, what, recipe) = match holder.kind {
        HolderKind::Session => (
            "old-transaction",
            "pg_stat_activity",
            format!("the session with pid {name} has an old transaction open"),
            format!("find out whose it is, and end it: SELECT pg_terminate_backend({name});"),
        ),
        HolderKind::Prepared => (
            "old-prepared",
            "pg_prepared_xacts",
            format!("transaction {name} was prepared long ago"),
            format!(
                "ROLLBACK PREPARED {name}; or COMMIT PREPARED {name}; whichever its owner wants"
            ),
        ),
        HolderKind::Slot => (
            "old-slot",
            "pg_replication_slots",
            format!("replication slot {name} holds old rows"),
            format!("let its consumer go on, or drop it: SELECT pg_drop_replication_slot({name});"),
        ),
        HolderKind::Standby => (
            "old-standby",
            "pg_stat_replication",
            format!("the standby that pid {name} serves holds old rows"),
            "end the long queries there, or turn its hot_standby_feedback off".to_owned(),
        ),
    };
    let since = holder.since.as_ref().map(|since| format!("since {since}, "));
    let since = format!("{}for {} transactions", since.unwrap_or_default(), holder.transactions);
    Finding::warn(code, format!("{what} ({since})"))
        .at(place)
        .because("VACUUM cannot remove the old versions of rows: the table bloats and the walk slows down")
        .recipe(recipe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::facts::{Ledger, Server, Surroundings};

    fn facts(version: i32, holders: Vec<Holder>) -> Facts {
        let server = serde_json::json!({
            "version": version, "version_text": "x", "in_recovery": false, "is_read_only": false,
            "encoding": "UTF8", "database": "db", "role": "app", "is_superuser": false,
            "bypasses_row_security": false, "sees_activity": true, "shared_buffers": 1_000_000, "path": [],
        });
        let server: Server = serde_json::from_value(server).unwrap();
        let ledger =
            Ledger { has_schema: false, can_create: true, schema_usage: false, tables: Vec::new() };
        let around = Surroundings { ledger, search_path: Vec::new(), holders };
        let (relations, near) = (Vec::new(), Vec::new());
        Facts { server, relations, near, table: None, surroundings: Some(around) }
    }

    #[test]
    fn the_supported_versions_are_14_to_18() {
        let code = |number| version(&facts(number, Vec::new())).first().map(|it| it.code);
        assert_eq!(code(139_999), Some("server-too-old"));
        assert_eq!(code(140_000), None);
        assert_eq!(code(180_009), None);
        assert_eq!(code(190_000), Some("server-newer"));
    }

    #[test]
    fn five_minutes_are_not_yet_long_and_a_million_transactions_not_yet_far() {
        let found = |seconds, transactions| {
            let (kind, name) = (HolderKind::Session, "1".to_owned());
            let holder = Holder { kind, name, since: None, seconds, transactions };
            holders(&facts(150_000, vec![holder])).len()
        };
        assert_eq!([found(Some(300), 9), found(Some(301), 9)], [0, 1]);
        assert_eq!([found(None, 1_000_000), found(None, 1_000_001)], [0, 1]);
    }
}
