use super::super::tests::{column, job, table};
use super::*;

fn index(name: &str, order: &[i32]) -> Index {
    let part = |column| Part {
        column,
        is_descending: false,
        nulls_first: false,
        has_default_order: true,
        has_column_collation: true,
    };
    Index {
        name: name.to_owned(),
        bare: name.to_owned(),
        method: "btree".to_owned(),
        is_primary: false,
        is_unique: true,
        is_exclusion: false,
        is_immediate: true,
        is_usable: true,
        is_partial: false,
        is_replica_identity: false,
        parts: order.iter().copied().map(part).collect(),
        touches: order.to_vec(),
    }
}

fn codes(change: impl FnOnce(&mut Index)) -> Vec<&'static str> {
    let mut index = index("i", &[1]);
    change(&mut index);
    faults(&index).into_iter().map(|fault| fault.0).collect()
}

#[test]
fn each_flaw_of_an_index_has_its_own_code() {
    assert!(codes(|_| ()).is_empty());
    assert_eq!(codes(|it| it.is_unique = false), ["key-not-unique"]);
    assert_eq!(codes(|it| it.is_usable = false), ["key-invalid"]);
    assert_eq!(codes(|it| it.is_immediate = false), ["key-deferrable"]);
    assert_eq!(codes(|it| it.is_partial = true), ["key-partial"]);
    assert_eq!(codes(|it| it.parts[0].column = 0), ["key-expression"]);
    assert_eq!(codes(|it| it.parts[0].is_descending = true), ["key-descending"]);
    assert_eq!(codes(|it| it.parts[0].nulls_first = true), ["key-descending"]);
    assert_eq!(codes(|it| it.parts[0].has_default_order = false), ["key-opclass"]);
    assert_eq!(codes(|it| it.parts[0].has_column_collation = false), ["key-collation"]);
    assert_eq!(codes(|it| it.method = "hash".to_owned()), ["key-not-btree"]);
}

#[test]
fn without_a_key_the_primary_key_is_walked_and_no_other() {
    let mut table = table(&["a", "n"]);
    table.indexes = vec![index("unique", &[1])];
    assert_eq!(walked(&table, &job("")), None);
    table.indexes.push(Index { is_primary: true, ..index("primary", &[1]) });
    assert_eq!(walked(&table, &job("")).unwrap().name, "primary");
}

#[test]
fn of_several_indexes_the_one_without_faults_and_in_the_order_of_the_key_is_walked() {
    let mut table = table(&["a", "b", "n"]);
    table.indexes = vec![
        Index { is_unique: false, ..index("plain", &[1, 2]) },
        index("turned", &[2, 1]),
        index("right", &[1, 2]),
        index("longer", &[1, 2, 3]),
    ];
    let names = |table: &Table, key| walked(table, &job(key)).map(|index| index.name.clone());
    assert_eq!(names(&table, "key = ['a', 'b']").as_deref(), Some("right"));
    table.indexes.remove(2);
    assert_eq!(names(&table, "key = ['a', 'b']").as_deref(), Some("turned"));
    assert_eq!(names(&table, "key = ['a']"), None);
    assert_eq!(names(&table, "key = ['a', 'c']"), None);
}

#[test]
fn a_type_is_proven_by_its_name_only_if_it_is_the_servers_own() {
    let of = |built_in: Option<&str>, kind: &str| {
        let mut column = column(1, "a");
        column.built_in = built_in.map(str::to_owned);
        column.type_kind = Some(kind.to_owned());
        unproven(&column)
    };
    for name in PROVEN {
        assert_eq!(of(Some(name), "b"), None, "{name}");
    }
    assert_eq!(of(None, "e"), None);
    for (built_in, kind) in [(Some("float8"), "b"), (None, "b"), (None, "d"), (Some("int4"), "a")] {
        assert!(of(built_in, kind).is_some(), "{built_in:?} {kind}");
    }
}
