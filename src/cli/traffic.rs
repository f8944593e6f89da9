//! The live traffic of the demo: an application that reads and writes posts while they change.
//!
//! It keeps its own account of what the server acknowledged, so that the end can show that no write
//! was lost, and measures what its users would feel.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use piecemeal::{Connect, Error, ErrorKind};
use tokio::task::JoinSet;
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use super::api::{Account, Api};

/// Connections of one version of the application.
const USERS: u32 = 6;
/// What a user does between two requests.
const THINKS: Duration = Duration::from_millis(4);

const VIEW: &str = "UPDATE posts SET views = views + 1 WHERE id = $1";
const DELETE: &str = "DELETE FROM posts WHERE id = $1 RETURNING views::int8";

/// Users at work.
pub(crate) struct Traffic {
    stop: Arc<AtomicBool>,
    users: JoinSet<()>,
}

impl Traffic {
    /// Lets users of a version loose on a table of `rows` posts; what they are told goes into an account.
    pub(crate) async fn start(
        connect: &Connect,
        rows: u32,
        api: &'static Api,
        account: &Arc<Account>,
    ) -> Result<Traffic, Error> {
        let mut traffic = Traffic { stop: Arc::default(), users: JoinSet::new() };
        let connect = connect.clone().application_name(api.name);
        for no in 0..USERS {
            let (client, _) = connect.open().await?;
            let lane = api.lanes.0 + no;
            let user = User {
                client,
                api,
                rows: i64::from(rows),
                lane: i64::from(lane),
                account: Arc::clone(account),
                random: fastrand::Rng::with_seed(u64::from(lane)),
            };
            traffic.users.spawn(user.work(Arc::clone(&traffic.stop)));
        }
        Ok(traffic)
    }

    /// Lets every user finish the request that is under way.
    pub(crate) async fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while self.users.join_next().await.is_some() {}
    }
}

struct User {
    client: Client,
    api: &'static Api,
    rows: i64,
    lane: i64,
    account: Arc<Account>,
    random: fastrand::Rng,
}

impl User {
    async fn work(mut self, stop: Arc<AtomicBool>) {
        while !stop.load(Ordering::Relaxed) {
            let started = Instant::now();
            if let Err(error) = self.request().await {
                self.account.failed(&error);
            }
            self.account.took(started.elapsed());
            tokio::time::sleep(THINKS).await;
        }
    }

    async fn request(&mut self) -> Result<(), tokio_postgres::Error> {
        let any = self.random.i64(1..=self.rows);
        let own = self.own();
        let (lat, lng) = (self.random.f64() * 180.0 - 90.0, self.random.f64() * 360.0 - 180.0);
        let place = [(&lat as Value<'_>, Type::FLOAT8), (&lng as Value<'_>, Type::FLOAT8)];
        let id = |id| [(id as Value<'_>, Type::INT8)];
        let (client, account) = (&self.client, &self.account);
        match self.random.u8(0..100) {
            0..60 => drop(client.query_typed(self.api.read, &id(&any)).await?),
            60..80 => {
                Account::add(&account.views, client.execute_typed(VIEW, &id(&any)).await?);
            }
            80..90 => {
                let all = [id(&own).to_vec(), place.to_vec()].concat();
                if client.execute_typed(self.api.place, &all).await? == 1 {
                    account.put(own, (lat, lng));
                }
            }
            90..97 => {
                for row in client.query_typed(self.api.write, &place).await? {
                    Account::add(&account.inserts, 1);
                    account.put(row.get(0), (lat, lng));
                }
            }
            _ => {
                for row in client.query_typed(DELETE, &id(&own)).await? {
                    account.gone(own, row.get::<_, i64>(0).unsigned_abs());
                }
            }
        }
        Ok(())
    }

    /// Returns a post that nobody else moves or deletes.
    fn own(&mut self) -> i64 {
        let lanes = i64::from(self.api.lanes.1);
        let n_own = (self.rows - 1 - self.lane) / lanes + 1;
        1 + self.lane + lanes * self.random.i64(0..n_own)
    }
}

type Value<'a> = &'a (dyn ToSql + Sync);

/// Returns the error for a statement of the demo itself.
pub(crate) fn failed(what: &str, error: &tokio_postgres::Error) -> Error {
    let cause = error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string);
    Error::new(ErrorKind::Unexpected, "demo", format!("the demo could not {what}")).because(cause)
}
