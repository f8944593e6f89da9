//! `demo --full`: the whole life of a change, and all the way back, with two versions of an application at work.
//!
//! The steps are those of a deploy: whoever knows only the old columns is gone before they go, and whoever knows only
//! the new one is gone before it does. What was seen meanwhile is checked at the end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use piecemeal::job::Source;
use piecemeal::report::words;
use piecemeal::{Connect, Environment, Error, ErrorKind, Job};
use tokio_postgres::Client;

use super::Done;
use super::demo::{feeling, fill};
use super::run::{How, go};
use super::shape::{Back, contract_of};
use crate::cli::api::{Account, NEW, OLD};
use crate::cli::args::RunPace;
use crate::cli::exit::Exit;
use crate::cli::settings::{Problem, Settings};
use crate::cli::traffic::{Traffic, failed};
use crate::cli::witness::{Compared, Waits, Witness};

/// The job, but for its pace.
const JOB: &str = r#"
[table]
name = "public.posts"
where = "loc IS NULL AND lat IS NOT NULL AND lng IS NOT NULL"

[expand]
up = ["ALTER TABLE posts ADD COLUMN loc point"]
down = ["ALTER TABLE posts DROP COLUMN loc"]

[set]
loc = "point(lng, lat)"

[sync]
reverse = { lat = "loc[1]", lng = "loc[0]" }

[verify]
expect = "lat IS NULL OR lng IS NULL OR (loc IS NOT NULL AND loc ~= point(lng, lat))"

[contract]
up = ["ALTER TABLE posts DROP COLUMN lat, DROP COLUMN lng"]
down = ["ALTER TABLE posts ADD COLUMN lat float8, ADD COLUMN lng float8"]

[[gate]]
before = "contract"
sql = "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'demo old API'"
message = "stop the old API"
"#;

/// Each walk is paced to take about so many seconds, unless that would be slower than `SLOWEST`.
const WALK: u32 = 20;
/// Rows per second.
const SLOWEST: u32 = 5_000;
/// How long the application is alone with the table: at the start, between contract and down, and at the end.
const ALONE: Duration = Duration::from_secs(2);
/// The longest that anybody may wait for us.
const PATIENCE: Duration = Duration::from_millis(200);
/// How often it is looked whether the trigger is there.
const LOOKS: Duration = Duration::from_millis(50);

/// The table as it was, to compare with.
const KEEP: &str = "CREATE TABLE posts_before AS SELECT id, lat, lng, body FROM posts";

const IS_IN_STEP: &str =
    "SELECT count(*) > 0 FROM pg_trigger WHERE tgrelid = 'posts'::regclass AND NOT tgisinternal";

/// All of a table's schema but the order of its columns, and whatever functions there are.
const SCHEMA: &str = "\
SELECT 'column ' || attname || ' ' || format_type(atttypid, atttypmod) || ' ' || attnotnull || ' ' || attidentity::text
    || coalesce(' ' || pg_get_expr(adbin, adrelid), '') AS line
FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attrelid = 'posts'::regclass AND attnum > 0 AND NOT attisdropped
UNION ALL SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'posts'::regclass
UNION ALL SELECT 'trigger ' || tgname FROM pg_trigger WHERE tgrelid = 'posts'::regclass
UNION ALL SELECT conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'posts'::regclass
UNION ALL SELECT 'function ' || oid::regprocedure FROM pg_proc WHERE pronamespace = 'public'::regnamespace
ORDER BY line";

/// What both accounts must agree with: each post is where its writer has put it last, or where it was.
const DATA: &str = "\
SELECT count(*) AS posts, coalesce(sum(p.views), 0)::int8 AS views, count(*) FILTER (
    WHERE ROW(p.lat, p.lng, p.body) IS DISTINCT FROM
          ROW(coalesce(w.lat, b.lat), coalesce(w.lng, b.lng), coalesce(b.body, 'new'))) AS wrong
FROM posts p LEFT JOIN posts_before b USING (id)
LEFT JOIN unnest($1::int8[], $2::float8[], $3::float8[]) AS w (id, lat, lng) USING (id)";

/// The table, those who use it, and what was seen so far.
struct Stage {
    connect: Connect,
    client: Client,
    rows: u32,
    schema: Vec<String>,
    old: Arc<Account>,
    new: Arc<Account>,
    compared: Compared,
}

