//! Every job in `jobs/` is run by the real program, on the table that it says it expects.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::page::{self, Page};
use super::server::{Db, text};

/// What is put into the table of a job, and a count of rows that are wrong at the end.
const TRIALS: &[(&str, &str, &str)] = &[
    (
        "posts-loc",
        "INSERT INTO posts SELECT i, i % 90, CASE WHEN i % 7 > 0 THEN i % 180 END, 'x'
         FROM generate_series(1, 3000) i",
        "SELECT count(*) FROM posts WHERE (loc IS NOT NULL) <> (lng IS NOT NULL) OR loc[1] <> lat OR loc[0] <> lng",
    ),
    (
        "email-lower",
        "INSERT INTO users SELECT gen_random_uuid(), CASE WHEN i % 7 > 0 THEN 'User' || i END
         FROM generate_series(1, 3000) i",
        "SELECT count(*) FROM users WHERE email_lower IS DISTINCT FROM lower(email)",
    ),
    (
        "price-raise",
        "INSERT INTO products SELECT 'sku-' || i, CASE WHEN i % 3 > 0 THEN 'book' ELSE 'pen' END, 1000
         FROM generate_series(1, 3000) i",
        "SELECT count(*) FROM products WHERE cents <> CASE kind WHEN 'book' THEN 1050 ELSE 1000 END",
    ),
    (
        "readings-celsius",
        "INSERT INTO readings SELECT i, i % 13, CASE WHEN i % 7 > 0 THEN i % 120 END
         FROM generate_series(1, 3000) i",
        "SELECT count(*) FROM readings WHERE celsius IS DISTINCT FROM (fahrenheit - 32) / 1.8",
    ),
    (
        "counters-bigint",
        "INSERT INTO counters SELECT i % 13, 'counter-' || i, CASE WHEN i % 7 > 0 THEN i END
         FROM generate_series(1, 3000) i",
        "SELECT count(*) FROM counters WHERE n_big IS DISTINCT FROM n",
    ),
    (
        "posts-loc-full",
        "INSERT INTO posts SELECT i, i % 90, CASE WHEN i % 7 > 0 THEN i % 180 END, 'x'
         FROM generate_series(1, 3000) i",
        "SELECT count(*) FROM posts WHERE (loc IS NOT NULL) <> (lng IS NOT NULL) OR loc[1] <> lat OR loc[0] <> lng",
    ),
    (
        "people-names",
        "INSERT INTO people SELECT i, 'First' || i || CASE WHEN i % 7 > 0 THEN ' Middle Last' ELSE '' END
         FROM generate_series(1, 3000) i",
        "SELECT count(*) FROM people WHERE concat_ws(' ', first_name, last_name) <> name OR first_name <> 'First' || id",
    ),
    (
        "articles-slug",
        "INSERT INTO articles SELECT i, 'Article No. ' || i || '!' FROM generate_series(1, 3000) i",
        "SELECT count(*) FROM articles WHERE slug IS DISTINCT FROM 'article-no-' || id",
    ),
    (
        "payments-columns",
        "INSERT INTO payments SELECT i, jsonb_build_object('amount', i, 'currency', 'CHF')
         FROM generate_series(1, 3000) i",
        "SELECT count(*) FROM payments WHERE currency IS DISTINCT FROM 'CHF' OR amount IS DISTINCT FROM id",
    ),
    (
        "profiles-bio",
        "INSERT INTO accounts SELECT i, CASE WHEN i % 7 > 0 THEN 'bio ' || i END FROM generate_series(1, 3000) i;
         INSERT INTO profiles SELECT id FROM accounts",
        "SELECT count(*) FROM profiles JOIN accounts ON id = account_id WHERE profiles.bio IS DISTINCT FROM accounts.bio",
    ),
    (
        "subscribers-hash",
        "INSERT INTO subscribers SELECT i, CASE WHEN i % 7 > 0 THEN 'User' || i END FROM generate_series(1, 3000) i",
        "SELECT count(*) FROM subscribers WHERE email_hash IS DISTINCT FROM sha256(lower(email)::bytea)",
    ),
    (
        "customers-tax-id",
        "INSERT INTO customers SELECT i, CASE WHEN i % 7 > 0 THEN 'de ' || i END FROM generate_series(1, 3000) i",
        "SELECT count(*) FROM customers WHERE tax_number IS DISTINCT FROM 'DE' || substr(tax_id, 4)",
    ),
    (
        "events-bigint",
        "INSERT INTO events SELECT i, 'x' FROM generate_series(1, 3000) i",
        "SELECT count(*) FROM events WHERE id_big IS DISTINCT FROM id",
    ),
];

/// Returns the DDL in the comment at the head of a job.
fn table(job: &str) -> String {
    let head = job.lines().take_while(|line| line.starts_with('#'));
    head.filter_map(|line| line.strip_prefix("#   ")).collect::<Vec<_>>().join("\n")
}

/// Returns the paths of all fields, as the page of output writes them.
fn fields(value: &Value, prefix: &str, found: &mut BTreeSet<String>) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let path = format!("{prefix}{name}");
        if value.is_object() {
            fields(value, &format!("{path}."), found);
        } else {
            found.insert(path);
        }
    }
}

#[test]
fn every_job_does_what_it_says_on_the_table_it_expects() {
    let folder = page::root("jobs");
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(&folder).expect("the folder of jobs") {
        let path = entry.expect("an entry").path();
        names.insert(path.file_stem().unwrap_or_default().to_string_lossy().into_owned());
    }
    assert_eq!(names, TRIALS.iter().map(|trial| trial.0.to_owned()).collect(), "each has a trial");
    for (name, fill, wrong) in TRIALS {
        let db = Db::create(name);
        db.sql(&table(&Page::read(&format!("jobs/{name}.toml")).text));
        db.sql(fill);
        run(&db, name);
        assert_eq!(db.sql(wrong), "0", "{name}");
    }
}

#[test]
fn the_page_of_recipes_shows_the_jobs_as_they_are() {
    let blocks = Page::read("docs/how-to/recipes.md").blocks();
    let shown: Vec<_> = blocks.iter().filter(|block| block.language == "toml").collect();
    let jobs = TRIALS.iter().map(|trial| Page::read(&format!("jobs/{}.toml", trial.0)).text);
    let jobs: Vec<_> = jobs.collect();
    assert!(shown.len() >= 8, "the page has the recipes");
    for block in shown {
        let is_whole = jobs.iter().any(|job| job.ends_with(&format!("\n\n{}", block.text)));
        assert!(is_whole, "no job in jobs/ is:\n{}", block.text);
    }
}

fn run(db: &Db, name: &str) {
    let mut command = db.command("piecemeal", Path::new(env!("CARGO_MANIFEST_DIR")));
    let output = command.args(["run", name, "--yes", "-o", "json"]).output().expect("it runs");
    let document: Value = serde_json::from_str(&text(&output)).expect("a JSON document");
    let run = &document["runs"][0];
    assert_eq!((&run["status"], &run["verified"]), (&"succeeded".into(), &"rows".into()), "{name}");
    let page = Page::read("docs/reference/output.md");
    let mut found = BTreeSet::new();
    fields(run, "", &mut found);
    // Its fields are the names of what held the run, which chance decides.
    found.retain(|field| !field.starts_with("held."));
    for field in found.iter().filter(|field| *field != "owner") {
        assert!(
            page.text.contains(&format!("`{field}`")),
            "`{field}` is not on the page of output"
        );
    }
}
