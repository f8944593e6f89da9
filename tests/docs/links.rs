//! Every link between files leads somewhere, and every page is linked.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::page::{self, Page};

fn targets(page: &Page) -> Vec<String> {
    let links = page.text.split("](").skip(1);
    links.filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
}

fn resolve(page: &Page, target: &str) -> PathBuf {
    let folder = page.path.parent().unwrap_or(Path::new(""));
    let mut path = PathBuf::new();
    for part in folder.join(target).components() {
        if part == Component::ParentDir {
            path.pop();
        } else {
            path.push(part);
        }
    }
    path
}

/// Returns the anchor that a heading gets.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_link_leads_somewhere() {
    for page in page::all() {
        for target in targets(&page).iter().filter(|target| !target.contains("://")) {
            let (file, wanted) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() { page.path.clone() } else { resolve(&page, file) };
            let place = page::root("").join(&path);
            assert!(place.exists(), "{} links to {target}", page.path.display());
            if !wanted.is_empty() {
                let text = fs::read_to_string(place).expect("a page");
                let headings = text.lines().filter(|line| line.starts_with('#'));
                let is_there = headings.map(anchor).any(|anchor| anchor == wanted);
                assert!(is_there, "{} links to {target}", page.path.display());
            }
        }
    }
}

#[test]
fn every_page_can_be_found_from_the_map() {
    let map = Page::read("docs/README.md");
    let linked: BTreeSet<_> = targets(&map)
        .iter()
        .map(|target| resolve(&map, target.split('#').next().unwrap_or_default()))
        .collect();
    for page in page::all().iter().filter(|page| page.path.starts_with("docs")) {
        let is_map = page.path == map.path;
        assert!(is_map || linked.contains(&page.path), "{} is not linked", page.path.display());
    }
}
