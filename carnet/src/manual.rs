//! What the command line says of itself: completions for shells, manual pages. Both come from the same declarations as `--help`.

use crate::help;
use clap::Args;
use clap_complete::Shell;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `carnet completions`.
#[derive(Args)]
pub struct CompletionsArgs {
    /// Which shell.
    shell: Shell,
}

/// Arguments of `carnet man`.
#[derive(Args)]
pub struct ManArgs {
    /// The directory they are written to; it must be there.
    dir: PathBuf,
    /// The date they bear.
    #[arg(long, default_value = "1970-01-01")]
    date: String,
}

/// Prints a script that completes the commands and options of `command`.
pub fn completions(args: &CompletionsArgs, mut command: clap::Command) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "carnet", &mut script);
    crate::out::print(&String::from_utf8_lossy(&script), ExitCode::SUCCESS)
}

/// Writes a page for each command, `carnet.1`, `carnet-run.1` and so on.
pub fn pages(args: &ManArgs, command: clap::Command) -> ExitCode {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    match written(args, &command, None) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed("man", &error),
    }
}

fn written(args: &ManArgs, command: &clap::Command, above: Option<&str>) -> std::io::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let mut page = Vec::new();
    // What is below the options has sections of its own here.
    clap_mangen::Man::new(command.clone().after_help(None)).render(&mut page)?;
    let takes_a_file = command.get_arguments().any(|argument| argument.get_long() == Some("config"));
    let mut others: Vec<_> = above.into_iter().map(|above| reference(above, 1)).collect();
    others.extend(takes_a_file.then(|| reference("carnet.toml", 5)));
    let page = format!("{}{}", String::from_utf8_lossy(&page), further(&name));
    let page = finished(&page, &name, &args.date, &others);
    std::fs::write(args.dir.join(format!("{name}.1")), page)?;
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        written(args, below, Some(&name))?;
    }
    Ok(())
}

/// What the exit code means and, on the page of a whole command, how it is used.
fn further(name: &str) -> String {
    let Some((told, whole)) = help::of(name) else { return String::new() };
    let escaped =
        |text: &str| text.replace('\\', "\\e").replace('-', "\\-").replace('~', "\\(ti").replace('`', "");
    let mut out = String::from(".SH \"EXIT STATUS\"\n");
    for (code, what) in told.exit {
        out.push_str(&format!(".TP\n{code}\n{}\n", escaped(what)));
    }
    if whole {
        out.push_str(".SH EXAMPLES\n.nf\n");
        for line in told.examples {
            let (line, what) = line.split_once("  ").unwrap_or((line, ""));
            out.push_str(&format!("{}\n", escaped(line)));
            if !what.is_empty() {
                out.push_str(&format!("    {}\n", escaped(what.trim())));
            }
        }
        out.push_str(".fi\n");
    }
    out
}

fn reference(page: &str, section: u8) -> String {
    format!(".BR {} ({section})", page.replace('-', "\\-"))
}

/// What the renderer leaves to do: a title line with all its parts, paragraphs that no formatter complains of, ASCII only,
/// and where to read on.
fn finished(page: &str, name: &str, date: &str, others: &[String]) -> String {
    let title = format!(
        ".TH {} 1 \"{date}\" \"Carnet {}\" \"Carnet Manual\"",
        name.replace('-', "\\-"),
        env!("CARGO_PKG_VERSION")
    );
    let mut out = String::with_capacity(page.len() + 256);
    for line in page.replace(".br\n\n.br\n", ".sp\n").replace("\n\n", "\n").lines() {
        let line = if line.starts_with(".TH ") { title.as_str() } else { line.trim_end() };
        for character in line.chars() {
            match character.is_ascii() {
                true => out.push(character),
                false => out.push_str(&format!("\\[u{:04X}]", u32::from(character))),
            }
        }
        out.push('\n');
    }
    if !others.is_empty() {
        out.push_str(&format!(".SH SEE ALSO\n{}\n", others.join(",\n")));
    }
    out
}

fn failed(what: &str, error: &std::io::Error) -> ExitCode {
    eprintln!("carnet {what}: {error}");
    ExitCode::FAILURE
}
