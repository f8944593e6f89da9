//! Reads the bytes of a job file; the only I/O of this module.
//!
//! Promises to end: only a regular file is opened, so no pipe or device can block, and at most 1 MiB is read.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use super::problem::{Problem, Problems};
use super::source::Source;

const MAX_BYTES: u64 = 1024 * 1024;

const BOM: char = '\u{feff}';

/// Reads a job file as UTF-8, without its byte order mark.
pub(super) fn read(path: &Path) -> Result<Source, Problems> {
    let refused = |text: String, problem| {
        Problems::new(Source { path: Some(path.to_owned()), text }, vec![problem])
    };
    let bytes = bytes(path).map_err(|problem| refused(String::new(), problem))?;
    match String::from_utf8(bytes) {
        Ok(text) => {
            let text = text.strip_prefix(BOM).map(str::to_owned).unwrap_or(text);
            Ok(Source { path: Some(path.to_owned()), text })
        }
        Err(error) => {
            let start = error.utf8_error().valid_up_to();
            let bytes = error.into_bytes();
            let problem = not_utf8(&bytes, start);
            Err(refused(String::from_utf8_lossy(&bytes).into_owned(), problem))
        }
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>, Problem> {
    // Opening a named pipe would wait for a writer, so its kind is looked at first.
    let metadata = fs::metadata(path).map_err(|error| unreadable(&error))?;
    if !metadata.is_file() {
        let kind = if metadata.is_dir() { "a directory" } else { "a device, pipe or socket" };
        return Err(Problem::new(
            "unreadable",
            format!("a job file must be a regular file, this is {kind}"),
        )
        .help("name the `.toml` file itself"));
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| unreadable(&error))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Problem::new("unreadable", "a job file has at most 1 MiB, this one is larger")
            .help("check that this is the right file"));
    }
    Ok(bytes)
}

fn unreadable(error: &io::Error) -> Problem {
    if error.kind() == io::ErrorKind::NotFound {
        Problem::new("unreadable", "there is no such job file")
            .help("check the path and the directory you are in")
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        Problem::new("unreadable", "the job file may not be read: permission denied")
            .help("let the user who runs this read it, for example with `chmod u+r`")
    } else {
        Problem::new("unreadable", format!("the job file cannot be read: {error}"))
    }
}

fn not_utf8(bytes: &[u8], start: usize) -> Problem {
    let problem = if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        Problem::new("encoding", "the file is UTF-16, and a job file must be UTF-8")
    } else {
        let byte = bytes.get(start).copied().unwrap_or_default();
        Problem::new(
            "encoding",
            format!("the byte 0x{byte:02x} is not UTF-8, which a job file must be"),
        )
    };
    // The valid part is the same in the lossy text, and one replacement character of three bytes follows it.
    problem.at(start..start + 3).help("save the file as UTF-8 in your editor")
}

#[cfg(test)]
mod tests {
    use super::super::Job;

    fn refusal(path: &std::path::Path) -> String {
        Job::from_file(path).unwrap_err().to_string()
    }

    #[test]
    fn what_is_not_a_regular_file_is_refused_without_opening_it() {
        let directory = tempfile::tempdir().unwrap();
        assert!(refusal(directory.path()).contains("this is a directory"));
        assert!(refusal("/dev/zero".as_ref()).contains("this is a device"));
        let missing = directory.path().join("missing.toml");
        assert!(refusal(&missing).contains("there is no such job file"));
    }

    #[test]
    fn a_large_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("large.toml");
        std::fs::write(&path, vec![b'#'; 1024 * 1024 + 1]).unwrap();
        assert!(refusal(&path).contains("at most 1 MiB"));
        std::fs::write(&path, vec![b'#'; 1024 * 1024]).unwrap();
        assert!(refusal(&path).contains("[table]"));
    }

    #[test]
    fn utf_16_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("wide.toml");
        std::fs::write(&path, b"\xff\xfe[\0t\0").unwrap();
        assert!(refusal(&path).contains("UTF-16"));
    }
}
