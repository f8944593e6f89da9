//! Guards of the program that are taken out, one at a time: the test must notice each.
//!
//! They are taken out on the wire, where the network changes the SQL that the program sends. So what is
//! tested is the program that people get, and nothing in it knows of this. A sabotage that finds
//! nothing to change fails, so that none goes stale.

use futures_util::StreamExt as _;

use crate::args::Args;
use crate::case::Case;
use crate::faults::Fault;
use crate::scene::Scene;
use crate::shape::Shape;
use crate::wire::Rewrite;
use crate::work::Work;
use crate::{Outcome, runs, say};

/// Runs within which it must be noticed.
const ATTEMPTS: u64 = 4;

/// One guard that is missing, and where that shows.
#[derive(Debug, Clone, Copy)]
struct Sabotage {
    name: &'static str,
    rewrites: &'static [Rewrite],
    shape: Shape,
    work: Work,
    faults: &'static [&'static str],
}

const BOOKS: &str = "piecemeal_books";
/// The condition that makes the work depend on the fence.
const ON_FENCE: &str = "\nAND EXISTS (SELECT FROM piecemeal_fence)";

const fn of(
    name: &'static str,
    rewrites: &'static [Rewrite],
    faults: &'static [&'static str],
) -> Sabotage {
    Sabotage { name, rewrites, shape: Shape::Int8, work: Work::Plain, faults }
}

const fn batch(from: &'static str, to: &'static str) -> Rewrite {
    Rewrite { within: BOOKS, from, to }
}

/// The conditions that the range stands where the batch takes it to stand.
const CURSOR: Rewrite = batch("coalesce(cursor, '{}')", "coalesce($14, '{}'::text[])");
const FRONT: Rewrite = batch("coalesce(front, '{}')", "coalesce($15, '{}'::text[])");
const MARK: Rewrite = batch("coalesce(mark, '{}')", "coalesce($16, '{}'::text[])");
const STRIPE: Rewrite = batch(
    "coalesce(CASE WHEN front IS NOT NULL THEN stripe END::pg_catalog.int8, -1)",
    "coalesce($17, -1::int8)",
);

const LATE: &[&str] = &["cut-late", "kill-late"];
const KILLS: &[&str] = &["kill", "terminate", "cut-reply"];
const LOCKS: &[&str] = &["row-locks"];

