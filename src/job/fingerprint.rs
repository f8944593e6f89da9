//! What makes two jobs the same run.
//!
//! A run goes on only with the job it began with: another `where` would call rows done that never were looked at.
//! Batch, pace, holds, bad rows and the description may change at any time and are no part of it; neither are gates,
//! the jobs that come before, and the statements that undo, so that a way back can be written when it is missed.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::fragment::Fragment;
use super::model::{Assignment, Job, Order, Work};

/// The version of what the ledger keeps; it rises when an older run can no longer be continued.
const ENGINE: u32 = 1;

/// The part of a job that a run is bound to, as the ledger keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The version of what the ledger keeps.
    pub engine: u32,
    /// The table's name as the job writes it.
    pub table: String,
    /// The columns of the key, if the job names them.
    pub key: Option<Vec<String>>,
    /// In which order they are walked; runs of older releases know only that of the key, and do not name it.
    #[serde(default, skip_serializing_if = "Order::is_key")]
    pub order: Order,
    /// Which rows are to do.
    #[serde(rename = "where")]
    pub filter: Option<String>,
    /// Schemas searched after the table's own.
    pub search_path: Vec<String>,
    /// Columns and their expressions; their order in the file means nothing.
    pub set: BTreeMap<String, String>,
    /// What is true in the end.
    pub expect: Option<String>,
    /// How rows are kept in step; runs of older releases do not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync: Option<SyncIdentity>,
    /// The statements that come before; what undoes them may be added later.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expand: Vec<String>,
    /// The statements that come in the end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contract: Vec<String>,
}

/// What of `[sync]` a run is bound to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyncIdentity {
    /// The new columns from the old ones.
    pub forward: BTreeMap<String, String>,
    /// The old columns from the new ones.
    pub reverse: BTreeMap<String, String>,
    /// Which rows are kept in step.
    #[serde(rename = "where")]
    pub filter: Option<String>,
}

impl Identity {
    /// Takes from a job what its run is bound to.
    pub fn of(job: &Job) -> Self {
        let text = |fragment: &Option<Fragment>| fragment.as_ref().map(|it| it.text.clone());
        let Work::Set(assignments) = &job.work;
        let sync = job.sync.as_ref().map(|sync| SyncIdentity {
            forward: texts(&sync.forward),
            reverse: texts(&sync.reverse),
            filter: text(&sync.filter),
        });
        let statements = |list: &[Fragment]| list.iter().map(|it| it.text.clone()).collect();
        Self {
            engine: ENGINE,
            table: job.table.name.to_string(),
            key: job.table.key.clone(),
            order: job.table.order,
            filter: text(&job.table.filter),
            search_path: job.table.search_path.clone(),
            set: texts(assignments),
            expect: text(&job.verify.expect),
            sync,
            expand: statements(&job.shape.expand.up),
            contract: statements(&job.shape.contract.up),
        }
    }

    /// Names what changed from this identity to another, one line each; nothing if they are the same.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let single = [
            ("engine", Some(self.engine.to_string()), Some(other.engine.to_string())),
            ("table", Some(self.table.clone()), Some(other.table.clone())),
            ("key", self.key.as_deref().map(listed), other.key.as_deref().map(listed)),
            ("order", Some(self.order.as_str().into()), Some(other.order.as_str().into())),
            ("where", self.filter.clone(), other.filter.clone()),
            ("search_path", Some(listed(&self.search_path)), Some(listed(&other.search_path))),
        ];
        let mut changes: Vec<String> = single
            .into_iter()
            .filter_map(|(name, old, new)| change(name, old.as_deref(), new.as_deref()))
            .collect();
        changes.extend(by_column("[set] ", &self.set, &other.set));
        changes.extend(change("expect", self.expect.as_deref(), other.expect.as_deref()));
        changes.extend(sync_differences(self.sync.as_ref(), other.sync.as_ref()));
        changes.extend(statements("[expand] up", &self.expand, &other.expand));
        changes.extend(statements("[contract] up", &self.contract, &other.contract));
        changes
    }
}

