//! What preflight finds without a job: the server, the role, the ledger, and who holds old rows.
//!
//! The same checks as those of a plan, so that `doctor` and `plan` cannot disagree.

use super::catalog;
use super::check::{access, server};
use crate::finding::Finding;
use crate::pg::{Fault, Session};

/// What is around a job that is yet to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Around {
    /// As in `15.18 (Debian …)`.
    pub(crate) version: String,
    /// The role, quoted.
    pub(crate) role: String,
    /// What stands against the server.
    pub(crate) of_server: Vec<Finding>,
    /// What stands against the role.
    pub(crate) of_role: Vec<Finding>,
    /// What stands against the ledger.
    pub(crate) of_ledger: Vec<Finding>,
    /// Who keeps old row versions alive.
    pub(crate) of_holders: Vec<Finding>,
}

/// Looks around, changing nothing.
///
/// # Errors
/// When the server cannot be asked.
pub(crate) async fn look_around(session: &mut Session) -> Result<Around, Fault> {
    let facts = catalog::read_around(session).await?;
    let of_server = [server::version(&facts), server::writable(&facts)].concat();
    Ok(Around {
        of_server,
        of_role: server::role(&facts),
        of_ledger: access::ledger(&facts),
        of_holders: server::holders(&facts),
        version: facts.server.version_text,
        role: facts.server.role,
    })
}
