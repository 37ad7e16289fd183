//! `carnet events`: what there is to be seen in logs and counters, as it is declared.

use crate::out;
use carnet_event::{Declared, Event};
use carnet_ops::metrics::event_metric;
use clap::Args;
use std::fmt::Write;
use std::process::ExitCode;

/// Arguments of `carnet events`.
#[derive(Args)]
pub struct EventsArgs {
    /// As a document.
    #[arg(long)]
    markdown: bool,
    /// Only those of one kind of role: border, gateway, conference, steering, kms, admin.
    role: Option<String>,
}

/// Roles with what is declared for them.
fn all() -> [(&'static str, &'static [Declared]); 6] {
    [
        ("admin", crate::roles::Deed::DECLARED),
        ("border", carnet_border::Event::DECLARED),
        ("conference", carnet_conference::Event::DECLARED),
        ("gateway", carnet_gateway::Event::DECLARED),
        ("kms", crate::kms::Event::DECLARED),
        ("steering", carnet_steering::Event::DECLARED),
    ]
}

/// Exit code 0; 2 if there is no such role.
pub fn run(args: &EventsArgs) -> ExitCode {
    let wanted = |role: &str| args.role.as_deref().is_none_or(|wanted| wanted == role);
    let chosen: Vec<_> = all().into_iter().filter(|(role, _)| wanted(role)).collect();
    if chosen.is_empty() {
        eprintln!(
            "carnet events: there is no such role; there is admin, border, conference, gateway, kms, steering"
        );
        return ExitCode::from(2);
    }
    let text = if args.markdown { markdown(&chosen) } else { words(&chosen) };
    out::print(&text, ExitCode::SUCCESS)
}

fn words(chosen: &[(&str, &[Declared])]) -> String {
    let mut text = String::new();
    for (role, declared) in chosen {
        for event in *declared {
            let fields: Vec<&str> = event.fields.iter().map(|(name, _)| *name).collect();
            // Writing into a string does not fail.
            let _ = writeln!(text, "{role} {} ({}): {}", event.name, event.level.name(), event.help);
            let _ = writeln!(text, "  fields: {}", fields.join(" "));
            let _ = writeln!(text, "  counter: {}", event_metric(role, event));
        }
    }
    text
}

fn markdown(chosen: &[(&str, &[Declared])]) -> String {
    let mut text = String::from(
        "# Events\n\nWhat there is to be seen in logs, and counted at `/metrics`: written by `carnet events --markdown`. A line of the log \
         has the event's name as its message, the\nrole's name under the role (`border=border-a`), and the fields. A field that \
         has parts is written in parts (`octets.caller.sent`). The counter has the\nrole's name as a label beside those \
         named here. The level is the usual one: a call\nthat ends for a reason of ours, or a gateway that goes as announced, has another.\n",
    );
    for (role, declared) in chosen {
        let _ = write!(
            text,
            "\n## {role}\n\n| event | level | what it means | fields | counter, labels |\n|---|---|---|---|---|\n"
        );
        for event in *declared {
            let fields: Vec<String> = event
                .fields
                .iter()
                .map(|(name, means)| format!("`{name}`: {}", means.replace('|', "\\|").trim_end_matches('.')))
                .collect();
            let labels: Vec<String> = event.counted_by.iter().map(|label| format!("`{label}`")).collect();
            let labels = if labels.is_empty() { String::new() } else { format!(" by {}", labels.join(", ")) };
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {} | `{}`{labels} |",
                event.name,
                event.level.name(),
                event.help.replace('|', "\\|"),
                fields.join("<br>"),
                event_metric(role, event),
            );
        }
    }
    text
}
