//! Parts of pages that are made from the program, between two markers.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use piecemeal::run::{Status, Transition};

use super::page::{self, Page};

const BEGIN: &str = "<!-- generated: ";
const END: &str = "<!-- end -->";

/// Prints help as it is on a terminal that is 100 characters wide.
pub(crate) fn help(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_piecemeal"));
    command.env_clear().args(arguments).arg("--help");
    let output = command.output().expect("the program runs");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("help is text");
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// Returns the commands, as the help lists them.
pub(crate) fn commands() -> Vec<String> {
    let help = help(&[]);
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = listed.take_while(|line| !line.is_empty()).filter_map(|line| {
        let name = line.split_whitespace().next()?;
        (name != "help").then(|| name.to_owned())
    });
    names.collect()
}

/// The options that every command has begin here.
const OPTIONS: &str = "Global options:\n";

fn fenced(text: &str) -> String {
    format!("```text\n{}\n```\n", text.trim_end())
}

fn help_of(command: &str) -> String {
    let help = help(&[command]);
    let (own, _) = help.split_once(OPTIONS).expect("global options come last");
    fenced(own)
}

fn options() -> String {
    let help = help(&[]);
    let (_, options) = help.split_once(OPTIONS).expect("there are global options");
    fenced(options.split("\n\nA JOB is").next().unwrap_or(options))
}

fn states() -> String {
    let mut diagram = String::from("```mermaid\nstateDiagram-v2\n    [*] --> ready\n");
    let mut table = String::from("| from | what happens | to | because |\n|---|---|---|---|\n");
    for transition in Transition::ALL {
        for from in transition.sources() {
            let to = from.after(*transition).expect("a source is legal");
            writeln!(diagram, "    {from} --> {to}: {transition}").expect("a String takes it");
            let because = transition.because();
            writeln!(table, "| {from} | {transition} | {to} | {because} |")
                .expect("a String takes it");
        }
    }
    for end in Status::ALL.iter().filter(|status| status.is_final()) {
        writeln!(diagram, "    {end} --> [*]").expect("a String takes it");
    }
    format!("{diagram}```\n\n{table}")
}

fn part(name: &str) -> String {
    match name.split_once(' ').unwrap_or((name, "")) {
        ("states", "") => states(),
        ("options", "") => options(),
        ("help", "") => {
            let all = help(&[]);
            fenced(all.split("Options:\n").next().unwrap_or(&all))
        }
        ("help", command) => help_of(command),
        _ => panic!("nothing generates `{name}`"),
    }
}

/// Returns the page as it should be.
fn renewed(page: &Page) -> String {
    let mut text = String::new();
    let mut rest = page.text.as_str();
    while let Some((before, after)) = rest.split_once(BEGIN) {
        let (name, after) = after.split_once(" -->\n").expect("a marker is a line of its own");
        let (_, after) = after.split_once(END).expect("a generated part has an end");
        write!(text, "{before}{BEGIN}{name} -->\n{}{END}", part(name)).expect("a String takes it");
        rest = after;
    }
    text + rest
}

#[test]
fn generated_parts_are_what_the_program_says() {
    let is_update = std::env::var_os("UPDATE_DOCS").is_some();
    for page in page::all() {
        let renewed = renewed(&page);
        let path = page.path.display();
        if is_update && renewed != page.text {
            fs::write(page::root("").join(&page.path), renewed).expect("the page can be written");
        } else {
            assert!(
                renewed == page.text,
                "{path} is behind the program; UPDATE_DOCS=1 cargo test --test docs makes it:\n{renewed}"
            );
        }
    }
}

#[test]
fn every_command_has_its_help_on_the_page_of_commands() {
    let page = Page::read("docs/reference/commands.md");
    let commands = commands();
    assert!(commands.len() >= 14, "{commands:?}");
    for command in commands {
        assert!(
            page.text.contains(&format!("\n## {command}\n\n{BEGIN}help {command} -->")),
            "{command}"
        );
    }
}