pub(super) async fn show(settings: &Settings, url: &str, rows: u32) -> Done {
    let printer = settings.printer;
    printer.say(&format!("making a table of {} posts (lat, lng)", words::count(rows.into())));
    let mut stage = Stage::set(url, rows).await?;
    let waits = Witness::waits(&stage.connect).await?;
    let exit = Box::pin(there_and_back(settings, &mut stage)).await?;
    let waits = waits.stop().await?;
    if exit != Exit::Done {
        return Ok(exit);
    }
    let checks = stage.checks(waits).await?;
    let lines = |is_right| {
        let lines = checks.iter().filter(move |check| check.is_right == is_right);
        lines.map(|check| check.text.as_str())
    };
    for line in lines(true) {
        printer.say(&format!("checked: {line}"));
    }
    printer.say(&format!(
        "what the application felt:\n{}\n{}",
        feeling("old API", stage.old.felt()),
        feeling("new API", stage.new.felt())
    ));
    if checks.iter().all(|check| check.is_right) {
        return Ok(Exit::Done);
    }
    let error = Error::new(
        ErrorKind::Unexpected,
        "demo-wrong",
        "the demo's own checks do not agree with what it did",
    );
    Err(lines(false).fold(error, Error::because).into())
}

/// Goes from the old columns to the new one, and back to the start.
async fn there_and_back(settings: &Settings, stage: &mut Stage) -> Done {
    let mut settings = settings.clone();
    settings.is_yes = true;
    let settings = &settings;
    let say = |text: &str| settings.printer.say(&format!("demo: {text}"));
    let job = job(stage.rows)?;
    let desk = settings.desk(Some(&job.name)).await?;

    say("the old API, which knows lat and lng, reads and writes");
    let old = Traffic::start(&stage.connect, stage.rows, &OLD, &stage.old).await?;
    tokio::time::sleep(ALONE).await;
    say("the new API, which knows loc alone, comes as soon as both are kept in step");
    let newcomer = tokio::spawn(stage.newcomer());
    let exit = go(settings, &desk, &job, How::plain(&RunPace::default())).await?;
    if exit != Exit::Done {
        newcomer.abort();
        return Ok(exit);
    }
    let (new, comparer) = newcomer.await.map_err(|error| {
        Error::new(ErrorKind::Unexpected, "demo", "the new API did not come")
            .because(error.to_string())
    })??;
    say("every row is verified; the old API stops, as the deploy is over");
    old.stop().await;
    stage.compared += comparer.stop().await?;
    let exit = Box::pin(contract_of(settings, &desk, &job, None)).await?;
    if exit != Exit::Done {
        return Ok(exit);
    }
    say("the new API is alone, and has no lat and lng; now everything goes back");
    tokio::time::sleep(ALONE).await;
    let comparer = Witness::compare(&stage.connect).await?;
    let back = match Box::pin(Back::over_rows(settings, &desk, &job)).await? {
        Ok(back) => back,
        Err(exit) => return Ok(exit),
    };
    say("the old columns are back and verified; the new API stops, and the old one comes again");
    new.stop().await;
    stage.compared += comparer.stop().await?;
    let old = Traffic::start(&stage.connect, stage.rows, &OLD, &stage.old).await?;
    let exit = back.go_to_the_start().await?;
    tokio::time::sleep(ALONE).await;
    old.stop().await;
    Ok(exit)
}

fn job(rows: u32) -> Result<Job, Problem> {
    let text = format!("{JOB}\n[pace]\nrate = \"{}/s\"\n", (rows / WALK).max(SLOWEST));
    let source = Source { path: Some(PathBuf::from("jobs/posts-loc.toml")), text };
    Ok(Job::parse("posts-loc", source)?)
}

/// One thing that was looked at.
struct Check {
    is_right: bool,
    text: String,
}

impl Stage {
    async fn set(url: &str, rows: u32) -> Result<Stage, Error> {
        let connect = Connect::resolve(Some(url), &Environment::of_process())?
            .application_name("demo witness");
        let (client, _) = connect.open().await?;
        fill(&client, rows, KEEP).await?;
        let schema = schema(&client).await?;
        let (old, new, compared) = (Arc::default(), Arc::default(), Compared::default());
        Ok(Stage { connect, client, rows, schema, old, new, compared })
    }