const ALL: &[Sabotage] = &[
    // Where the range stands, which the fence asks for as well, says nearly as much.
    of(
        "fence-without-rev",
        &[batch("rev = $3", "$3::int8 IS NOT NULL"), CURSOR, FRONT, MARK, STRIPE],
        &["cut-late"],
    ),
    of(
        "fence-without-rev-and-token",
        &[
            batch("rev = $3 AND lease_token = $4", "$3::int8 IS NOT NULL AND $4::text IS NOT NULL"),
            CURSOR,
            FRONT,
            MARK,
            STRIPE,
        ],
        &["kill-late"],
    ),
    // Two that meet need a moment for it.
    of(
        "fence-without-lock",
        &[batch(" FOR NO KEY UPDATE", " AND pg_sleep(0.03) IS NOT NULL")],
        LATE,
    ),
    of("work-ignores-fence", &[batch(ON_FENCE, "")], LATE),
    of(
        "cursor-left-behind",
        &[batch(
            "cursor = $9",
            "cursor = CASE WHEN $9::text[] IS NULL THEN NULL ELSE r.cursor END",
        )],
        KILLS,
    ),
    of(
        "cursor-in-another-transaction",
        &[batch(
            "SET cursor = $9,",
            "SET cursor = (SELECT CASE WHEN random() < 0.5 THEN r.cursor ELSE $9::text[] END),",
        )],
        KILLS,
    ),
    of("rev-stands-still", &[batch("rev = rev + 1", "rev = rev")], LATE),
    of(
        "gap-of-one",
        &[batch("OPERATOR(pg_catalog.<=) ($5", "OPERATOR(pg_catalog.<) ($5")],
        &["kill"],
    ),
    of(
        "overlap-of-one",
        &[batch("OPERATOR(pg_catalog.>) ($18", "OPERATOR(pg_catalog.>=) ($18")],
        &["kill"],
    ),
    of(
        "locked-rows-skipped",
        &[batch(
            ON_FENCE,
            "\nAND tag IN (SELECT tag FROM public.torture FOR NO KEY UPDATE SKIP LOCKED) AND EXISTS (SELECT FROM piecemeal_fence)",
        )],
        LOCKS,
    ),
    of("range-done-too-early", &[batch("done = $8", "done = $8 OR batches > 3")], KILLS),
    of(
        "changes-not-counted",
        &[batch("changed = r.changed + c.changed", "changed = r.changed")],
        &["kill"],
    ),
    of(
        "matches-not-counted",
        &[batch("matched = r.matched + c.matched", "matched = r.matched + 1")],
        &["kill"],
    ),
    of(
        "batches-not-counted",
        &[batch("batches = batches + 1", "batches = batches + (rev % 2)::int4")],
        &["kill"],
    ),
    of(
        "name-resolution-not-pinned",
        &[Rewrite {
            within: "",
            from: "SET LOCAL search_path = ",
            to: "SET LOCAL search_path = evil, pg_catalog, ",
        }],
        &["kill"],
    ),
    of(
        "another-column-written",
        &[batch("UPDATE public.torture SET ", "UPDATE public.torture SET app_ver = 0, ")],
        &["kill"],
    ),
    of(
        "payload-written",
        &[batch(
            "UPDATE public.torture SET ",
            "UPDATE public.torture SET payload = lower(payload) || ' ', ",
        )],
        &["kill"],
    ),
    of(
        "no-time-limits",
        &[
            Rewrite {
                within: "",
                from: "SET LOCAL statement_timeout = ",
                to: "SET LOCAL statement_timeout = 0; SET LOCAL torture.length = ",
            },
            Rewrite {
                within: "",
                from: "SET LOCAL lock_timeout = ",
                to: "SET LOCAL torture.length = ",
            },
        ],
        LOCKS,
    ),
    of(
        "put-aside-with-a-gap",
        &[Rewrite { within: "jsonb_to_recordset", from: "part.nth > 1", to: "part.nth > 2" }],
        LOCKS,
    ),
    Sabotage {
        work: Work::Half,
        ..of(
            "where-not-checked",
            &[batch("\nAND coalesce((", "\nAND coalesce(true OR (")],
            &["kill"],
        )
    },
    Sabotage {
        work: Work::Half,
        ..of(
            "gap-and-blind-verification",
            &[
                batch("OPERATOR(pg_catalog.<=) ($5", "OPERATOR(pg_catalog.<) ($5"),
                Rewrite {
                    within: " AS looked",
                    from: "count(*) FILTER (WHERE coalesce(",
                    to: "count(*) FILTER (WHERE false AND coalesce(",
                },
            ],
            &["kill"],
        )
    },
    Sabotage {
        work: Work::Half,
        ..of(
            "verification-of-nothing",
            &[Rewrite {
                within: " AS looked",
                from: " WHERE public",
                to: " WHERE false AND public",
            }],
            &["kill"],
        )
    },
    Sabotage {
        work: Work::Partitioned,
        ..of(
            "partition-skipped",
            &[batch(ON_FENCE, "\nAND part <> 2 AND EXISTS (SELECT FROM piecemeal_fence)")],
            &["kill"],
        )
    },
    Sabotage {
        work: Work::Synced,
        ..of(
            "trigger-is-silent",
            &[Rewrite {
                within: "RETURNS pg_catalog.trigger",
                from: "piecemeal_due := ",
                to: "piecemeal_due := false AND ",
            }],
            &["kill"],
        )
    },
    Sabotage {
        work: Work::Quarantined,
        ..of(
            "bad-rows-not-recorded",
            &[Rewrite {
                within: "piecemeal_record",
                from: "FROM piecemeal_books\n), piecemeal_note",
                to: "FROM piecemeal_books WHERE false\n), piecemeal_note",
            }],
            &["kill"],
        )
    },
    Sabotage {
        work: Work::Few,
        ..of("search-goes-too-far", &[batch("OFFSET $6 - 1", "OFFSET $6")], &["kill"])
    },
    Sabotage {
        work: Work::Indexed,
        ..of("always-the-first-pass", &[batch(" = $12\n", " = 0 * $12\n")], &["kill"])
    },
    Sabotage {
        shape: Shape::TextAndInt8,
        ..of(
            "bytes-instead-of-language",
            &[batch("ROW(public.torture.word,", "ROW(public.torture.word COLLATE \"C\",")],
            &["kill"],
        )
    },
    Sabotage {
        shape: Shape::Numeric,
        ..of(
            "keys-as-floats",
            &[Rewrite { within: "", from: "]::numeric", to: "]::float8::numeric" }],
            &["kill"],
        )
    },
];

