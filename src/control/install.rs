//! The ledger of a database: whether it is there and can be used, and how it comes there.

use super::{Desk, refused, unreachable};
use crate::error::Error;
use crate::ledger::schema::{self, Ledger};
use crate::pg::fault::is_denied;
use crate::pg::{Fault, Session};

/// Returns the DDL that makes the ledger of one of version `from`, 0 where there is none, and the
/// grants for a role that is to use it, for those who apply DDL by hand.
pub fn ledger_sql(from: i32, operator: Option<&str>) -> String {
    let grants = operator.map(schema::grants).unwrap_or_default();
    format!("BEGIN;\n{}\n{grants}COMMIT;", schema::sql(from))
}

impl Desk {
    /// Returns a session if there is a ledger that we can use; `None` if there is none yet.
    pub(super) async fn ledger(&self) -> Result<Option<Session>, Error> {
        let mut session = self.session().await?;
        let found = schema::look(&mut session).await.map_err(|fault| unreachable(&fault))?;
        Ok(is_usable(found)?.then_some(session))
    }

    /// Installs the ledger if it is missing, and lets `operator` use it.
    ///
    /// # Errors
    /// When this role may not create a schema, or there is no role `operator`; nothing was written.
    pub async fn install(&self, operator: Option<&str>) -> Result<(), Error> {
        let mut session = self.session().await?;
        if let Some(role) = operator
            && !schema::has_role(&mut session, role).await.map_err(|fault| unreachable(&fault))?
        {
            return Err(no_role(role));
        }
        let found = schema::install(&mut session).await.map_err(|fault| not_installed(&fault))?;
        if let Some(role) = operator {
            let granted = schema::grant(&mut session, role).await;
            granted.map_err(|fault| {
                Error::of_fault(format!("`{role}` could not be given the ledger"), &fault)
            })?;
        }
        is_usable(found).map(drop)
    }
}

/// Whether there is a ledger that we can use.
fn is_usable(found: Ledger) -> Result<bool, Error> {
    match found {
        Ledger::Installed => Ok(true),
        Ledger::Missing => Ok(false),
        Ledger::Older(version) => Err(refused(
            "ledger-older",
            format!("the ledger has version {version}, and this release works with {}", schema::VERSION),
            &format!(
                "`piecemeal init`, as its owner, upgrades it and keeps the runs; `piecemeal init --print-sql --from {version}` prints the DDL"
            ),
        )),
        Ledger::Newer(version) => Err(refused(
            "ledger-newer",
            format!("the ledger has version {version}, and this release knows {}", schema::VERSION),
            "use the release that installed it, or a newer one",
        )),
        Ledger::Unlogged => Err(refused(
            "ledger-unlogged",
            "the ledger's tables are UNLOGGED: a crash would empty them, and rows would be done twice".into(),
            "ALTER TABLE piecemeal.run SET LOGGED; the same for ledger, range and journal",
        )),
        Ledger::Denied(lacks) => Err(refused(
            "ledger-privilege",
            "this role may not use the ledger in schema `piecemeal`".into(),
            "its owner runs `piecemeal init --operator ROLE`, or GRANT USAGE ON SCHEMA piecemeal TO ROLE; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA piecemeal TO ROLE;",
        )
        .because(format!("it lacks {lacks}"))),
    }
}

fn not_installed(fault: &Fault) -> Error {
    if !is_denied(fault.message()) {
        return Error::of_fault("the ledger could not be installed", fault);
    }
    refused(
        "ledger-create",
        "this role may not create the schema `piecemeal` for the ledger".into(),
        "`piecemeal init --print-sql` prints the DDL for somebody who may, and `--operator ROLE` the grants",
    )
    .because_of(fault.message())
}

fn no_role(role: &str) -> Error {
    let what = format!("there is no role `{}`; nothing was written", role.escape_debug());
    refused("role-missing", what, "CREATE ROLE makes it; a name is taken as it is, with its case")
}
