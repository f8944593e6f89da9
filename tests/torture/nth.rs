//! What happens to the nth request, before the server has it or after it has answered.
//!
//! Everything that was asked before is answered first, so that nothing but the number decides what
//! has happened by then.

use tokio::io::AsyncWriteExt;

use crate::proxy::{Link, State};
use crate::tricks::gone;
use crate::wire::{Request, query, refusal};

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nth {
    /// The server answers with an error instead of doing it.
    ErrorBefore,
    /// The server does it, and then answers with an error; after a COMMIT, that of a server that is
    /// going down.
    ErrorAfter,
    /// The connection breaks before the server has it.
    CutBefore,
    /// The server does it, and the connection breaks before the answer.
    CutAfter,
    /// The program dies before the server has it.
    KillBefore,
    /// The server does it, and the program dies before the answer.
    KillAfter,
}

impl Nth {
    /// All of them.
    pub(crate) const ALL: [Nth; 6] = [
        Nth::ErrorBefore,
        Nth::ErrorAfter,
        Nth::CutBefore,
        Nth::CutAfter,
        Nth::KillBefore,
        Nth::KillAfter,
    ];

    /// Whether somebody must kill the program.
    pub(crate) fn is_kill(self) -> bool {
        matches!(self, Nth::KillBefore | Nth::KillAfter)
    }

    fn is_after(self) -> bool {
        matches!(self, Nth::ErrorAfter | Nth::CutAfter | Nth::KillAfter)
    }
}

/// Fails with a serialization failure, of which nobody is to blame.
const FAIL: &str = "DO $$BEGIN RAISE EXCEPTION 'the nth request' USING ERRCODE = '40001'; END$$";
const GO_DOWN: &str = "DO $$BEGIN RAISE EXCEPTION 'the nth request' USING ERRCODE = '57P01'; END$$";

impl State {
    /// Lets it happen; returns whether the connection lives.
    pub(crate) async fn happen(&self, what: Nth, link: &mut Link, request: Request) -> bool {
        let before = link.finish().await;
        let heard = link.client.write_all(&before).await.is_ok();
        if what.is_after() {
            link.send(&request.bytes).await;
            link.finish().await;
        }
        self.count(|counts| counts.is_nth = true);
        match what {
            Nth::KillBefore | Nth::KillAfter => {
                gone(&mut link.client).await;
                false
            }
            Nth::CutBefore | Nth::CutAfter => false,
            Nth::ErrorBefore | Nth::ErrorAfter if request.is_opening => {
                let _ = link.client.write_all(&refusal()).await;
                false
            }
            // A COMMIT that fails has ended the transaction.
            Nth::ErrorBefore if request.is_commit => {
                heard && link.send(&query(&format!("ROLLBACK; {FAIL}"))).await
            }
            Nth::ErrorAfter if request.is_commit => heard && link.send(&query(GO_DOWN)).await,
            Nth::ErrorBefore | Nth::ErrorAfter => heard && link.send(&query(FAIL)).await,
        }
    }
}
