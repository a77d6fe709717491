//! `docs/cli.md` and `docs/operating.md` show the tool at work. This runs what they show, and compares.
//!
//! In a block ```` ```console ```` a line that begins with `$ ` is run by bash, in a directory that all blocks share; what
//! follows up to the next such line is what it prints, standard error included. `[..]` stands for anything on a line, and a
//! line `...` for any lines.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::{KVWAL, Place};

const DOCUMENT: &str = include_str!("../../../docs/cli.md");
const OPERATING: &str = include_str!("../../../docs/operating.md");

/// A command of the document, and what it prints.
struct Shown<'d> {
    command: &'d str,
    printed: Vec<&'d str>,
}

fn shown(document: &'static str) -> Vec<Shown<'static>> {
    let mut all = Vec::new();
    for block in document.split("```console\n").skip(1) {
        for line in block.split("```").next().expect("the block ends").lines() {
            match line.strip_prefix("$ ") {
                Some(command) => all.push(Shown { command, printed: Vec::new() }),
                None => all.last_mut().expect("a block begins with a command").printed.push(line),
            }
        }
    }
    all
}

#[test]
fn the_documents_show_what_happens() {
    assert!(shown(DOCUMENT).len() > 20);
    check(DOCUMENT);
    assert!(shown(OPERATING).len() > 15);
    check(OPERATING);
}

fn check(document: &'static str) {
    let place = Place::new();
    fs::create_dir(place.path("bin")).unwrap();
    symlink(KVWAL, place.path("bin/kvwal")).unwrap();
    for Shown { command, printed } in shown(document) {
        let ran = place.sh(&format!("PATH=$PWD/bin:$PATH; exec 2>&1; cd bin; {command}"));
        let lines: Vec<_> = ran.text().lines().collect();
        assert!(matches(&lines, &printed), "$ {command}\n{}\n\nexpected\n{}", lines.join("\n"), printed.join("\n"));
    }
}

fn matches(lines: &[&str], patterns: &[&str]) -> bool {
    match (lines, patterns) {
        (_, ["...", rest @ ..]) => (0..=lines.len()).any(|skipped| matches(&lines[skipped..], rest)),
        ([line, lines @ ..], [pattern, patterns @ ..]) => line_matches(line, pattern) && matches(lines, patterns),
        ([], []) => true,
        _ => false,
    }
}

fn line_matches(line: &str, pattern: &str) -> bool {
    let mut parts = pattern.split("[..]");
    let first = parts.next().expect("there is one");
    let Some(mut left) = line.strip_prefix(first) else { return false };
    let rest: Vec<_> = parts.collect();
    let Some((last, between)) = rest.split_last() else { return left.is_empty() };
    for part in between {
        let Some(at) = left.find(part) else { return false };
        left = &left[at + part.len()..];
    }
    left.ends_with(last)
}

#[test]
fn patterns_match_what_they_should() {
    let lines = ["a", "b 12 c", "d"];
    for (patterns, expected) in [
        (&["a", "b 12 c", "d"][..], true),
        (&["a", "b [..] c", "d"], true),
        (&["a", "..."], true),
        (&["...", "d"], true),
        (&["a", "b [..] d", "d"], false),
        (&["a", "b 12 c"], false),
        (&["...", "e"], false),
    ] {
        assert_eq!(matches(&lines, patterns), expected, "{patterns:?}");
    }
}

#[test]
fn the_document_has_every_command_and_the_table_of_exit_codes() {
    let place = Place::new();
    let help = place.run(&["--help"]).done();
    let commands = help.text().split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    for command in commands.lines().filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help") {
        assert!(DOCUMENT.contains(&format!("`kvwal {command}")), "{command}");
    }
    let table = help.text().split("Exit codes:\n").nth(1).unwrap().trim_end();
    assert!(DOCUMENT.contains(table), "{table}");
}
