//! What `--help` and the manual pages say below the options: how a command is used, and what its exit code means. In one place, so that
//! commands agree: 0 is done or good, 1 is not done, refused or not good, 2 is a question that makes no sense (or, where it is said, no answer).

use clap::Command;

/// What there is to say of a command.
pub struct Told {
    /// Its name.
    pub command: &'static str,
    /// Command lines, with what they are for after two blanks or more.
    pub examples: &'static [&'static str],
    /// Codes and what each says.
    pub exit: &'static [(u8, &'static str)],
}

/// The command line itself is wrong: the same everywhere.
const WRONG: (u8, &str) = (2, "the command line is wrong");

const TOLD: &[Told] = &[
    Told {
        command: "demo",
        examples: &[
            "carnet demo                  two operators, four gateways, a key server, two clients, and proof that it seals",
            "carnet demo --hold           the same, left running for clients of your own",
            "carnet demo conference       twenty members in a sealed room",
        ],
        exit: &[(0, "every check held"), (1, "one did not, or the network did not come up"), WRONG],
    },
    Told {
        command: "run",
        examples: &[
            "carnet run -c carnet.toml              until SIGTERM; calls that are up get ten seconds",
            "carnet run -c carnet.toml --grace 60   they get a minute",
        ],
        exit: &[(0, "it was told to stop, and did"), (1, "a role could not start, or failed"), WRONG],
    },
    Told {
        command: "check",
        examples: &[
            "carnet check -c carnet.toml",
            "carnet check -c carnet.toml --json     the place of a mistake, for an editor",
        ],
        exit: &[(0, "the file is good"), (1, "it is not"), WRONG],
    },
    Told {
        command: "config",
        examples: &[
            "carnet config example kms >kms.toml         a file to begin with",
            "carnet config diff now.toml next.toml       what a reload would do",
            "carnet config schema >carnet.schema.json",
        ],
        exit: &[
            (0, "it was printed; of `diff`: nothing differs"),
            (1, "of `diff`: something differs"),
            (2, "a file, or the command line, is wrong"),
        ],
    },
    Told {
        command: "doctor",
        examples: &[
            "carnet doctor -c /etc/carnet/border.toml",
            "runuser -u carnet -- carnet doctor -c /etc/carnet/border.toml     as the service would see it",
        ],
        exit: &[(0, "nothing keeps it from working; there may be warnings"), (1, "something does"), WRONG],
    },
    Told {
        command: "border",
        examples: &[
            "carnet border explain border.toml <offer.sdp",
            "carnet border explain border.toml --answer answer.sdp <offer.sdp",
        ],
        exit: &[
            (0, "offer and answer would be carried"),
            (1, "one would be refused, or cannot be read"),
            (2, "the file, or the command line, is wrong"),
        ],
    },
    Told {
        command: "inspect",
        examples: &[
            "carnet inspect sip message.txt",
            "carnet inspect mikey --base64 <key-mgmt.txt",
            "carnet inspect h248 --to text message.ber",
        ],
        exit: &[
            (0, "all of the input is good"),
            (1, "it is not"),
            (2, "there is no such input, or the command line is wrong"),
        ],
    },
    Told {
        command: "trace",
        examples: &[
            "tcpdump -i any -w call.pcap            capture until interrupted",
            "carnet trace call.pcap --list          which sessions are in it, and what went wrong",
            "carnet trace call.pcap --call 3        the ladder of the third",
            "carnet trace call.pcap --call 3 --messages | less -R",
            "carnet trace call.pcap --format html >call.html",
            "carnet trace border.pcap gateway.pcap --list",
            "carnet trace -c carnet.toml --list     what goes by at the node that runs with this file",
            "carnet trace --node http://127.0.0.1:9460 --node https://gateway.example:9460 --token-file t --call 3",
            "carnet trace -c carnet.toml --follow",
        ],
        exit: &[
            (0, "the file was read"),
            (1, "not to its end; with --check: something failed in a session that is shown"),
            (2, "there is no such file or session, a node does not answer, or the command line is wrong"),
        ],
    },
    Told {
        command: "ue",
        examples: &[
            "carnet ue -c alice.toml chat sip:bob@example.org",
            "carnet ue -c alice.toml send sip:bob@example.org report.pdf",
            "carnet ue -c bob.toml receive --dir inbox",
            "carnet ue -c alice.toml join sip:lobby@conf.example.org",
        ],
        exit: &[
            (0, "what was asked for is done"),
            (1, "it was refused, failed, or was given up: a line or file that did not arrive counts"),
            (2, "an address, a setting, a file or the command line is wrong"),
        ],
    },
    Told {
        command: "top",
        examples: &[
            "carnet top -c /etc/carnet/border.toml -c /etc/carnet/gateway.toml",
            "carnet top --node http://127.0.0.1:9460 --once",
        ],
        exit: &[(0, "it was left; printed once: all answered"), (1, "one does not answer"), WRONG],
    },
    Told {
        command: "health",
        examples: &[
            "carnet health -c /etc/carnet/border.toml",
            "carnet health --node http://127.0.0.1:9460 --node unix:/run/carnet/kms/admin.sock",
        ],
        exit: &[(0, "every role of all of them answers"), (1, "one does not, or cannot be asked"), WRONG],
    },
    Told {
        command: "gateway",
        examples: &[
            "carnet gateway list -c /etc/carnet/border.toml                     which gateways, and whether they serve",
            "carnet gateway audit agw-a -c /etc/carnet/agw-a.toml               what one holds",
            "carnet gateway audit agw-a --by border-a -c /etc/carnet/border-a.toml   with the call of each context",
        ],
        exit: &[(0, "there was an answer"), (1, "there was none, or a context belongs to no call"), WRONG],
    },
    Told {
        command: "ng",
        examples: &[
            "carnet ng --server udp:127.0.0.1:2224 ping",
            "carnet ng --server udp:127.0.0.1:2224 list",
        ],
        exit: &[
            (0, "it was done"),
            (1, "it was refused"),
            (2, "nobody answered, or the command line is wrong"),
        ],
    },
    Told {
        command: "conference",
        examples: &[
            "carnet conference -c /etc/carnet/conference.toml list",
            "carnet conference -c /etc/carnet/conference.toml show sip:lobby@conf.example.org",
        ],
        exit: &[(0, "it was done"), (1, "it was not"), WRONG],
    },
    Told {
        command: "events",
        examples: &["carnet events border"],
        exit: &[(0, "they were printed"), (2, "there is no such role, or the command line is wrong")],
    },
    Told {
        command: "kms",
        examples: &[
            "carnet kms -c /etc/carnet/kms.toml user add sip:alice@example.org --out alice.psk",
            "carnet kms -c /etc/carnet/kms.toml user revoke sip:alice@example.org",
            "carnet kms -c /etc/carnet/kms.toml audit",
        ],
        exit: &[(0, "it was done"), (1, "it was not"), WRONG],
    },
    Told {
        command: "completions",
        examples: &[
            "carnet completions bash >~/.local/share/bash-completion/completions/carnet",
            "carnet completions zsh >/usr/local/share/zsh/site-functions/_carnet",
            "carnet completions fish >~/.config/fish/completions/carnet.fish",
        ],
        exit: &[(0, "it was printed"), (1, "it could not be written"), WRONG],
    },
];