/// Returns the SHA-256 of an identity's canonical JSON, as 64 hexadecimal digits.
pub fn fingerprint(identity: &Identity) -> String {
    // Fields come in the order of the struct and columns in that of their names, so equal values give equal bytes.
    let canonical = serde_json::to_string(identity).expect("strings and numbers always serialize");
    let mut digits = String::with_capacity(64);
    for byte in Sha256::digest(canonical) {
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

fn texts(assignments: &[Assignment]) -> BTreeMap<String, String> {
    assignments.iter().map(|it| (it.column.clone(), it.expression.text.clone())).collect()
}

type Columns = BTreeMap<String, String>;

fn by_column(prefix: &str, old: &Columns, new: &Columns) -> Vec<String> {
    let columns = old.keys().chain(new.keys().filter(|it| !old.contains_key(*it)));
    let changes = columns.filter_map(|column| {
        let (old, new) = (old.get(column), new.get(column));
        change(&format!("{prefix}{column}"), old.map(String::as_str), new.map(String::as_str))
    });
    changes.collect()
}

fn sync_differences(old: Option<&SyncIdentity>, new: Option<&SyncIdentity>) -> Vec<String> {
    let none = SyncIdentity::default();
    let (old, new) = (old.unwrap_or(&none), new.unwrap_or(&none));
    let mut changes = by_column("[sync] forward.", &old.forward, &new.forward);
    changes.extend(by_column("[sync] reverse.", &old.reverse, &new.reverse));
    changes.extend(change("[sync] where", old.filter.as_deref(), new.filter.as_deref()));
    changes
}

fn listed(names: &[String]) -> String {
    format!("[{}]", names.join(", "))
}

/// Names the statements that changed, by their numbers.
fn statements(part: &str, old: &[String], new: &[String]) -> Vec<String> {
    let text = |list: &[String], at: usize| list.get(at).cloned();
    let numbers = 0..old.len().max(new.len());
    let changed = numbers.filter_map(|at| {
        let (old, new) = (text(old, at), text(new, at));
        change(&format!("{part} {}", at + 1), old.as_deref(), new.as_deref())
    });
    changed.collect()
}

fn change(name: &str, old: Option<&str>, new: Option<&str>) -> Option<String> {
    let said = match (old, new) {
        (old, new) if old == new => return None,
        (Some(old), Some(new)) if one_line(old) == one_line(new) => {
            "only blanks changed".to_owned()
        }
        (Some(old), Some(new)) => format!("`{}` → `{}`", one_line(old), one_line(new)),
        (Some(old), None) => format!("`{}` → nothing", one_line(old)),
        (None, new) => format!("nothing → `{}`", one_line(new.unwrap_or_default())),
    };
    Some(format!("{name}: {said}"))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::{Job, Source};
    use super::*;

    fn identity(text: &str) -> Identity {
        let source = Source { path: None, text: text.to_owned() };
        Identity::of(&Job::parse("x", source).unwrap())
    }

    const BASE: &str = "[table]\nname = 'posts'\nwhere = 'loc IS NULL'\n[set]\na = '1'\nb = '2'\n";

    #[test]
    fn the_fingerprint_is_stable() {
        // A changed value here means that every run in every ledger is refused after an upgrade.
        insta::assert_snapshot!(
            fingerprint(&identity(BASE)),
            @"e936bcdb1085acf442b5a41a36e45f0fe6d554324f7ec78f05aba5c450deb782"
        );
    }

    #[test]
    fn how_fast_and_in_which_order_does_not_matter() {
        let other = "description = 'x'\n[set]\nb = '2'\na = '1'\n[table]\nname = '\"posts\"'\nwhere = 'loc IS NULL'\n\
                     [batch]\nrows = 5\n[pace]\nrate = '5/s'\nvacuum = 'off'\nmax_hold = '2h'\n\
                     [[pace.window]]\nwhen = 'Sat'\nrate = 'pause'\n[[hold]]\non = 'query'\nsql = 'SELECT 1'\n\
                     [bad_rows]\nmax = 7\n";
        assert_eq!(fingerprint(&identity(BASE)), fingerprint(&identity(other)));
    }

    #[test]
    fn every_part_that_matters_changes_it() {
        let base = identity(BASE);
        for (from, to, said) in [
            ("'posts'", "'public.posts'", "table: `posts` → `public.posts`"),
            ("'loc IS NULL'", "'true'", "where: `loc IS NULL` → `true`"),
            ("where = 'loc IS NULL'", "", "where: `loc IS NULL` → nothing"),
            ("'loc IS NULL'", "'loc  IS NULL'", "where: only blanks changed"),
            ("a = '1'", "a = '3'", "[set] a: `1` → `3`"),
            ("a = '1'", "", "[set] a: `1` → nothing"),
            ("a = '1'", "a = '1'\nc = '4'", "[set] c: nothing → `4`"),
            ("[set]", "key = ['id']\n[set]", "key: nothing → `[id]`"),
            ("[set]", "order = 'physical'\n[set]", "order: `key` → `physical`"),
            ("[set]", "search_path = ['e']\n[set]", "search_path: `[]` → `[e]`"),
            ("[set]", "[verify]\nexpect = 'true'\n[set]", "expect: nothing → `true`"),
            ("[set]", "[sync]\nforward = { a = '1' }\n[set]", "[sync] forward.a: nothing → `1`"),
            ("[set]", "[expand]\nup = ['SELECT 1']\n[set]", "[expand] up 1: nothing → `SELECT 1`"),
            (
                "[set]",
                "[contract]\nup = ['SELECT 1']\n[set]",
                "[contract] up 1: nothing → `SELECT 1`",
            ),
        ] {
            let changed = identity(&BASE.replace(from, to));
            assert_eq!(base.differences(&changed), [said]);
            assert_ne!(fingerprint(&base), fingerprint(&changed), "{said}");
        }
    }

    #[test]
    fn each_part_of_sync_matters_and_its_default_is_set() {
        let sync = |lines: &str| identity(&format!("{BASE}[sync]\n{lines}"));
        let base = sync("reverse = { c = 'a' }\n");
        assert_eq!(
            base.differences(&sync("reverse = { c = 'b' }\nwhere = 'd'")),
            ["[sync] reverse.c: `a` → `b`", "[sync] where: nothing → `d`"]
        );
        assert_eq!(sync(""), sync("forward = { b = '2', a = '1' }"));
        let read: Identity = serde_json::from_value(serde_json::to_value(&base).unwrap()).unwrap();
        assert_eq!(read, base);
    }

    #[test]
    fn a_way_back_and_a_gate_may_be_added_later() {
        let job = format!("{BASE}[expand]\nup = ['SELECT 1']\n[contract]\nup = ['SELECT 2']\n");
        let later = job.replace("1']", "1']\ndown = ['SELECT 3']") + "[[gate]]\nmessage = 'x'\n";
        assert_eq!(fingerprint(&identity(&job)), fingerprint(&identity(&later)));
    }

    #[test]
    fn it_survives_the_ledger() {
        let base = identity(BASE);
        let stored = serde_json::to_string(&base).unwrap();
        let read: Identity = serde_json::from_str(&stored).unwrap();
        assert_eq!(base.differences(&read), [""; 0]);
        assert_eq!(fingerprint(&base), fingerprint(&read));
    }
}
