//! The whole demo, alone: it measures who waits for whom.

use std::process::{Command, Stdio};

#[test]
fn the_life_of_a_change_and_its_way_back_disturb_nobody_and_lose_nothing() {
    let output = Command::new(env!("CARGO_BIN_EXE_piecemeal"))
        .args(["demo", "--full", "--rows", "20000"])
        .stdin(Stdio::null())
        .output()
        .expect("the program starts");
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(output.status.success(), "{said}");
    for line in [
        "contracted: posts-loc",
        "undone: posts-loc",
        "checked: 0 requests of the old API and 0 of the new one failed",
        "checked: old and new columns said different things in 0 of ",
        "checked: the application waited for a lock of ours for ",
        "checked: the schema is that of the start",
        "; 0 of them are not where they were put last",
        "what the application felt:\n  old API ",
        "the server is stopped and its files are gone",
    ] {
        assert!(said.contains(line), "`{line}` is not in:\n{said}");
    }
}