/// What is said of the command that a page is about: `carnet-kms-user` has the codes of `kms`.
pub fn of(page: &str) -> Option<(&'static Told, bool)> {
    let mut words = page.strip_prefix("carnet-")?.split('-');
    let command = words.next()?;
    let told = TOLD.iter().find(|told| told.command == command)?;
    Some((told, words.next().is_none()))
}

/// The command line with all of it.
pub fn with(command: Command) -> Command {
    TOLD.iter().fold(command, |command, told| {
        command.mut_subcommand(told.command, |command| command.after_help(words(told)))
    })
}

fn words(told: &Told) -> String {
    let examples: String = told.examples.iter().map(|line| format!("  {line}\n")).collect();
    let exit: String = told.exit.iter().map(|(code, what)| format!("  {code}  {what}\n")).collect();
    format!("Examples:\n{examples}\nExit code:\n{}", exit.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory as _, Parser as _};

    /// Every command has something to say, and what it says can be said to it.
    #[test]
    fn every_command_has_examples_that_are_right() {
        let command = crate::Args::command();
        let named: Vec<_> = command.get_subcommands().filter(|command| !command.is_hide_set()).collect();
        assert_eq!(named.len(), TOLD.len());
        for command in named {
            let of = of(&format!("carnet-{}", command.get_name()));
            let Some((told, whole)) = of else { panic!("{}", command.get_name()) };
            assert!(whole && !told.examples.is_empty() && told.exit.len() >= 2, "{}", told.command);
            for line in told.examples {
                let line = line.split("  ").next().unwrap_or_default();
                let words = line.split(['<', '>', '|']).next().unwrap_or_default().split(' ');
                let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
                let Some(at) = words.iter().position(|word| *word == "carnet") else { continue };
                // The second is who it is run as.
                let at = at
                    + words[at..]
                        .iter()
                        .skip(1)
                        .position(|word| *word == "carnet")
                        .map_or(0, |more| more + 1);
                if let Err(error) = crate::Args::try_parse_from(&words[at..]) {
                    panic!("{line}: {error}");
                }
            }
        }
    }
}
