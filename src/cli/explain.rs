//! Problems in the one grammar for people: what, because, committed, hint.

use piecemeal::Error;
use piecemeal::finding::Finding;
use piecemeal::job::{Job, Problem as FileProblem};
use piecemeal::report::json;

use super::exit::Exit;
use super::settings::{Problem, Settings};

/// Says why a command did not do what it says, and returns its exit code.
pub(crate) fn problem(settings: &Settings, problem: &Problem) -> Exit {
    match problem {
        Problem::File(problems) => {
            if settings.is_json() {
                let message = problems.to_string();
                let first = problems.iter().next().map_or("job-file", |problem| problem.code);
                document(settings, &Error::new(piecemeal::ErrorKind::Usage, first, message));
            }
            let text = if settings.printer.has_colour {
                problems.render_styled()
            } else {
                problems.to_string()
            };
            settings.printer.talk(&text);
            Exit::Usage
        }
        Problem::Error(error, job) => {
            if settings.is_json() {
                document(settings, error);
            }
            for finding in error.findings() {
                settings.printer.talk(&with_place(finding, job.as_deref()));
            }
            settings.printer.talk(&without_findings(error));
            Exit::from(error.kind())
        }
        Problem::Output(error) => {
            settings.printer.talk(&format!("error: stdout cannot be written\n  because: {error}"));
            Exit::Unexpected
        }
    }
}

fn document(settings: &Settings, error: &Error) {
    // The same text goes to stderr; if stdout is gone, that must do.
    let _ = settings.printer.data(&json::error(error).to_string());
}

/// Renders a finding, with the line of the job file that it is about.
pub(crate) fn with_place(finding: &Finding, job: Option<&Job>) -> String {
    let mut text = format!("{finding}\n");
    if let (Some(span), Some(job)) = (&finding.span, job) {
        let problem = FileProblem::new(finding.code, finding.what.clone()).at(span.clone());
        let snippet = job.source.render(&problem);
        // The first line says again what the finding says.
        text.extend(snippet.lines().skip(1).flat_map(|line| ["  ", line, "\n"]));
    }
    text
}

fn without_findings(error: &Error) -> String {
    let text = error.to_string();
    text.find("error: ").map_or(text.clone(), |start| {
        // Findings come first, and may quote the word; the error itself is the last part.
        let own = format!("error: {}", error.message());
        text.rfind(&own).map_or_else(|| text[start..].to_owned(), |at| text[at..].to_owned())
    })
}