    /// Waits until rows are kept in step, then lets the new API loose, and both sides be compared.
    fn newcomer(
        &self,
    ) -> impl Future<Output = Result<(Traffic, Witness<Compared>), Error>> + use<> {
        let (connect, rows, account) = (self.connect.clone(), self.rows, Arc::clone(&self.new));
        async move {
            let (client, _) = connect.open().await?;
            loop {
                let looked = client.query_one(IS_IN_STEP, &[]).await;
                if looked.map_err(|error| failed("look for the trigger", &error))?.get(0) {
                    break;
                }
                tokio::time::sleep(LOOKS).await;
            }
            let new = Traffic::start(&connect, rows, &NEW, &account).await?;
            Ok((new, Witness::compare(&connect).await?))
        }
    }

    /// Looks at what was seen, and at what is there.
    async fn checks(&self, waits: Waits) -> Result<Vec<Check>, Error> {
        let data = self.data().await.map_err(|error| failed("check its result", &error))?;
        Ok(vec![self.requests(), self.sides(), patience(waits), self.shape().await?, data])
    }

    fn requests(&self) -> Check {
        let failures = |account: &Account| Account::told(&account.errors);
        let (old, new) = (failures(&self.old), failures(&self.new));
        let first = self.old.first_error().or_else(|| self.new.first_error());
        let first = first.map(|error| format!("; the first: {error}")).unwrap_or_default();
        Check {
            is_right: old + new == 0,
            text: format!("{old} requests of the old API and {new} of the new one failed{first}"),
        }
    }

    fn sides(&self) -> Check {
        let Compared { looks, rows, apart } = self.compared;
        Check {
            is_right: looks > 0 && apart == 0,
            text: format!(
                "old and new columns said different things in {} of {} rows, in {looks} snapshots",
                words::count(apart),
                words::count(rows)
            ),
        }
    }

    async fn shape(&self) -> Result<Check, Error> {
        let now = schema(&self.client).await?;
        let text = if now == self.schema {
            "the schema is that of the start, but for the order of columns".to_owned()
        } else {
            format!("the schema was {:?} at the start, and is {now:?}", self.schema)
        };
        Ok(Check { is_right: now == self.schema, text })
    }

    async fn data(&self) -> Result<Check, tokio_postgres::Error> {
        let places = [self.old.places(), self.new.places()].concat();
        let ids: Vec<i64> = places.iter().map(|(id, _)| *id).collect();
        let (lats, lngs): (Vec<f64>, Vec<f64>) = places.iter().map(|(_, place)| *place).unzip();
        let row = self.client.query_one(DATA, &[&ids, &lats, &lngs]).await?;
        let count = |name: &str| row.get::<_, i64>(name).unsigned_abs();
        let told = |counter: fn(&Account) -> &std::sync::atomic::AtomicU64| {
            Account::told(counter(&self.old)) + Account::told(counter(&self.new))
        };
        let (inserts, deletes) = (told(|it| &it.inserts), told(|it| &it.deletes));
        let views = told(|it| &it.views) - told(|it| &it.views_gone);
        let expected = u64::from(self.rows) + inserts - deletes;
        Ok(Check {
            is_right: count("posts") == expected && count("views") == views && count("wrong") == 0,
            text: format!(
                "{} posts = {} + {} written - {} deleted; {} of them are not where they were put last ({} were put anew); {} of {views} views kept",
                words::count(count("posts")),
                words::count(self.rows.into()),
                words::count(inserts),
                words::count(deletes),
                count("wrong"),
                words::count(places.len() as u64),
                count("views"),
            ),
        })
    }
}

async fn schema(client: &Client) -> Result<Vec<String>, Error> {
    let rows =
        client.query(SCHEMA, &[]).await.map_err(|error| failed("read its schema", &error))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

fn patience(Waits { looks, longest }: Waits) -> Check {
    Check {
        is_right: looks > 0 && longest <= PATIENCE,
        text: format!(
            "the application waited for a lock of ours for {} ms at most (allowed: {} ms), in {} looks",
            longest.as_millis(),
            PATIENCE.as_millis(),
            words::count(looks)
        ),
    }
}