/// Commits those that are named, or all, and shows by what each was noticed.
pub(crate) async fn all(names: &str, args: &Args) -> Outcome<()> {
    let names: Vec<_> = names.split(',').collect();
    let is_meant = |it: &&Sabotage| names.contains(&"all") || names.contains(&it.name);
    let meant: Vec<_> = ALL.iter().filter(is_meant).collect();
    if meant.is_empty() {
        let known: Vec<_> = ALL.iter().map(|it| it.name).collect();
        return Err(format!("no such sabotage; there are: {}", known.join(", ")).into());
    }
    let first = args.seed.unwrap_or(1);
    let tasks = meant.iter().map(|it| tokio::spawn(notice(**it, first)));
    let mut ended = futures_util::stream::iter(tasks).buffer_unordered(args.at_once);
    let (mut noticed, mut unnoticed) = (0, Vec::new());
    while let Some(task) = ended.next().await {
        match task? {
            Ok(line) => {
                noticed += 1;
                say(&line);
            }
            Err(error) => unnoticed.push(error.to_string()),
        }
    }
    say(&format!("{noticed} of {} sabotages were noticed", meant.len()));
    if unnoticed.is_empty() { Ok(()) } else { Err(unnoticed.join("\n").into()) }
}

/// Does runs until one fails, as it must.
async fn notice(sabotage: Sabotage, first: u64) -> Outcome<String> {
    let Sabotage { name, .. } = sabotage;
    let is_late = sabotage.faults.iter().any(|fault| fault.ends_with("late"));
    for attempt in 1..=ATTEMPTS {
        let mut rng = fastrand::Rng::with_seed(first + attempt);
        let only: Vec<_> = sabotage.faults.iter().map(ToString::to_string).collect();
        let case = Case {
            shape: sabotage.shape,
            work: sabotage.work,
            rewrites: sabotage.rewrites,
            rows: if sabotage.work == Work::Few { 8_000 } else { 1_200 },
            faults: Fault::draw(&mut rng, if is_late { 12 } else { 6 }, &only),
            // Alone, a process begins with what the one before it has left.
            workers: if is_late { 1 } else { 2 },
            has_peer: !is_late && attempt % 2 == 0,
            ..Case::of_seed(first + attempt, 0, &[], false)
        };
        let scene = Scene::set(case, &mut rng).await?;
        let ran = runs::one(&scene, &mut rng).await;
        if scene.proxy.rewritten() == 0 {
            return Err(format!("{name}: nothing of what it changes is said any more").into());
        }
        if let Err(error) = ran {
            let text = error.to_string();
            let lines: Vec<_> = text.lines().take(2).map(str::trim).collect();
            let said = said(&scene.program.words());
            return Ok(format!("{name:<30} run {attempt}: {}{said}", lines.join(" ")));
        }
    }
    Err(format!("{name}: not noticed in {ATTEMPTS} runs").into())
}

/// Returns the last error that the program told, in one line.
fn said(log: &str) -> String {
    let lines: Vec<_> = log.lines().map(str::trim).collect();
    let Some(at) = lines.iter().rposition(|line| line.starts_with("error")) else {
        return String::new();
    };
    format!("; it said: {}", lines[at..lines.len().min(at + 2)].join(" "))
}
